"""What happens to pixels before the network proper: the range that a model shows it takes.

A model that begins with `Rescaling(1 / 255)` takes pixels from 0 to 255. Which range a model takes
is found by running its first layers, up to the first one with a kernel, on images of one colour:
what they compute for a channel must be `a v + b`. Where that maps [0, 255] (or [0, 1], or [-1, 1])
to the small numbers around zero that networks are trained on, this is the range. Nothing else is
concluded, and the range stays open.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.graph import Caller
from mnist_xai.interpret.core.pixels import CONVENTIONS, OPEN, PixelRange

Run = Callable[[tf.Tensor, Caller], Any]
"""Runs a model on images with a caller of its layers."""

Affine = tuple[float, float]
"""`a` and `b`: a channel with the value `v` becomes `a v + b`."""

_SCALES = np.array([1.0, 255.0, 0.1, 50.0, 2.0, 255.0])[:, np.newaxis]


def found_range(run: Run, shape: tuple[int, ...]) -> PixelRange:
    """Return the range of pixels that a model's first layers show; an open one where none do.

    Args:
        run: Runs the model.
        shape: Shape of an image `(H, W, C)`.
    """
    names, affine = _first_layers(run, shape)
    for name in ("bytes", "unit", "tf"):
        if affine and all(_fits(a, b, name) for a, b in affine):
            known = CONVENTIONS[name]
            return PixelRange(known.low, known.high, "found", ", ".join(names))
    return OPEN


def _fits(a: float, b: float, name: str) -> bool:
    """Return whether `a v + b` takes the pixels of a convention to small numbers around zero."""
    if abs(a - 1) < 1e-6 and abs(b) < 1e-6:
        return False  # Nothing is changed, so nothing is known.
    zero = -b / a  # The pixel that becomes 0.
    if name == "bytes":
        centred = 2 < zero <= 255 and 0.5 <= abs(a) <= 2  # The mean is subtracted, no more.
        return centred or (-1 <= zero <= 255 and 0.5 <= 255 * abs(a) <= 20)
    if name == "unit":
        return -1e-3 <= zero <= 1 and abs(a) >= 0.5
    return abs(zero + 1) < 1e-3 and (abs(a - 0.5) < 1e-3 or abs(a - 127.5) < 0.5)


class _FirstKernelError(Exception):
    """Raised to stop a run at the first layer with a kernel."""


def _first_layers(run: Run, shape: tuple[int, ...]) -> tuple[list[str], list[Affine]]:
    """Return the names of the first layers that change pixels, and what they compute, by channel.

    Both are empty when they compute anything but `a v + b`.
    """
    colours = _SCALES * np.random.default_rng(0).uniform(-1, 1, (len(_SCALES), shape[-1]))
    images = tf.constant(
        np.broadcast_to(colours[:, np.newaxis, np.newaxis], (len(colours), *shape)), tf.float32
    )
    names: list[str] = []
    found: list[Affine] = []
    of_image = {id(images): images}  # Keeps the tensors alive, so that no identity is used twice.

    def caller(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal found
        if not any(id(one) in of_image for one in keras.tree.flatten((args, kwargs))):
            return layer(*args, **kwargs)
        if getattr(layer, "weights", None) and not isinstance(layer, _STANDARDISING):
            raise _FirstKernelError
        output = layer(*args, **kwargs)
        if id(output) in of_image:
            return output
        if not tf.is_tensor(output) or len(output.shape) not in (3, 4):
            raise _FirstKernelError
        of_image[id(output)] = output
        # A tensor of three axes may be one channel, which will be joined with the others.
        if len(output.shape) == 4:
            if not (affine := _affine_of(output, colours)):
                raise _FirstKernelError
            names.append(name)
            found = affine
        return output

    with suppress(_FirstKernelError):
        run(images, caller)
    return names, found


_STANDARDISING = (keras.layers.Normalization, keras.layers.Rescaling)


def _affine_of(output: Any, colours: NDArray[np.float64]) -> list[Affine]:
    """Return `a` and `b` of each channel of an output; `[]` if it is not `a v + b` everywhere."""
    if len(output) != len(colours):
        return []
    # The middle of the image, since its border may be padded.
    values = np.asarray(output[:, output.shape[1] // 2, output.shape[2] // 2], np.float64)
    found = []
    for y in values.T:
        for x in colours.T:
            a, b = np.polyfit(x, y, 1)
            if a and np.allclose(a * x + b, y, rtol=0, atol=1e-4 * np.abs(y).max()):
                found.append((float(a), float(b)))
                break
    return found if len(found) == values.shape[1] else []
