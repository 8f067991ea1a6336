"""Find out whether labelled pictures would be classified far better in another range of pixels."""

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pixels import CONVENTIONS

_PICTURES = 256  # As many are classified in each range.
_FAR_BETTER = 0.1  # Difference of accuracies, and this many standard errors of it:
_STANDARD_ERRORS = 3


def better_range(network: Network, pictures: NDArray[np.uint8], labels: NDArray[np.integer]) -> str:
    """Return a warning when the model is far more accurate in another range of pixels.

    Args:
        network: The network, with the range that it was given or that it shows.
        pictures: uint8 `(N, H, W, C)`, red, green, blue.
        labels: Integers `(N,)`.

    Returns:
        A sentence that names the range and both accuracies; empty where no other range of
        `CONVENTIONS` is more accurate by 10 points and three standard errors.
    """
    chosen = np.random.default_rng(0).permutation(len(pictures))[:_PICTURES]
    units = pictures[chosen].astype(np.float32) / np.float32(255)
    right = {
        name: _accuracy(network, known.to_model(known.reversed(units)), labels[chosen])
        for name, known in CONVENTIONS.items()
        if len(known.low) in (1, pictures.shape[-1])
    }
    now = _accuracy(network, network.images_of(pictures[chosen]), labels[chosen])
    best = max(right, key=lambda name: right[name])
    then = right[best]
    error = np.sqrt((now * (1 - now) + then * (1 - then)) / len(chosen))
    if then - now <= max(_FAR_BETTER, _STANDARD_ERRORS * error):
        return ""
    return (
        f"With pixels in {network.pixels}, the model classifies {now:.1%} of "
        f"{len(chosen)} pictures correctly; with pixels='{best}', {CONVENTIONS[best]}, {then:.1%}. "
        f"Most likely it was trained so: say pixels='{best}'."
    )


def _accuracy(network: Network, images: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    """Return the accuracy on images of any range."""
    logits = network.logits_at(network.pixels.to_unit(images))
    return float(np.mean(logits.argmax(axis=1) == labels))
