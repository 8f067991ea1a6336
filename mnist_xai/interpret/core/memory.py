"""Plans how many images a pass takes at once, so that their activations fit into memory."""

from collections.abc import Mapping
from math import prod
from typing import Any

BUDGET = 2**30
"""Bytes for the outputs of all layers in one pass, 1 GiB. A gradient pass needs most of them at
once; rules of relevance make up to three arrays of the same size from some of them."""
LARGEST_BATCH = 256
"""The most images in one pass; more are no faster, even for small images."""
ANY_SIDE = 224
"""Side of the images for which a network that takes any size is planned."""


def planned_batch(
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, Any],
    image_shape: tuple[int | None, ...],
) -> int:
    """Return the number of images in one pass, from 1 to 256.

    Args:
        shapes: Shape of each layer's output for one image, at 32 pixels for a side of any length.
        dtypes: TensorFlow dtype of each layer's output.
        image_shape: Shape of the network's images; None for a side of any length.
    """
    size = sum(prod(shape) * dtypes[name].size for name, shape in shapes.items())
    for side in image_shape[:2]:
        size *= 1 if side else ANY_SIDE / 32
    return max(1, min(LARGEST_BATCH, int(BUDGET // max(size, 1))))
