"""Base of the class activation maps: channels of a layer, weighted for a class and stretched.

Each method gives the channels `A_k` of a layer a weight for the target's score `S_c` and adds them
up into one map at the layer's resolution, `(N, h, w)`. The map is then stretched over the image to
`(N, H, W, 1)`, bilinearly with the convention of `tf.image.resize`: pixel centres lie at half
integers, and corners are not aligned.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Hyperparameters
from mnist_xai.interpret.core.spatial import last_layer_with_positions
from mnist_xai.interpret.core.tokens import token_grid
from mnist_xai.interpret.methods.base import About


@dataclass(frozen=True)
class ActivationMap(Hyperparameters, ABC):
    """Base of the class activation maps.

    Attributes:
        layer: Name of a layer with outputs `(N, h, w, K)`, whose channels are the `A_k`, or with
            tokens `(N, t, K)`, which are folded back to the grid of patches; class and register
            tokens are left out. By default it is the last such layer, of a transformer the last
            one whose patches the score depends on. A convolution before the last pooling gives
            finer maps.
    """

    layer: str | None = None

    about: ClassVar[About]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer is not None and not (isinstance(self.layer, str) and self.layer):
            raise ValueError(f"layer: expected the name of a layer, or None; got {self.layer!r}")

    def passes(self, network: Network) -> float:
        """Return 1: one gradient pass."""
        return 1

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, the layer's map stretched bilinearly over the image.

        Raises:
            ValueError: For a layer that the model does not have, or with outputs of another shape
                than `(N, h, w, K)` or tokens of a grid.
            UnsupportedLayerError: If the model has no layer with such outputs, or if the score does
                not depend on the layer.
        """
        layer = self.layer_name(network)
        maps = []
        # In chunks here too, because the activations of all images would not fit in memory.
        for rows in network.chunks(len(images)):
            found = self._layer_maps(network, images[rows], targets[rows], layer, score)
            maps.append(stretch(found[..., np.newaxis], images.shape[1:3]).numpy())
        return np.concatenate(maps)

    def layer_name(self, network: Network) -> str:
        """Return the name of the layer that is used for this network.

        Raises:
            ValueError, UnsupportedLayerError: See `__call__`.
        """
        if self.layer is None:
            return last_layer_with_positions(network)
        token_grid(network, self.layer)  # Raises for a layer without positions.
        return self.layer

    def channel_count(self, network: Network) -> int:
        """Return the number of channels `K` of the layer."""
        return network.layer_shapes[self.layer_name(network)][-1]

    @abstractmethod
    def _layer_maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        """Return the maps at the layer's resolution, `(N, h, w)`."""


def activations_of(network: Network, images: Array, layer: str) -> Array:
    """Return the outputs of a layer, `(N, h, w, K)`, tokens folded back to their grid."""
    return folded(network, layer, network.activations_at(images, [layer])[layer])


def activations_and_gradients(
    network: Network, images: Array, targets: Targets, layer: str, score: Score
) -> tuple[Array, Array]:
    """Return the outputs of a layer and the score's gradient there, `(N, h, w, K)` each."""
    a, g, _ = network.layer_gradient_at(images, targets, layer, score=score)
    return folded(network, layer, a), folded(network, layer, g)


def folded(network: Network, layer: str, values: Array) -> Array:
    """Return values of a layer as `(N, h, w, K)`: tokens folded back to their grid."""
    grid = token_grid(network, layer)
    return values if grid is None else grid.fold(values)


def stretch(maps: Any, size: Any) -> tf.Tensor:
    """Resize maps `(N, h, w, 1)` bilinearly to a height and width, `(N, H, W, 1)`."""
    return tf.image.resize(maps, size, method="bilinear")


def weighted_sum(activations: Array, weights: Array) -> Array:
    """Return `Σ_k w_k A_k` for activations `(N, h, w, K)` and weights `(N, K)`: `(N, h, w)`."""
    return np.einsum("nhwk,nk->nhw", activations, weights)


def relu(values: Array) -> Array:
    """Return `max(x, 0)`."""
    return np.maximum(values, 0)
