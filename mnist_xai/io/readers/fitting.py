"""Bring pictures to the shape that a model takes, and say what was changed."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_xai.io.readers.base import DataError
from mnist_xai.io.safe_text import escape_controls

ImageShape = tuple[int | None, ...]
"""Height, width and channels; None for a side of any length."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow and TensorFlow.


class Fitting:
    """Brings the pictures of a data set to one shape, and counts what it changes.

    Sides that are None take the length of the first picture's.
    """

    def __init__(self, image_shape: ImageShape) -> None:
        if len(image_shape) not in (2, 3):
            raise ValueError(f"image_shape: expected height, width and channels; got {image_shape}")
        self._shape = image_shape if len(image_shape) == 3 else (*image_shape, 1)
        self._count = 0
        self._changed: dict[str, list[str]] = {}  # By change: the pictures, described.

    def __call__(self, path: Path, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture, uint8 `(h, w, 1 or 3)`, in the shape of all.

        Raises:
            DataError: When neither grey nor colour has the number of channels that is asked for.
        """
        self._count += 1
        height, width, channels = picture.shape
        if None in self._shape:
            self._shape = tuple(
                wanted or has for wanted, has in zip(self._shape, picture.shape, strict=True)
            )
        wanted_height, wanted_width, wanted_channels = self._shape
        described = f"{escape_controls(path.name)}, {height} x {width}"
        if channels != wanted_channels:
            picture = _with_channels(path, picture, int(wanted_channels or 0))
            self._note(
                "shown in grey" if channels == 3 else "grey, given three channels", described
            )
        if (height, width) != (wanted_height, wanted_width):
            picture = resized(picture, int(wanted_height or 0), int(wanted_width or 0))
            self._note(f"resized to {wanted_height} x {wanted_width}", described)
        return picture

    def _note(self, change: str, described: str) -> None:
        self._changed.setdefault(change, []).append(described)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed, one sentence for each kind of change."""
        return tuple(
            f"{len(pictures)} of {self._count} pictures {change} (first: {pictures[0]})"
            if self._count > 1
            else f"picture {change} ({pictures[0]})"
            for change, pictures in self._changed.items()
        )


def resized(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize bilinearly, as `tf.image.resize` and `keras.utils.image_dataset_from_directory` do.

    Pixel centres lie at half integers, and nothing is averaged when a picture shrinks.

    Args:
        picture: uint8 `(h, w, C)`.
        height: New height.
        width: New width.

    Returns:
        uint8 `(height, width, C)`, rounded to whole numbers.
    """
    top, bottom, down = _neighbours(height, picture.shape[0])
    left, right, across = _neighbours(width, picture.shape[1])
    down, across = down[:, None, None], across[:, None]
    rows = picture[top] * (1 - down) + picture[bottom] * down
    blended = rows[:, left] * (1 - across) + rows[:, right] * across
    return np.rint(blended).astype(np.uint8)


def _neighbours(
    after: int, before: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return, for each new pixel, the two old ones beside it and the share of the second."""
    centres = (np.arange(after) + 0.5) * (before / after) - 0.5
    centres = np.clip(centres, 0, before - 1)
    first = np.floor(centres).astype(np.intp)
    return first, np.minimum(first + 1, before - 1), (centres - first).astype(np.float32)


def _with_channels(path: Path, picture: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if channels == 3:
        return np.repeat(picture, 3, axis=-1)
    if channels == 1:
        return np.rint(picture @ _LUMA)[..., np.newaxis].astype(np.uint8)
    raise DataError(
        f"{path}: pictures have 1 or 3 channels, and the model takes {channels}; pass an .npz file"
    )
