"""Validate what a user passes to a network: images, targets and the kind of score."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.pixels import PixelRange

Array = NDArray[np.float32]
Targets = NDArray[np.int32]
Score = Literal["logit", "probability", "output"]

PREDICTED = np.int32(-1)
"""In place of a target inside a pass: the class with the largest logit."""


def check_score(score: str) -> None:
    """Raise ValueError unless `score` is `"logit"`, `"probability"` or `"output"`."""
    if score not in ("logit", "probability", "output"):
        raise ValueError(f"score: expected logit, probability or output; got {score!r}")


@dataclass(frozen=True)
class InputSpec:
    """The images and targets that a network accepts.

    Attributes:
        model: Name of the model, for messages.
        image_shape: Height, width and channels of an image; None where the model takes any size.
        pixels: The range of the pixels.
        has_channels: Whether images have an axis for channels.
        classes: Number of classes.
        units: Number of outputs.
    """

    model: str
    image_shape: tuple[int | None, ...]
    pixels: PixelRange
    has_channels: bool
    classes: int
    units: int

    @property
    def typical_shape(self) -> tuple[int, ...]:
        """The image shape, with 32 pixels for a side of any length."""
        return tuple(side or 32 for side in self.image_shape)

    def fixed_shape(self) -> tuple[int, ...]:
        """Return height, width and channels.

        Raises:
            ValueError: When the model takes images of any size.
        """
        shape = tuple(side for side in self.image_shape if side is not None)
        if len(shape) != 3:
            raise ValueError(
                f"model: expected images of one size; {self.model!r} takes {self.image_shape}"
            )
        return shape

    def check_images(self, images: ArrayLike, *, needs_range: bool = True) -> Array:
        """Return unit images for images as the model takes them.

        Args:
            images: `(N, H, W, C)`, or `(N, H, W)` if the model's input is so; floats in the
                model's range, or uint8 if that is [0, 255].
            needs_range: Whether the range has to be known. Where it is not, images outside [0, 1]
                are refused, or returned as they are.

        Returns:
            float32 `(N, H, W, C)` in [0, 1], but for images whose range is not known.

        Raises:
            TypeError: For another type.
            ValueError: For another shape, no images, values that are not finite or outside the
                range, or a range that is needed and not known.
        """
        array = self._checked_array(images)
        if self.pixels.origin == "open":
            if needs_range and not _within(array, 0, 1):
                raise ValueError(self._ask_for_range(array))
            return array
        return self._unit_images(array)

    def check_points(self, images: ArrayLike) -> Array:
        """Return unit points near images as float32 `(N, H, W, C)`; they may leave [0, 1].

        Raises:
            TypeError: For anything but floats.
            ValueError: For another shape, no images, or values that are not finite.
        """
        array = np.asarray(images)
        if array.dtype.kind != "f":
            raise TypeError(f"images: expected floats in [0, 1]; got {array.dtype}")
        return self._of_right_shape(array)

    def _checked_array(self, images: ArrayLike) -> Array:
        array = np.asarray(images)
        takes_bytes = self.pixels.low == (0.0,) and self.pixels.high == (255.0,)
        if array.dtype == np.uint8 and not takes_bytes:
            raise TypeError(
                f"images: expected floats in {self.pixels}; got uint8. mnist_xai.normalise(images) "
                "divides by 255; pass pixels='bytes' if the model takes 0 to 255"
            )
        if array.dtype.kind not in ("f" if not takes_bytes else "fiu"):
            raise TypeError(f"images: expected floats in {self.pixels}; got {array.dtype}")
        if not self.has_channels and array.ndim == 3:
            array = array[..., np.newaxis]
        return self._of_right_shape(array)

    def _of_right_shape(self, array: NDArray[Any]) -> Array:
        sides = self.image_shape if self.has_channels else self.image_shape[:2]
        expected = "(N, " + ", ".join(str(side or "any") for side in sides) + ")"
        if array.ndim == len(sides) and _fits(array.shape, sides):
            raise ValueError(
                f"images: expected {expected}; got one image {array.shape}: pass images[None]"
            )
        if array.ndim != 4 or not _fits(array.shape[1:], self.image_shape):
            raise ValueError(f"images: expected {expected}; got {array.shape}")
        if not len(array):
            raise ValueError("images: expected at least one; got none")
        if not np.isfinite(array).all():
            raise ValueError("images: expected finite values; some are NaN or infinite")
        return array.astype(np.float32, copy=False)

    def _unit_images(self, array: Array) -> Array:
        """Return unit images; refuse values outside the range, and bytes that look divided."""
        if self.pixels.is_unit:
            if not _within(array, 0, 1):
                raise ValueError(self._outside(array))
            return array
        units = self.pixels.to_unit(array)
        slack = 1e-5  # Preprocessing rounds, so black and white may leave the range a little.
        if not _within(units, -slack, 1 + slack):
            raise ValueError(self._outside(array))
        small = self.pixels.origin == "found" and self.pixels.high[0] >= 2 and array.max() <= 1
        if small and array.any():
            raise ValueError(
                f"images: expected values in {self.pixels}, which {self.model!r} shows by its "
                f"first layers ({self.pixels.reason}); got {array.min():.4g} to {array.max():.4g}. "
                "Multiply them by 255, or say pixels='bytes' if they are that dark"
            )
        return np.clip(units, 0, 1)

    def _outside(self, array: Array) -> str:
        shown = f", which its first layers show ({self.pixels.reason})"
        return (
            f"images: expected values in {self.pixels}"
            f"{shown if self.pixels.origin == 'found' else ''}; "
            f"got {array.min():.4g} to {array.max():.4g}"
        )

    def _ask_for_range(self, array: Array) -> str:
        return (
            f"images: expected values in [0, 1], or a known range; got {array.min():.4g} to "
            f"{array.max():.4g}, and {self.model!r} shows no preprocessing. Say what black and "
            "white are: pixels='bytes' (0 to 255), 'tf' (-1 to 1), 'caffe', 'torch' "
            "(preprocess_input's output), or pixels=(low, high)"
        )

    def check_targets(self, targets: ArrayLike, count: int, *, score: Score = "logit") -> Targets:
        """Return the targets as int32 `(count,)`: classes, or outputs for the score "output".

        Args:
            targets: One integer for all images, integers `(count,)`, or one-hot rows
                `(count, classes)`.
            count: Number of images.
            score: The score to explain.

        Raises:
            ValueError: For another shape or type, rows that are not one-hot, or a class that the
                model does not have.
        """
        array = np.asarray(targets)
        classes = self.units if score == "output" else self.classes
        if array.shape == (count, classes) and array.ndim == 2:
            array = self._from_one_hot(array)
        elif not array.ndim and array.dtype.kind in "iu":
            array = np.full(count, array)
        if array.shape != (count,) or array.dtype.kind not in "iu":
            raise ValueError(
                f"targets: expected {count} integers, one for each image, or one integer for all, "
                f"or one-hot rows ({count}, {classes}); got {array.dtype} {array.shape}"
            )
        if array.min() < 0 or array.max() >= classes:
            raise ValueError(
                f"targets: expected {'outputs' if score == 'output' else 'classes'} from 0 to "
                f"{classes - 1}; got {array.min()} to {array.max()}"
            )
        return array.astype(np.int32)

    def _from_one_hot(self, rows: NDArray[np.generic]) -> NDArray[np.intp]:
        if not (((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all()):
            raise ValueError(
                f"targets: expected one-hot rows, a single 1 among zeros; got {rows.dtype} "
                f"{rows.shape} with other values"
            )
        return rows.argmax(axis=1)


def _fits(shape: tuple[int, ...], pattern: tuple[int | None, ...]) -> bool:
    return len(shape) == len(pattern) and all(
        expected in (None, side) for side, expected in zip(shape, pattern, strict=True)
    )


def _within(array: Array, low: float, high: float) -> bool:
    return bool(array.min() >= low and array.max() <= high)
