"""Eigen-CAM: a layer's activations projected onto their first singular vector."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.cam.base import ActivationMap, activations_of, weighted_sum


@register("eigencam")
@dataclass(frozen=True)
class EigenCAM(ActivationMap):
    """Eigen-CAM: `Σ_k v_k A_k`, `v` the first right singular vector of `A` as `(hw, K)`.

    As in the paper, the activations are not centred. The sign of a singular vector is arbitrary:
    here `Σ_k v_k > 0`, which means that the map has a positive product with the total activation
    `Σ_k A_k`. After a ReLU, maps are then at least 0.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where the strongest pattern among the layer's channels is active in this image",
        caveat="the map ignores the class, and the strongest pattern need not matter for it",
        reference="Muhammad, Yeasin 2020, section III",
        signed=False,
        class_sensitive=False,
        unit="forward",
        needs_range=False,
    )

    def passes(self, network: Network) -> float:
        """Return 1: one forward pass."""
        return 1

    def _layer_maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a = activations_of(network, images, layer)
        positions = a.reshape(len(a), -1, a.shape[-1]).astype(np.float64)
        vectors = np.linalg.svd(positions, full_matrices=False).Vh[:, 0]
        vectors *= np.where(vectors.sum(axis=1, keepdims=True) < 0, -1, 1)
        return weighted_sum(a, vectors.astype(np.float32))
