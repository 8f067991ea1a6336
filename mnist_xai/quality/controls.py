"""Controls: methods that never look at the network, as a baseline for the scores of real methods.

Controls have the interface of all methods, so every metric can score them. If a method scores no
better than a control, the metric is no evidence that the method explains the network.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Hyperparameters, Seed
from mnist_xai.interpret.methods.base import About, Method

_FAMILY = "control"
_CAVEAT = "it explains nothing, because it does not look at the network"


@dataclass(frozen=True)
class RandomMap(Hyperparameters):
    """Independent standard normal numbers for every image and target: `R_i ~ N(0, 1)`.

    Attributes:
        seed: Seed of the numbers. The same seed, image and target give the same map.
    """

    seed: Seed = 0

    about: ClassVar[About] = About(
        family=_FAMILY,
        shows="nothing: independent standard normal numbers",
        caveat=_CAVEAT,
        reference="Adebayo et al. 2018, section 3",
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return 0: the network is not run."""
        return 0

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> Array:
        """Return maps `(N, H, W, 1)`."""
        shape = (*images.shape[1:3], 1)
        return np.stack(
            [
                # Seeded by image and target, so that the map does not depend on the batch.
                np.random.default_rng(
                    [self.seed, int(target), zlib.crc32(np.ascontiguousarray(image).data)]
                ).standard_normal(shape, np.float32)
                for image, target in zip(images, targets, strict=True)
            ]
        )


@dataclass(frozen=True)
class SobelEdges:
    """Edges of the image: length of its gradient by Sobel's filters, `√(G_x² + G_y²)`."""

    about: ClassVar[About] = About(
        family=_FAMILY,
        shows="where the image has edges",
        caveat=_CAVEAT,
        reference="Adebayo et al. 2018, section 5.2, where an edge detector is the control",
        signed=False,
        class_sensitive=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return 0: the network is not run."""
        return 0

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> Array:
        """Return maps `(N, H, W, 1)`."""
        # One image at a time, because Sobel's filter smooths along all other axes.
        return np.stack([_edges(grey) for grey in images.mean(axis=-1)])[..., np.newaxis]


@dataclass(frozen=True)
class ImageItself:
    """The image itself as its map: `R = x`, so bright pixels are relevant."""

    about: ClassVar[About] = About(
        family=_FAMILY,
        shows="where the image is bright",
        caveat=_CAVEAT,
        reference="Adebayo et al. 2018, section 5.2, on maps that are multiplied by the image",
        signed=False,
        class_sensitive=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return 0: the network is not run."""
        return 0

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> Array:
        """Return maps `(N, H, W, C)`."""
        return images.copy()


CONTROLS: Mapping[str, Method] = {
    "random_map": RandomMap(),
    "sobel_edges": SobelEdges(),
    "image_itself": ImageItself(),
}
"""The controls, by name."""


def _edges(grey: Array) -> Array:
    down, right = (ndimage.sobel(grey, axis=axis, mode="nearest") for axis in (0, 1))
    return np.hypot(down, right).astype(np.float32)
