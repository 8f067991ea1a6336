"""Gradient maps: how the score of a class changes with each pixel."""

import keras
from numpy.typing import ArrayLike

from mnist_xai.interpret.network import Array, Network, Score


def gradient_map(
    model: keras.Model | Network,
    images: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    score: Score = "logit",
) -> Array:
    """Compute the gradient of a class score with respect to the image: `∂S_c/∂x`.

    The score is the logit `z_c`, not the softmax: the softmax saturates, and the sum of its
    entries, of which document 000, section 8.3, takes the gradient, is 1 for every image.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: float `(N, H, W, C)` in [0, 1].
        targets: Integers `(N,)`, the classes `c`; by default each image's predicted class.
        score: `"logit"` or `"probability"`.

    Returns:
        `(N, H, W, C)`, signed, in units of the score for a pixel from black to white.

    Raises:
        TypeError, ValueError: For images or targets out of shape, type or range.

    Source: Simonyan, Vedaldi, Zisserman 2013, section 3.
    """
    network = model if isinstance(model, Network) else Network(model)
    if targets is None:
        targets = network.logits(images).argmax(axis=1)
    maps, _ = network.gradient(images, targets, score=score)
    return maps
