"""One method of one contestant in a process of its own, for `benchmarks/deep.py`.

A contestant's module defines `explainer(job)`: a function that prepares the method as its library
asks for, and returns `explain(images, targets) -> maps (N, H, W, C)`. It needs no package of ours.
"""

import json
import os
import resource
import sys
import time

import numpy as np

STEPS = 50
NOISY, SIGMA = 50, 0.15
CELLS = 7
WINDOW, STRIDE = 32, 16  # For images of 224 pixels.
KERNEL_WIDTH, RIDGE = 0.25, 1.0  # LIME's.


class Job:
    """What the process shall do: the model, the method, the images."""

    def __init__(self, text):
        given = json.loads(text)
        self.contestant, self.model, self.method = (
            given[key] for key in ("contestant", "model", "method")
        )
        self.masks, self.batch, self.repeats = given["masks"], given["batch"], given["repeats"]
        self.started, self.maps, self.cam_layer = given["started"], given["maps"], given["layer"]
        with np.load(given["inputs"]) as file:
            self.images, self.targets = file["images"], file["targets"]
            self.weights = [file[f"w{i}"] for i in range(int(file["weights"]))]
        self.scale = float(given["scale"])  # White; black is 0.
        self.classes = 1000
        side = self.images.shape[1]
        cells = np.arange(side) * CELLS // side
        self.grid = (cells[:, None] * CELLS + cells).astype(np.int32)

    def built(self):
        """Return the Keras model with the weights that all contestants share."""
        from deep_models import MODELS

        model = MODELS[self.model]()
        model.set_weights(self.weights)
        return model


def main(explainer):
    """Explain once from a cold start, then in a steady state, and print what was measured."""
    job = Job(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print goes to stderr.
    try:
        explain = explainer(job)
        one, target = job.images[:1], job.targets[:1]
        maps = np.asarray(explain(one, target))
        first = time.time() - job.started
        images, targets = job.images[: job.batch], job.targets[: job.batch]
        if job.batch > 1:
            explain(images, targets)  # Some libraries trace again for another batch.
        times, work = [], []
        for _ in range(job.repeats):
            start, processor = time.perf_counter(), time.process_time()
            explain(images, targets)
            times.append((time.perf_counter() - start) / job.batch)
            work.append((time.process_time() - processor) / job.batch)
        np.save(job.maps, maps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found = {
            "first": first,
            "steady": float(np.median(times)),
            "processor": float(np.median(work)),
            "peak": peak,
        }
    except Exception as error:  # noqa: BLE001 A contestant that fails must not end the run.
        found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    print(json.dumps(found), file=answers, flush=True)
