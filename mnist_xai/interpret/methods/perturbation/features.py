"""Features: groups of pixels that are switched off together.

Labels `(H, W)` from 0 to F - 1 give the feature of each pixel. A feature covers all channels of its
pixels. In terms of game theory (`shapley.py`), the features are the players.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Count, Hyperparameters

Labels = NDArray[np.int32]


class Features(Protocol):
    """A way to group the pixels of an image into features; hashable and comparable."""

    def labels(self, height: int, width: int) -> Labels:
        """Return the feature of each pixel of an image of this size, `(H, W)`, from 0 upwards."""


@runtime_checkable
class FeaturesOfImages(Features, Protocol):
    """Features that differ from image to image, such as superpixels."""

    def labels_of(self, image: Array) -> Labels:
        """Return the feature of each pixel of one image `(H, W, C)`, `(H, W)`, from 0 upwards."""

    def count(self, height: int, width: int) -> int:
        """Return the largest number of features in an image of this size."""


@dataclass(frozen=True)
class Pixels:
    """Each pixel is one feature."""

    def labels(self, height: int, width: int) -> Labels:
        """Return the feature of each pixel, `(H, W)`."""
        return np.arange(height * width, dtype=np.int32).reshape(height, width)


@dataclass(frozen=True)
class Patches(Hyperparameters):
    """Square patches, cut off at the right and lower edges of the image.

    Attributes:
        side: Side of a patch in pixels; by default a seventh of the image's shorter side, but at
            least 4.
    """

    side: Count | None = None

    def labels(self, height: int, width: int) -> Labels:
        """Return the feature of each pixel, `(H, W)`."""
        side = self.side or max(4, min(height, width) // 7)
        return _product(np.arange(height) // side, np.arange(width) // side)


@dataclass(frozen=True)
class Grid(Hyperparameters):
    """A grid of rectangles of equal size, up to one pixel.

    Attributes:
        cells: Number of rectangles along each side, `cells²` in all.
    """

    cells: Count = 7

    def labels(self, height: int, width: int) -> Labels:
        """Return the feature of each pixel, `(H, W)`.

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
    """Features given by a segmentation mask.

    Attributes:
        mask: Integers `(H, W)`, as an array or as rows. Pixels with equal numbers are one feature.
    """

    mask: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        array = np.asarray(self.mask)
        if array.ndim != 2 or not array.size or array.dtype.kind not in "iu":
            raise ValueError(f"mask: expected integers (H, W); got {array.dtype} {array.shape}")
        # Stored as tuples of integers, which can be hashed and compared; arrays cannot.
        object.__setattr__(self, "mask", tuple(map(tuple, array.tolist())))

    def __repr__(self) -> str:
        array = np.asarray(self.mask)
        height, width = array.shape
        return f"Segmentation({height} x {width} pixels, {len(np.unique(array))} features)"

    def labels(self, height: int, width: int) -> Labels:
        """Return the feature of each pixel, `(H, W)`, in the order of the mask's numbers.

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
    """Return the number of features in the network's images; a side of any length counts as 32."""
    height, width = network.inputs.typical_shape[:2]
    if isinstance(features, FeaturesOfImages):
        return features.count(height, width)
    return int(features.labels(height, width).max()) + 1


def explain_by_features(
    explain: Callable[[Network, Array, Targets, Labels, Score], Array],
    features: Features,
    network: Network,
    images: Array,
    targets: Targets,
    score: Score,
) -> Array:
    """Return the maps of `explain`, called once for all images that share their features.

    Args:
        explain: Function from network, images, targets, labels `(H, W)` and score to maps.
        features: The features.
        network: The network.
        images: float `(N, H, W, C)`.
        targets: Integers `(N,)`.
        score: Whether the score is the logit or the probability.
    """
    if not isinstance(features, FeaturesOfImages):
        return explain(network, images, targets, features.labels(*images.shape[1:3]), score)
    each = (slice(i, i + 1) for i in range(len(images)))
    return np.concatenate(
        [
            explain(network, images[i], targets[i], features.labels_of(images[i][0]), score)
            for i in each
        ]
    )


def present(images: Array, labels: Labels, baseline: float) -> NDArray[np.bool_]:
    """Return whether any pixel of each feature differs from the baseline, `(N, F)`.

    Switching off a feature that does not differ changes nothing.
    """
    differs = (images != np.float32(baseline)).any(axis=-1).reshape(len(images), -1)
    order, starts = _by_feature(labels)
    return np.logical_or.reduceat(differs[:, order], starts, axis=1)


def summed(places: NDArray[Any], labels: Labels) -> NDArray[Any]:
    """Add up the values at the places of each feature: `(N, H, W)` to `(N, F)`."""
    order, starts = _by_feature(labels)
    with np.errstate(invalid="ignore"):  # For maps that are not finite.
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


def _by_feature(labels: Labels) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pixels sorted by feature, `(H W,)`, and where each feature starts, `(F,)`."""
    order = np.argsort(labels, axis=None, kind="stable")
    return order, np.searchsorted(labels.ravel()[order], np.arange(labels.max() + 1))


def _product(rows: NDArray[np.integer], columns: NDArray[np.integer]) -> Labels:
    """Return labels for a grid from the row and column of cells of each pixel."""
    return (rows[:, np.newaxis] * (columns.max() + 1) + columns).astype(np.int32)
