"""Maps that explain nothing, made like explanations: what a method has to beat.

Controls are methods as those of `METHODS` are, so that whatever scores a method scores them. None
of them looks at the network. A method that a control beats has not shown that it knows more of the
network than the control does.
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
from mnist_xai.interpret.core.parameters import check_seed
from mnist_xai.interpret.methods.base import About, Method

_FAMILY = "control"
_BLIND = "always: it does not look at the network"


@dataclass(frozen=True)
class RandomMap:
    """Independent normal numbers, drawn anew for every image and target.

    Attributes:
        seed: Seed of the numbers; with it and the image they are the same again.
    """

    seed: int = 0

    about: ClassVar[About] = About(
        family=_FAMILY,
        shows="nothing: independent standard normal numbers",
        caveat=_BLIND,
        reference="Adebayo et al. 2018, section 3",
        unit="forward",
    )

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def passes(self, network: Network) -> float:
        """None."""
        return 0

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> Array:
        """Make maps `(N, H, W, 1)`."""
        shape = (*images.shape[1:3], 1)
        return np.stack(
            [
                # Keyed by what the map belongs to, and not by its place in the batch.
                np.random.default_rng(
                    [self.seed, int(target), zlib.crc32(np.ascontiguousarray(image).data)]
                ).standard_normal(shape, np.float32)
                for image, target in zip(images, targets, strict=True)
            ]
        )


@dataclass(frozen=True)
class SobelEdges:
    """Length of the image's own gradient, by Sobel's filters: `√(G_x² + G_y²)`."""

    about: ClassVar[About] = About(
        family=_FAMILY,
        shows="where the image has edges",
        caveat=_BLIND,
        reference="Adebayo et al. 2018, section 5.2, where an edge detector is the control",
        signed=False,
        class_sensitive=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """None."""
        return 0

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> Array:
        """Make maps `(N, H, W, 1)`."""
        # One image at a time: the filter smooths along every axis that it is given.
        return np.stack([_edges(grey) for grey in images.mean(axis=-1)])[..., np.newaxis]


@dataclass(frozen=True)
class ImageItself:
    """The image: what is bright is said to matter."""

    about: ClassVar[About] = About(
        family=_FAMILY,
        shows="where the image is bright",
        caveat=_BLIND,
        reference="Adebayo et al. 2018, section 5.2, on maps that are multiplied by the image",
        signed=False,
        class_sensitive=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """None."""
        return 0

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> Array:
        """Make maps `(N, H, W, C)`."""
        return images.copy()


CONTROLS: Mapping[str, Method] = {
    "random_map": RandomMap(),
    "sobel_edges": SobelEdges(),
    "image_itself": ImageItself(),
}
"""The controls by name."""


def _edges(grey: Array) -> Array:
    down, right = (ndimage.sobel(grey, axis=axis, mode="nearest") for axis in (0, 1))
    return np.hypot(down, right).astype(np.float32)
