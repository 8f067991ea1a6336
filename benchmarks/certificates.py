"""Check whether explanations have the sums that their methods promise.

    .venv/bin/python benchmarks/certificates.py

For each method that promises a sum, print the residual as a share of it: median, 99th percentile
and largest, and the share of images within 1 %. The images are 1,000 MNIST test digits, the network
is the saved one. `mnist_xai.load_data` finds or loads MNIST.
"""

from pathlib import Path

import click
import numpy as np

import mnist_xai as mx
from mnist_xai.interpret.methods.base import Complete, Conservative

MODEL = Path(__file__).parents[1] / "saved_models" / "cnn.keras"


@click.command()
@click.option("--images", default=1000, show_default=True)
@click.option("--method", "names", multiple=True, help="By default all methods that promise a sum.")
def main(images, names):
    network = mx.Network(mx.load_model(MODEL))
    x = mx.normalise(mx.load_data("mnist").test_images[:images])
    print("| method | median | 99th percentile | largest | within 1 % |\n| - | - | - | - | - |")
    for name, method in mx.METHODS.items():
        if not isinstance(method, Conservative | Complete) or (names and name not in names):
            continue
        explanation = mx.explain(network, x, method=method)
        # Absorbed relevance can be larger than the score: divide by the largest of them.
        whole = np.abs(explanation.differences)
        whole = np.max([whole, *map(np.abs, explanation.absorbed.values())], axis=0)
        share = np.abs(explanation.residuals) / whole
        print(
            f"| {name} | {np.median(share):.1e} | {np.percentile(share, 99):.1e} | "
            f"{share.max():.1e} | {np.mean(share <= 0.01):.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
