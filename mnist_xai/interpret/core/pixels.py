"""The range of a model's pixels: which values stand for black and for white.

Inside the package every image is a unit image, `u = (v - low) / (high - low)` in [0, 1], with `v`
the pixels as the model takes them. So a baseline, the width of noise or a mask means the same for
every model, whatever its pixels are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Origin = Literal["given", "found", "open"]
"""Who says what the range is: the user, the model's own preprocessing, or nobody."""


@dataclass(frozen=True)
class PixelRange:
    """The values of black and white, for each channel.

    Attributes:
        low: The value of black, one number, or one for each channel.
        high: The value of white, likewise.
        origin: `"given"` by the user, `"found"` in the model, or `"open"`: not known. An open
            range is [0, 1] where the images lie in [0, 1], and unknown where they do not.
        reason: How it was found, for messages.
        bgr: Whether the channels are blue, green, red.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    origin: Origin = "given"
    reason: str = ""
    bgr: bool = False

    @property
    def is_unit(self) -> bool:
        """Whether the model's pixels are unit pixels."""
        return set(self.low) == {0.0} and set(self.high) == {1.0}

    @property
    def span(self) -> Array:
        """`high - low`, float32, of a shape that broadcasts to `(N, H, W, C)`."""
        return (np.asarray(self.high) - np.asarray(self.low)).astype(np.float32)

    def to_unit(self, images: Array) -> Array:
        """Return unit images: `u = (v - low) / (high - low)`."""
        if self.is_unit:
            return images
        low, high = np.asarray(self.low), np.asarray(self.high)
        return ((images - low) / (high - low)).astype(np.float32)

    def to_model(self, images: Array) -> Array:
        """Return images as the model takes them: `v = low + (high - low) u`."""
        if self.is_unit:
            return images
        low, high = np.asarray(self.low), np.asarray(self.high)
        return (low + (high - low) * images).astype(np.float32)

    def reversed(self, images: Array) -> Array:
        """Return images with their channels reversed if they are blue, green, red."""
        return images[..., ::-1] if self.bgr and images.shape[-1] == 3 else images

    def per_value(self, maps: Array, power: int) -> Array:
        """Return maps per unit pixel as maps per pixel value: `map / (high - low)^power`."""
        if self.is_unit or not power:
            return maps
        return (maps / self.span**power).astype(np.float32)

    def __str__(self) -> str:
        if len(set(self.low)) == len(set(self.high)) == 1:
            return f"[{self.low[0]:.4g}, {self.high[0]:.4g}]"
        ends = zip(*np.broadcast_arrays(self.low, self.high), strict=True)
        return ", ".join(f"[{low:.4g}, {high:.4g}]" for low, high in ends) + " by channel"


_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)

CONVENTIONS = {
    "unit": PixelRange((0.0,), (1.0,)),
    "bytes": PixelRange((0.0,), (255.0,)),
    "tf": PixelRange((-1.0,), (1.0,)),
    "caffe": PixelRange(
        tuple(-m for m in _CAFFE_MEAN), tuple(255 - m for m in _CAFFE_MEAN), bgr=True
    ),
    "torch": PixelRange(
        tuple(-m / s for m, s in zip(_MEAN, _DEVIATION, strict=True)),
        tuple((1 - m) / s for m, s in zip(_MEAN, _DEVIATION, strict=True)),
    ),
}
"""Ranges by name. `"tf"`, `"caffe"` and `"torch"` are the outputs of `preprocess_input` in
`keras.applications` with these modes: [-1, 1]; blue, green, red minus ImageNet's mean; and
standardised by ImageNet's mean and deviation."""

OPEN = PixelRange((0.0,), (1.0,), "open", "the model shows no preprocessing")

Pixels = str | tuple[float | Sequence[float], float | Sequence[float]] | PixelRange
"""What `pixels=` may be: a name of `CONVENTIONS`, `(low, high)`, or a `PixelRange`."""


def pixel_range(pixels: Pixels, channels: int) -> PixelRange:
    """Return the range that a user names.

    Args:
        pixels: A name of `CONVENTIONS`, or `(low, high)`: two numbers, or two sequences with a
            number for each channel.
        channels: Number of channels of the images.

    Raises:
        TypeError, ValueError: For an unknown name, another number of channels, or numbers that
            are not finite and rising.
    """
    if isinstance(pixels, PixelRange):
        found = pixels
    elif isinstance(pixels, str):
        if pixels not in CONVENTIONS:
            raise ValueError(
                f"pixels: expected one of {', '.join(CONVENTIONS)}, or (low, high); got {pixels!r}"
            )
        found = CONVENTIONS[pixels]
    else:
        found = _from_bounds(pixels)
    lengths = {len(found.low), len(found.high)}
    if not lengths <= {1, channels}:
        raise ValueError(
            f"pixels: expected numbers for {channels} channels; got {max(lengths)}: {pixels!r}"
        )
    return found


def _from_bounds(pixels: object) -> PixelRange:
    try:
        low, high = (
            tuple(map(float, np.atleast_1d(np.asarray(bound, float))))
            for bound in pixels  # type: ignore[attr-defined]
        )
    except (TypeError, ValueError):
        raise TypeError(
            f"pixels: expected one of {', '.join(CONVENTIONS)}, or (low, high); got {pixels!r}"
        ) from None
    gap = np.asarray(high) - np.asarray(low) if len({len(low), len(high), 1}) <= 2 else np.zeros(1)
    if not (np.isfinite(gap).all() and (gap > 0).all()):
        raise ValueError(f"pixels: expected finite numbers with low < high; got {pixels!r}")
    return PixelRange(low, high)
