"""Class activation maps weighted by gradients: Grad-CAM, Grad-CAM++, HiResCAM, LayerCAM."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.cam.base import (
    ActivationMap,
    activations_and_gradients,
    folded,
    relu,
    stretch,
    weighted_sum,
)


@dataclass(frozen=True)
class _GradientMap(ActivationMap):
    """Base of the maps that one gradient pass makes: from `A` and `g = ∂S_c/∂A`."""

    def _layer_maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        return self._weighted(*activations_and_gradients(network, images, targets, layer, score))

    @abstractmethod
    def _weighted(self, a: Array, g: Array) -> Array:
        """Return the maps at the layer's resolution, `(N, h, w)`, from `A` and `g`."""

    def explain_with_logits(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array], Array]:
        """Return the maps, no absorbed parts, and the logits."""
        layer = self.layer_name(network)
        a, g, z = network.layer_gradient_and_logits_at(images, targets, layer, score=score)
        maps = self._weighted(folded(network, layer, a), folded(network, layer, g))
        small = maps[..., np.newaxis]
        return stretch(small, images.shape[1:3]).numpy(), {}, z


@register("gradcam")
@dataclass(frozen=True)
class GradCAM(_GradientMap):
    """Grad-CAM: `ReLU(Σ_k w_k A_k)`, `w_k = 1/hw Σ_ij ∂S_c/∂A_ijk`."""

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where the channels that raise the class's score on average are active",
        caveat="a channel has one weight for all places, so the map also marks places where the "
        "network does not use the channel",
        reference="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017, section 3",
        signed=False,
        needs_range=False,
    )

    def _weighted(self, a: Array, g: Array) -> Array:
        return relu(weighted_sum(a, g.mean(axis=(1, 2))))


@register("gradcam_plus_plus")
@dataclass(frozen=True)
class GradCAMPlusPlus(_GradientMap):
    """Grad-CAM++: `ReLU(Σ_k w_k A_k)`, `w_k = Σ_ij α_ijk ReLU(g_ijk)`, `g = ∂S_c/∂A`.

    With `Y = exp(S_c)`, and `S_c` piecewise linear in `A`, the derivatives of `Y` are `Y g`,
    `Y g²` and `Y g³`, and the paper's coefficients are

        α_ijk = g_ijk² / (2 g_ijk² + g_ijk³ Σ_ab A_abk) = 1 / (2 + g_ijk Σ_ab A_abk).

    The paper's `∂Y/∂A = Y g` brings a factor `exp(S_c)` into each map. It is left out: it is one
    positive number for each image, it changes if a constant is added to all logits, which does not
    change the network's answers, and it overflows float32 at a logit of 89. The layer's outputs
    should be at least 0, as they are after a ReLU.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where channels that raise the class's score at some place are active",
        caveat="places that lower the score do not count against a channel; if activations can be "
        "negative, the coefficients have a pole, and near it they are arbitrary",
        reference="Chattopadhyay, Sarkar, Howlader, Balasubramanian 2018, section 3",
        signed=False,
        needs_range=False,
    )

    def _weighted(self, a: Array, g: Array) -> Array:
        # Dividing α by g² avoids 0/0 at g = 0. The pole remains; after a ReLU only negative
        # gradients reach it, and their weight is zero.
        denominator = 2 + g * a.sum(axis=(1, 2), keepdims=True)
        terms = np.divide(relu(g), denominator, out=np.zeros_like(g), where=denominator != 0)
        return relu(weighted_sum(a, terms.sum(axis=(1, 2))))


@register("hirescam")
@dataclass(frozen=True)
class HiResCAM(_GradientMap):
    """HiResCAM: `Σ_k A_k ⊙ ∂S_c/∂A_k`, signed.

    The definition has no ReLU. If only a linear layer follows, with or without average pooling
    before it, the map before stretching sums to the logit minus its bias.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="what each place of the layer would contribute if the network after it were linear",
        caveat="where the score saturates, even the places that caused it get almost nothing",
        reference="Draelos, Carin 2020, section 3",
        needs_range=False,
    )

    def _weighted(self, a: Array, g: Array) -> Array:
        return np.einsum("nhwk,nhwk->nhw", a, g)


@register("layercam")
@dataclass(frozen=True)
class LayerCAM(_GradientMap):
    """LayerCAM: `ReLU(Σ_k ReLU(∂S_c/∂A_k) ⊙ A_k)`.

    It is also meant for early layers, whose maps are finer.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where a channel is active and more of it would raise the class's score",
        caveat="evidence against the class at a place is ignored, not subtracted",
        reference="Jiang, Zhang, Hou, Cheng, Wei 2021, section III",
        signed=False,
        needs_range=False,
    )

    def _weighted(self, a: Array, g: Array) -> Array:
        return relu(np.einsum("nhwk,nhwk->nhw", relu(g), a))
