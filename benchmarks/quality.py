"""Compare the speed of our metrics with Quantus.

    python benchmarks/quality.py --quantus-python PATH

Both score the same 64 digits of the MNIST test set with the weights of `saved_models/cnn.keras` and
the same maps: those of `--maps`, or gradients for metrics that run the method again. The maps get
noise of a billionth of their largest value, so that they have no ties; Quantus's order of ties is
arbitrary.

Quantus runs in its own process, with PyTorch and its default number of threads. Both libraries run
in turn, so that other work of the machine slows both. Both are warmed up first. Quantus is tried
with batches of 16 and 64 images, and the faster one counts. Ours scores `network.batch_size`, 256,
masked images at a time. Times are medians over the rounds, ratios are medians of the ratios within
a round, and "at best" compares the fastest rounds. On a busy machine PyTorch's threads wait for
each other: set OMP_NUM_THREADS=1 then. Ours scores equal masked images once. So its advantage
depends on the maps: it is largest for maps that are zero on black, and smallest for gradients.

For metrics without random numbers, the largest difference between the two results is printed as a
share of the largest value; for the others, both means.

`--quantus-python` is a Python with quantus and torch. To add a metric, add an entry to `WORK` here
and one of the same name to `METRICS` in `peers/quantus_metrics.py`.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from methods import SAVED, Here, Peer, ratio, say

import mnist_xai as mx
from mnist_xai import quality
from mnist_xai.interpret import Gradient, Method
from mnist_xai.quality import ExplainedBatch, Metric, Scores

IMAGES = 64
TIES = 1e-9


def drops(scores: Scores) -> np.ndarray:
    return scores.curves[:, :1] - scores.curves[:, 1:]


def accuracy(scores: Scores) -> np.ndarray:
    return scores.curves.mean(axis=0)


@dataclass(frozen=True)
class Work:
    """One of our metrics, and how to compare its scores with Quantus's result."""

    metric: Metric
    result: Callable[[Scores], np.ndarray] = lambda scores: scores.values
    random: bool = False  # Whether both draw random numbers, so that results differ.
    again: bool = False  # Whether the metric runs the method again.


WORK = {
    "pixel_flipping_28": Work(quality.PixelFlipping(28), lambda s: s.curves[:, 1:]),
    "pixel_flipping_1": Work(quality.PixelFlipping(1), lambda s: s.curves[:, 1:]),
    "region_perturbation": Work(quality.RegionPerturbation(removal=quality.Baseline()), drops),
    "selectivity": Work(quality.Selectivity(), lambda s: s.curves[:, 1:]),
    "road": Work(quality.ROAD(), accuracy, random=True),
    "faithfulness_correlation": Work(
        quality.FaithfulnessCorrelation(share=224 / 784, subsets=100), random=True
    ),
    "max_sensitivity": Work(quality.MaxSensitivity(0.1, 10), random=True, again=True),
    "parameter_randomisation": Work(
        quality.ParameterRandomisation(similarity="rank_of_magnitudes"), random=True, again=True
    ),
}


def batches(folder: Path, method: Method) -> dict[bool, ExplainedBatch]:
    """Write the inputs for Quantus; return batches by whether the metric runs the method again."""
    model = mx.load_model(SAVED)
    network = mx.Network(model)
    images = mx.normalise(mx.load_data("mnist").test_images[:IMAGES])
    found = {
        again: ExplainedBatch.of(network, images, how)
        for again, how in ((False, method), (True, Gradient()))
    }
    maps = found[False].maps
    maps += np.random.default_rng(0).normal(0, TIES * np.abs(maps).max(), maps.shape)
    arrays = {
        f"cnn/{layer.name}/{variable.name}": value
        for layer in model.layers
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True)
    }
    given = {"images": images, "targets": found[False].targets, "maps": maps}
    given["baselines"] = images[:1]  # `Inputs` expects baselines, although no metric uses them.
    np.savez(folder / "inputs.npz", model=str(SAVED), **given, **arrays)
    return found


def contest(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Prepare every metric in both libraries, then time them in rounds."""
    given = batches(folder, mx.METHODS[options.maps])

    def run(work: Work) -> Callable[[], np.ndarray]:
        return lambda: work.result(work.metric(given[work.again]))

    ours = Here({name: run(WORK[name]) for name in options.metrics})
    needs = "quantus and torch"
    theirs = Peer("quantus", "quantus_metrics.py", options.quantus_python, needs, folder)
    rows: dict[str, Any] = {}
    for name in options.metrics:
        _, values = ours.prepare(name)
        rows[name] = {"ours": [], "quantus": []}
        try:
            rows[name]["setting"], others = theirs.prepare(name)
        except RuntimeError as error:
            say(f"{name}: Quantus failed: {error}")
            rows[name]["error"] = str(error)
            continue
        rows[name]["agreement"] = agreement(values, others, WORK[name].random)
        say(f"{name}: {rows[name]['setting']}, {rows[name]['agreement']}")
    for turn in range(options.rounds):
        say(f"round {turn + 1}")
        for name, row in rows.items():
            row["ours"].append(ours.time(name))
            if "error" not in row:
                row["quantus"].append(theirs.time(name))
    theirs.stop()
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    return {"machine": machine, "versions": theirs.versions, "metrics": rows}


def agreement(ours: np.ndarray, theirs: np.ndarray, random: bool) -> str:
    """Return as text how close the two results are."""
    if random:
        return f"means {np.nanmean(ours):.3f} and {np.nanmean(theirs):.3f}"
    return f"largest difference {np.abs(ours - theirs).max() / np.abs(theirs).max():.1e}"


def report(found: dict[str, Any], rounds: int) -> None:
    print(
        f"\n{found['machine']}, {IMAGES} images, median of {rounds} rounds; {found['versions']}\n"
    )
    columns = ("metric", "ours, ms", "Quantus, ms", "Quantus takes ×", "at best", "both say")
    print(f"| {' | '.join(columns)} |\n{'| - ' * len(columns)}|")
    for name, row in found["metrics"].items():
        mine = f"| {name} | {1000 * statistics.median(row['ours']):,.1f} |"
        if "error" in row:
            print(f"{mine} failed | | | {row['error']} |")
            continue
        best = min(row["quantus"]) / min(row["ours"])
        print(
            f"{mine} {1000 * statistics.median(row['quantus']):,.0f} | "
            f"{ratio(row['quantus'], row['ours']):.1f} | {best:.1f} | {row['agreement']} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quantus-python", required=True, help="a Python with quantus and torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--metrics", nargs="+", choices=WORK, default=list(WORK), metavar="METRIC")
    parser.add_argument(
        "--maps", choices=mx.METHODS, default="integrated_gradients", metavar="METHOD"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = contest(options, Path(folder))
    report(found, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
