"""Validate what a user passes to a network: images, targets and the kind of score."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]
Targets = NDArray[np.int32]
Score = Literal["logit", "probability"]


def check_score(score: str) -> None:
    """Raise ValueError unless `score` is `"logit"` or `"probability"`."""
    if score not in ("logit", "probability"):
        raise ValueError(f"score: expected logit or probability; got {score!r}")


@dataclass(frozen=True)
class InputSpec:
    """The images and targets that a network accepts.

    Attributes:
        model: Name of the model, for messages.
        image_shape: Height, width and channels of an image; None where the model takes any size.
        classes: Number of classes.
    """

    model: str
    image_shape: tuple[int | None, ...]
    classes: int

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

    def check_images(self, images: ArrayLike) -> Array:
        """Return the images as float32 `(N, H, W, C)` in [0, 1].

        Raises:
            TypeError: For anything but floats.
            ValueError: For another shape, no images, or values outside [0, 1].
        """
        array = self.check_points(images)
        if array.min() < 0 or array.max() > 1:
            raise ValueError(
                f"images: expected values in [0, 1]; got {array.min():.4g} to {array.max():.4g}"
            )
        return array

    def check_points(self, images: ArrayLike) -> Array:
        """Return points near images as float32 `(N, H, W, C)`; they may leave [0, 1].

        Raises:
            TypeError: For anything but floats.
            ValueError: For another shape, no images, or values that are not finite.
        """
        array = np.asarray(images)
        if array.dtype == np.uint8:
            raise TypeError(
                "images: expected floats in [0, 1]; got uint8. "
                "mnist_xai.normalise(images) divides by 255"
            )
        if array.dtype.kind != "f":
            raise TypeError(f"images: expected floats in [0, 1]; got {array.dtype}")
        expected = "(N, " + ", ".join(str(side or "any") for side in self.image_shape) + ")"
        if array.ndim == 3 and _fits(array.shape, self.image_shape):
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

    def check_targets(self, targets: ArrayLike, count: int) -> Targets:
        """Return the target classes as int32 `(count,)`.

        Args:
            targets: One integer for all images, integers `(count,)`, or one-hot rows
                `(count, classes)`.
            count: Number of images.

        Raises:
            ValueError: For another shape or type, rows that are not one-hot, or a class that the
                model does not have.
        """
        array = np.asarray(targets)
        if array.shape == (count, self.classes):
            array = self._from_one_hot(array)
        elif not array.ndim and array.dtype.kind in "iu":
            array = np.full(count, array)
        if array.shape != (count,) or array.dtype.kind not in "iu":
            raise ValueError(
                f"targets: expected {count} integers, one for each image, or one integer for all, "
                f"or one-hot rows ({count}, {self.classes}); got {array.dtype} {array.shape}"
            )
        if array.min() < 0 or array.max() >= self.classes:
            raise ValueError(
                f"targets: expected classes from 0 to {self.classes - 1}; "
                f"got {array.min()} to {array.max()}"
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
