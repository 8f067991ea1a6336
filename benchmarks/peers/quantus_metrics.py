"""Quantus's metrics for `benchmarks/quality.py`: `quantus_metrics.py inputs.npz`."""

import sys
import warnings

import numpy as np
import torch

np.trapz = np.trapezoid  # Quantus 0.6.0 calls what NumPy 2.4 has no longer.

import quantus  # noqa: E402
from contest import batched, serve  # noqa: E402
from quantus_stubs import stub_zennit  # noqa: E402

stub_zennit()

from torch_twin import TorchInputs  # noqa: E402

warnings.simplefilter("ignore")

BATCHES = (16, 64)
PLAIN = {"normalise": False, "disable_warnings": True}
BLACK = {"perturb_baseline": 0.0, **PLAIN}


def road():
    return quantus.ROAD(percentages=list(range(10, 100, 10)), noise=0.01, **PLAIN)


METRICS = {
    "pixel_flipping_28": lambda: quantus.PixelFlipping(features_in_step=28, **BLACK),
    "pixel_flipping_1": lambda: quantus.PixelFlipping(features_in_step=1, **BLACK),
    "region_perturbation": lambda: quantus.RegionPerturbation(patch_size=4, **BLACK),
    "selectivity": lambda: quantus.Selectivity(patch_size=4, **BLACK),
    "road": road,
    "faithfulness_correlation": lambda: quantus.FaithfulnessCorrelation(
        nr_runs=100, subset_size=224, return_aggregate=False, **BLACK
    ),
    "max_sensitivity": lambda: quantus.MaxSensitivity(nr_samples=10, lower_bound=0.1, **PLAIN),
    "parameter_randomisation": lambda: quantus.MPRT(return_average_correlation=True, **PLAIN),
}
"""One entry for each entry of `WORK` in `benchmarks/quality.py`."""


def explain(model, inputs, targets, **_):
    """Return the gradient of each target's logit, for metrics that run the method again."""
    x = torch.tensor(np.asarray(inputs), dtype=torch.float32).requires_grad_()
    scores = model(x)[torch.arange(len(x)), torch.tensor(np.asarray(targets)).long()]
    return torch.autograd.grad(scores.sum(), x)[0].numpy()


def main():
    i = TorchInputs(sys.argv[1], torch.contiguous_format)
    model = i.model()
    x, maps = (np.ascontiguousarray(a.transpose(0, 3, 1, 2)) for a in (i.images, i.arrays["maps"]))
    slopes = explain(model, x, method=i.targets)

    def run(name, size):
        again = name in ("max_sensitivity", "parameter_randomisation")
        metric = METRICS[name]()
        found = metric(
            model=model,
            x_batch=x.copy(),
            y_batch=i.targets.astype(np.int64),
            a_batch=(slopes if again else maps).copy(),
            # Faithfulness metrics ignore it.
            explain_func=explain,
            channel_first=True,
            softmax=False,
            batch_size=size,
        )
        # ROAD returns a number for each percentage.
        return np.array(list(found.values()) if isinstance(found, dict) else found, np.float64)

    methods = {
        # ROAD reports the first batch only, so one batch has to hold all images.
        name: batched(lambda size, name=name: run(name, size), BATCHES[name == "road" :])
        for name in METRICS
    }
    serve(methods, ("quantus", "torch"), torch.get_num_threads())


if __name__ == "__main__":
    main()
