"""The features of an image: which pixels are switched off together.

A game over an image has as many players as there are features. An image's own pixels are shared
out among them by labels `(H, W)`, 0 to F - 1; a feature covers all channels of its pixels.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import check_counts

Labels = NDArray[np.int32]


class Features(Protocol):
    """A way to share out the pixels of an image, a value that can be hashed and compared."""

    def labels(self, height: int, width: int) -> Labels:
        """The feature of each pixel of an image of this size, `(H, W)`, from 0 upwards."""


@dataclass(frozen=True)
class Pixels:
    """Every pixel is a feature of its own."""

    def labels(self, height: int, width: int) -> Labels:
        """The feature of each pixel, `(H, W)`."""
        return np.arange(height * width, dtype=np.int32).reshape(height, width)


@dataclass(frozen=True)
class Patches:
    """Square patches; those at the right and lower edge are cut off by it.

    Attributes:
        side: Side of a patch in pixels.
    """

    side: int = 4

    def __post_init__(self) -> None:
        check_counts(side=self.side)

    def labels(self, height: int, width: int) -> Labels:
        """The feature of each pixel, `(H, W)`."""
        return _product(np.arange(height) // self.side, np.arange(width) // self.side)


@dataclass(frozen=True)
class Grid:
    """A grid of rectangles as equal as the pixels allow.

    Attributes:
        cells: Rectangles along each side, `cells²` in all.
    """

    cells: int = 7

    def __post_init__(self) -> None:
        check_counts(cells=self.cells)

    def labels(self, height: int, width: int) -> Labels:
        """The feature of each pixel, `(H, W)`.

        Raises:
            ValueError: For an image with fewer pixels along a side than the grid has cells.
        """
        if self.cells > min(height, width):
            raise ValueError(
                f"cells: expected at most {min(height, width)} for images of {height} x {width} "
                f"pixels; got {self.cells}"
            )
        rows, columns = (np.arange(side) * self.cells // side for side in (height, width))
        return _product(rows, columns)


@dataclass(frozen=True, repr=False)
class Segmentation:
    """Features drawn by hand or found by a segmentation.

    Attributes:
        mask: Integers `(H, W)`, as an array or as rows: pixels of one number are one feature.
    """

    mask: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        array = np.asarray(self.mask)
        if array.ndim != 2 or not array.size or array.dtype.kind not in "iu":
            raise ValueError(f"mask: expected integers (H, W); got {array.dtype} {array.shape}")
        # Rows of plain integers can be hashed and compared; arrays cannot.
        object.__setattr__(self, "mask", tuple(map(tuple, array.tolist())))

    def __repr__(self) -> str:
        array = np.asarray(self.mask)
        height, width = array.shape
        return f"Segmentation({height} x {width} pixels, {len(np.unique(array))} features)"

    def labels(self, height: int, width: int) -> Labels:
        """The feature of each pixel, `(H, W)`, in the order of the mask's numbers.

        Raises:
            ValueError: For images of another size than the mask.
        """
        array = np.asarray(self.mask)
        if array.shape != (height, width):
            raise ValueError(
                f"mask: expected the images' size ({height}, {width}); got {array.shape}"
            )
        return np.unique(array, return_inverse=True)[1].reshape(height, width).astype(np.int32)


def feature_count(features: Features, network: Network) -> int:
    """How many features the network's images have; 32 pixels stand for a side of any length."""
    height, width = network.inputs.typical_shape[:2]
    return int(features.labels(height, width).max()) + 1


def present(images: Array, labels: Labels, baseline: float) -> NDArray[np.bool_]:
    """Whether a feature of an image differs from the baseline at all, `(N, F)`.

    Where it does not, switching it off changes nothing: it is a dummy of the game.
    """
    differs = (images != np.float32(baseline)).any(axis=-1).reshape(len(images), -1)
    order = np.argsort(labels, axis=None, kind="stable")
    starts = np.searchsorted(labels.ravel()[order], np.arange(labels.max() + 1))
    return np.logical_or.reduceat(differs[:, order], starts, axis=1)


def summed(places: NDArray[Any], labels: Labels) -> NDArray[Any]:
    """Add up what the places of each feature hold: `(N, H, W)` to `(N, F)`."""
    order = np.argsort(labels, axis=None, kind="stable")
    starts = np.searchsorted(labels.ravel()[order], np.arange(labels.max() + 1))
    with np.errstate(invalid="ignore"):  # Of maps that are not finite.
        found: NDArray[Any] = np.add.reduceat(
            places.reshape(len(places), -1)[:, order], starts, axis=1
        )
    return found


def shared(values: NDArray[Any], labels: Labels) -> Array:
    """Share each feature's value equally among its pixels: `(N, F)` to maps `(N, H, W, 1)`."""
    return spread(values / np.bincount(labels.ravel()), labels)


def spread(values: NDArray[Any], labels: Labels) -> Array:
    """Give each pixel the whole value of its feature: `(N, F)` to maps `(N, H, W, 1)`."""
    return values.astype(np.float32)[:, labels, np.newaxis]


def _product(rows: NDArray[np.integer], columns: NDArray[np.integer]) -> Labels:
    return (rows[:, np.newaxis] * (columns.max() + 1) + columns).astype(np.int32)
