"""Work and clock that ours and the peers share in `benchmarks/methods.py`.

A peer is a process that reads requests as lines of JSON, does one thing at a time, and answers with
lines of JSON. Output of its libraries goes to its stderr. It does not need our package, only NumPy.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

FEW = 16  # Images, of 256, for the methods that sample.
BASELINES = 20
STEPS = 50
NOISY, SIGMA = 50, 0.15
MASKS = 500
PATCH, STRIDE = 4, 2
CELLS = 7  # A grid of 7 x 7 patches of 4 x 4 pixels.
DESIGNS, PERMUTATIONS = 32, 20
KERNEL_WIDTH, RIDGE = 0.25, 1.0  # LIME's.
CAM_LAYER = "conv2"
BATCHES = (64, 256, 1024)  # Tried for every peer that takes a batch size.

SHORTEST = 0.3  # Seconds that a turn should last; faster methods are repeated.
MOST_REPEATS = 50
SLOW = 3.0  # Seconds; slower methods are not run again to warm up.

Run = Callable[[], Any]
Settings = Mapping[str, Run]
"""Ways to do the same work, by name; the fastest one counts."""


class Inputs:
    """Inputs of all contestants: images `(N, H, W, C)`, targets, and baselines for DeepSHAP."""

    def __init__(self, path: str | Path) -> None:
        with np.load(path) as file:
            self.arrays = dict(file)
        self.images, self.targets = self.arrays["images"], self.arrays["targets"]
        self.baselines = self.arrays["baselines"]
        self.one_hot = np.eye(10, dtype=np.float32)[self.targets]
        self.model_path = str(self.arrays["model"])
        cells = np.arange(28) * CELLS // 28
        self.patches = (cells[:, np.newaxis] * CELLS + cells).astype(np.int32)


def batched(run: Callable[[int], Any], batches: tuple[int, ...] = BATCHES) -> Settings:
    """Return the settings of a function of the batch size."""
    return {f"batch {size}": (lambda size=size: run(size)) for size in batches}


def plainly(run: Run) -> Settings:
    """Return the single setting of a function without a batch size."""
    return {"": run}


class Stopwatch:
    """Warms up methods, chooses the fastest setting of each, and times them turn by turn."""

    def __init__(self, methods: Mapping[str, Settings]) -> None:
        self.methods = methods
        self._chosen: dict[str, tuple[Run, int]] = {}

    def prepare(self, name: str) -> tuple[str, np.ndarray]:
        """Try every setting, the faster ones several times; return the fastest and its maps."""
        maps, seconds = {}, {}
        for setting, run in self.methods[name].items():
            start = time.perf_counter()
            maps[setting] = np.asarray(run())
            first = time.perf_counter() - start
            # In a slow run the warm-up is negligible: do not run it again.
            seconds[setting] = first if first > SLOW else _seconds(run)
        fastest = min(seconds.values())
        near = [setting for setting in seconds if seconds[setting] <= 1.5 * fastest]
        for setting in near * (3 if fastest < SLOW else 1) if len(near) > 1 else []:
            seconds[setting] = min(seconds[setting], _seconds(self.methods[name][setting]))
        setting = min(seconds, key=seconds.__getitem__)
        repeats = min(MOST_REPEATS, math.ceil(SHORTEST / seconds[setting]))
        self._chosen[name] = self.methods[name][setting], repeats
        return setting, maps[setting]

    def time(self, name: str) -> float:
        """Return the seconds of one run, averaged over a turn."""
        run, repeats = self._chosen[name]
        return _seconds(run, repeats)


def _seconds(run: Run, repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def serve(methods: Mapping[str, Settings], packages: tuple[str, ...], threads: int) -> None:
    """Answer requests `{"do": "prepare" or "time", "method": …}` until stdin is closed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**found: Any) -> None:
        print(json.dumps(found), file=answers, flush=True)

    stopwatch = Stopwatch(methods)
    versions = {name: version(name) for name in packages}
    answer(methods=list(methods), versions=versions, threads=threads)
    for line in sys.stdin:
        request = json.loads(line)
        name = request["method"]
        try:
            if request["do"] == "prepare":
                setting, maps = stopwatch.prepare(name)
                np.save(request["maps"], maps)
                answer(setting=setting)
            else:
                answer(seconds=stopwatch.time(name))
        except Exception as error:  # noqa: BLE001 A peer that fails must not end the run.
            answer(error=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
