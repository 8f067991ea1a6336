"""Occlusion: paint over one window of the image at a time."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Pixel
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import Labels, spread
from mnist_xai.interpret.methods.perturbation.masking import scores_of_masks


@register("occlusion")
@dataclass(frozen=True)
class Occlusion(Hyperparameters):
    """Occlusion: the mean of `S_c(x) - S_c(x without a window)` over the windows on a pixel.

    Windows begin at every multiple of the stride, up to the first one that reaches the edge of the
    image, where it is cut off.

    Attributes:
        patch: Side of the square window in pixels; by default a seventh of the image's shorter
            side, but at least 4.
        stride: Distance between the starts of two windows in pixels, at most `patch`; by default
            half of it.
        baseline: The value of the pixels in the window, in [0, 1].
    """

    patch: Count | None = None
    stride: Count | None = None
    baseline: Pixel = 0.0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="how much the score falls when a window on the pixel is painted over",
        caveat="if one part can replace another, both look unimportant; the network may also react "
        "to the window itself",
        reference="Zeiler, Fergus 2014, section 4.2",
        unit="forward",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch and self.stride and self.stride > self.patch:
            raise ValueError(
                f"stride: expected at most the patch, {self.patch}, so that no pixel is left out; "
                f"got {self.stride}"
            )

    def sized(self, height: int, width: int) -> "Occlusion":
        """Return the method with the defaults for images of this size filled in."""
        patch, stride = self._window(height, width)
        return replace(self, patch=patch, stride=stride)

    def _window(self, height: int, width: int) -> tuple[int, int]:
        patch = self.patch or max(4, min(height, width) // 7, self.stride or 0)
        return patch, self.stride or max(1, patch // 2)

    def passes(self, network: Network) -> float:
        """Return the forward passes: one for each window, and one for the image."""
        rows, columns = self._spans(*network.inputs.typical_shape[:2])
        return len(rows) * len(columns) + 1

    def _spans(self, height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which rows and which columns each window covers, `(windows, side)` both."""
        window = self._window(height, width)
        rows, columns = (_spans(side, *window) for side in (height, width))
        return rows, columns

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score.

        Raises:
            ValueError: For a window larger than the image.
        """
        rows, columns, labels = _cells(*self._spans(*images.shape[1:3]))
        count = len(rows) * len(columns)
        falls: Array = np.zeros((), np.float32)
        for start in range(0, count, size := max(1, _MASKS // (labels.max() + 1))):
            row, column = np.divmod(np.arange(start, min(start + size, count)), len(columns))
            windows = (rows[row, :, np.newaxis] & columns[column, np.newaxis]).reshape(len(row), -1)
            # One more mask, which covers nothing, gives the score of the image.
            masks = ~np.vstack([windows, np.zeros_like(windows[:1])])
            scores = scores_of_masks(
                network, images, targets, masks, labels, baseline=self.baseline, score=score
            )
            falls = falls + (scores[:, -1:] - scores[:, :-1]) @ windows.astype(np.float32)
        return spread(falls / np.outer(rows.sum(axis=0), columns.sum(axis=0)).ravel(), labels)


_MASKS = 2**24  # Numbers in the masks that are held at once.


def _spans(side: int, patch: int, stride: int) -> NDArray[np.bool_]:
    """Return which pixels along a side each window covers, `(windows, side)`.

    Raises:
        ValueError: For a window larger than the image.
    """
    if patch > side:
        raise ValueError(f"patch: expected at most the image's side, {side} pixels; got {patch}")
    starts = np.arange(0, side - patch + stride, stride)[:, np.newaxis]
    pixels = np.arange(side)
    return (starts <= pixels) & (pixels < starts + patch)


def _cells(
    rows: NDArray[np.bool_], columns: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Labels]:
    """Join pixels that are covered by the same windows into cells.

    Returns:
        Which rows and which columns of cells each window covers, and the cell of each pixel.
    """
    (down, row), (across, column) = (
        np.unique(spans, axis=1, return_inverse=True) for spans in (rows, columns)
    )
    return down, across, (row[:, np.newaxis] * across.shape[1] + column).astype(np.int32)
