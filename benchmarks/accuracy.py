"""Print a table of the test accuracy of both recipes over five seeds.

    python benchmarks/accuracy.py --seeds 5

Finished trainings are stored in `runs/accuracy` and not repeated. The test images are used once in
each training, at its end.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import mnist_xai as mx

RUNS = Path("runs/accuracy")


def card(recipe: str, seed: int, dataset: mx.Dataset) -> dict:
    """Return the model card and the seconds of the training; train if that has not been done."""
    path = RUNS / f"{recipe}-{seed}.keras"
    timing = path.with_suffix(".seconds")
    if not timing.exists():
        start = time.perf_counter()
        mx.train(data=dataset, recipe=recipe, seed=seed, save_to=path, overwrite=True)
        timing.write_text(str(time.perf_counter() - start))
    return json.loads(path.with_suffix(".json").read_text()) | {
        "seconds": float(timing.read_text())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recipes", nargs="+", default=["article", "default"])
    options = parser.parse_args()
    dataset = mx.load_data("mnist")
    print("| recipe | test accuracy, mean | by seed | calibration error, mean | seconds, median |")
    print("| - | - | - | - | - |")
    for recipe in options.recipes:
        cards = [card(recipe, seed, dataset) for seed in range(options.seeds)]
        accuracies = [c["test"]["accuracy"] for c in cards]
        print(
            f"| {recipe} | {statistics.mean(accuracies):.2%} "
            f"| {', '.join(f'{a:.2%}' for a in accuracies)} "
            f"| {statistics.mean(c['test']['calibration_error'] for c in cards):.4f} "
            f"| {statistics.median(c['seconds'] for c in cards):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
