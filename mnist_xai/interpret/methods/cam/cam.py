"""Class activation maps: the channels of a layer, weighted by what they do for a class.

Each method gives the channels `A_k` of a layer weights for the target's score `S_c`, adds them up
into one map at the layer's resolution, and stretches it over the image: bilinearly, with pixels
for the unit squares around half-integer points (the convention of `tf.image.resize`; no corners
are aligned), so that `(N, h, w)` becomes `(N, H, W, 1)`. A map shows places, not pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import Change, scores_of_pairs
from mnist_xai.interpret.inspect.activations import last_spatial_layer
from mnist_xai.interpret.methods.base import About, register

Targets = NDArray[np.int32]

_ROUNDING = 1e-6  # A channel whose values differ by less than this share of them is constant.


@dataclass(frozen=True)
class _ActivationMap(ABC):
    """What all class activation maps share: a layer, chunks, and the stretching to the image.

    Attributes:
        layer: Name of a layer with outputs `(N, h, w, K)`, whose channels are the `A_k`; by default
            the last one that has. A convolution before the last pooling gives finer maps.
    """

    layer: str | None = None

    about: ClassVar[About]

    def __post_init__(self) -> None:
        if self.layer is not None and not (isinstance(self.layer, str) and self.layer):
            raise ValueError(f"layer: expected the name of a layer, or None; got {self.layer!r}")

    def passes(self, network: Network) -> float:
        """One gradient pass."""
        return 1

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, the layer's map stretched bilinearly over the image.

        Raises:
            ValueError: For a layer that there is not, or whose outputs have no positions.
            UnsupportedLayerError: When no layer was named and none has positions, or when the
                score does not depend on the layer.
        """
        layer = self._layer(network)
        maps = []
        # In chunks here too: the activations of all images would not fit in memory.
        for rows in network.chunks(len(images)):
            found = self._maps(network, images[rows], targets[rows], layer, score)
            maps.append(_stretch(found[..., np.newaxis], images.shape[1:3]).numpy())
        return np.concatenate(maps)

    @abstractmethod
    def _maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        """The maps at the layer's resolution, `(N, h, w)`."""

    def _layer(self, network: Network) -> str:
        if self.layer is None:
            return last_spatial_layer(network)
        network.check_layer(self.layer)
        shape = network.layer_shapes[self.layer]
        if len(shape) != 3:
            gives = ", ".join(map(str, ("N", *shape)))
            raise ValueError(
                f"layer: expected one with outputs (N, h, w, channels); {self.layer!r} gives "
                f"({gives})"
            )
        return self.layer

    def _channels(self, network: Network) -> int:
        return network.layer_shapes[self._layer(network)][-1]


@register("gradcam")
@dataclass(frozen=True)
class GradCAM(_ActivationMap):
    """Grad-CAM: `ReLU(Σ_k w_k A_k)`, `w_k = 1/hw Σ_ij ∂S_c/∂A_ijk`."""

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where the channels are active that raise the class's score on average",
        caveat="a channel has one weight for all places, so that it marks places, too, at which "
        "the network does not use it",
        reference="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017, section 3",
        signed=False,
    )

    def _maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a, g, _ = network.layer_gradient(images, targets, layer, score=score)
        return _relu(_weighted(a, g.mean(axis=(1, 2))))


@register("gradcam_plus_plus")
@dataclass(frozen=True)
class GradCAMPlusPlus(_ActivationMap):
    """Grad-CAM++: `ReLU(Σ_k w_k A_k)`, `w_k = Σ_ij α_ijk ReLU(g_ijk)`, `g = ∂S_c/∂A`.

    With `Y = exp(S_c)`, and `S_c` piecewise linear in `A`, the derivatives of `Y` are `Y g`,
    `Y g²` and `Y g³`, and the paper's coefficients are

        α_ijk = g_ijk² / (2 g_ijk² + g_ijk³ Σ_ab A_abk) = 1 / (2 + g_ijk Σ_ab A_abk).

    The paper's `∂Y/∂A = Y g` brings a factor `exp(S_c)` into each map. It is left out: it is one
    positive number for an image, depends on a constant that can be added to all logits
    without changing the network, and is infinite in float32 from a logit of 89. The layer's
    outputs should be at least 0, as behind a ReLU.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where channels are active that raise the class's score somewhere",
        caveat="places that lower the score do not count against a channel; if activations "
        "can be negative, the coefficients have a pole and are anything near it",
        reference="Chattopadhyay, Sarkar, Howlader, Balasubramanian 2018, section 3",
        signed=False,
    )

    def _maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a, g, _ = network.layer_gradient(images, targets, layer, score=score)
        # With g² divided out of α there is no 0/0 at g = 0. What is left is the pole, which
        # behind a ReLU only negative gradients reach, and they have no weight.
        denominator = 2 + g * a.sum(axis=(1, 2), keepdims=True)
        terms = np.divide(_relu(g), denominator, out=np.zeros_like(g), where=denominator != 0)
        return _relu(_weighted(a, terms.sum(axis=(1, 2))))


@register("hirescam")
@dataclass(frozen=True)
class HiResCAM(_ActivationMap):
    """HiResCAM: `Σ_k A_k ⊙ ∂S_c/∂A_k`, signed.

    There is no ReLU in its definition. Where only a linear layer follows, with or without
    average pooling before it, a map (before it is stretched) sums to the logit less its bias.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="what each place of the layer contributes if the network behind it were linear",
        caveat="where the network behind the layer has levelled off, places that made the score "
        "what it is get nothing (saturation)",
        reference="Draelos, Carin 2020, section 3",
    )

    def _maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a, g, _ = network.layer_gradient(images, targets, layer, score=score)
        return np.einsum("nhwk,nhwk->nhw", a, g)


@register("layercam")
@dataclass(frozen=True)
class LayerCAM(_ActivationMap):
    """LayerCAM: `ReLU(Σ_k ReLU(∂S_c/∂A_k) ⊙ A_k)`.

    Made for early layers too, whose maps are finer.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where a channel is active and more of it would raise the class's score",
        caveat="what speaks against the class at a place is left out, not weighed against it",
        reference="Jiang, Zhang, Hou, Cheng, Wei 2021, section III",
        signed=False,
    )

    def _maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a, g, _ = network.layer_gradient(images, targets, layer, score=score)
        return _relu(np.einsum("nhwk,nhwk->nhw", _relu(g), a))


@register("scorecam")
@dataclass(frozen=True)
class ScoreCAM(_ActivationMap):
    """Score-CAM: `ReLU(Σ_k w_k A_k)`, `w = softmax_k(S_c(x ⊙ M_k) - S_c(0))`.

    The mask `M_k` is the channel `A_k` stretched over the image, then brought to [0, 1] by its
    own least and greatest value in this image. A constant channel makes no mask: `w_k = 0`. The
    score of the black image is the same for all channels, so the softmax over them cancels it,
    and it is not computed.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where the channels are active that, as masks, let the class be recognised",
        caveat="masked images are images that the network never saw; with large logits one "
        "channel takes all the weight, with probabilities all have about the same",
        reference="Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu 2020, section 3, algorithm 1",
        signed=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """One forward pass for the activations, and one for each channel."""
        return 1 + self._channels(network)

    def _maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a = network.activations(images, [layer])[layer]
        scores = _channel_scores(network, _masked, layer, images, targets, a, a.shape[-1], score)
        spread = np.ptp(a, axis=(1, 2))
        weights = _softmax(scores, where=spread > _ROUNDING * np.abs(a).max(axis=(1, 2)))
        return _relu(_weighted(a, weights))


@register("ablationcam")
@dataclass(frozen=True)
class AblationCAM(_ActivationMap):
    """Ablation-CAM: `ReLU(Σ_k w_k A_k)`, `w_k = (S_c - S_c(A_k := 0)) / |S_c|`.

    The paper divides by `S_c`, and has positive ones in mind. Divided by a negative score,
    which a logit may well be, the channels that speak against the class would make the map;
    the magnitude lets a channel that is missed count for the class in any case. A score of
    exactly 0 gives no scale: the drops are left as they are.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where the channels are active without which the class's score would be lower",
        caveat="channels that stand in for each other are not missed one at a time; near a "
        "score of 0 maps are huge",
        reference="Desai, Ramaswamy 2020, section 3",
        signed=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """One forward pass for the activations, one with all channels, and one without each."""
        return 2 + self._channels(network)

    def _maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a = network.activations(images, [layer])[layer]
        # One number more than there are channels, because ablating none gives the whole score.
        count = a.shape[-1] + 1
        scores = _channel_scores(network, _ablated, layer, images, targets, a, count, score)
        whole = scores[:, -1:]
        scale: Array = np.where(whole == 0, np.float32(1), np.abs(whole))
        return _relu(_weighted(a, (whole - scores[:, :-1]) / scale))


@register("eigencam")
@dataclass(frozen=True)
class EigenCAM(_ActivationMap):
    """Eigen-CAM: `Σ_k v_k A_k`, `v` the first right singular vector of `A` as `(hw, K)`.

    As in the paper, the activations are not centred. A singular vector has no sign of its own:
    the one is taken whose map has a positive product with the total activation `Σ_k A_k`, which
    is the one with `Σ_k v_k > 0`. Behind a ReLU maps are then at least 0.
    """

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where the layer does what it does most of in this image",
        caveat="it knows nothing of the class, and what is most active need not decide",
        reference="Muhammad, Yeasin 2020, section III",
        signed=False,
        class_sensitive=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """One forward pass."""
        return 1

    def _maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a = network.activations(images, [layer])[layer]
        positions = a.reshape(len(a), -1, a.shape[-1]).astype(np.float64)
        vectors = np.linalg.svd(positions, full_matrices=False).Vh[:, 0]
        vectors *= np.where(vectors.sum(axis=1, keepdims=True) < 0, -1, 1)
        return _weighted(a, vectors.astype(np.float32))


def _channel_scores(
    network: Network,
    build: Callable[[Network, str], Change],
    layer: str,
    images: Array,
    targets: Targets,
    activations: Array,
    channels: int,
    score: Score,
) -> Array:
    """Return the targets' scores when one channel at a time is masked or ablated.

    Args:
        network: The network.
        build: `_masked` or `_ablated`.
        layer: Name of the layer.
        images: `(N, H, W, C)`.
        targets: `(N,)`.
        activations: The layer's outputs, `(N, h, w, K)`.
        channels: Channels 0 to `channels - 1` are treated.
        score: Whether the score is the logit or the probability.

    Returns:
        `(N, channels)`.
    """
    rows, columns = np.indices((len(images), channels), np.int32).reshape(2, -1)
    spec = tf.TensorSpec([None, None, None, activations.shape[-1]], tf.float32)
    arrays = [(images, network.runner.image_spec), (activations, spec)]
    scores = scores_of_pairs(network, build, (layer,), arrays, targets, rows, columns, score=score)
    return scores.reshape(len(images), channels)


def _masked(network: Network, layer: str) -> Change:
    """Build the change that multiplies an image by one of its channels, stretched and scaled."""

    def change(
        row: tf.Tensor, channel: tf.Tensor, images: tf.Tensor, activations: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        x, a = tf.gather(images, row), tf.gather(activations, row)
        mask = _stretch(_channel_of(a, channel), tf.shape(x)[1:3])
        least = tf.reduce_min(mask, axis=(1, 2, 3), keepdims=True)
        spread = tf.reduce_max(mask, axis=(1, 2, 3), keepdims=True) - least
        return x * tf.math.divide_no_nan(mask - least, spread), {}

    return change


def _ablated(network: Network, layer: str) -> Change:
    """Build the change that sets one channel of the layer to zero."""

    def change(
        row: tf.Tensor, channel: tf.Tensor, images: tf.Tensor, activations: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        a = tf.gather(activations, row)
        # one_hot of a channel that there is not is all ones: nothing is ablated.
        remaining = tf.one_hot(channel, a.shape[-1], on_value=0.0, off_value=1.0)
        a = a * remaining[:, tf.newaxis, tf.newaxis]
        return tf.gather(images, row), {layer: tf.cast(a, network.runner.layer_dtypes[layer])}

    return change


def _channel_of(activations: tf.Tensor, channel: tf.Tensor) -> tf.Tensor:
    """The channel of each row, `(N, h, w, 1)`."""
    return tf.gather(activations, channel[:, tf.newaxis], axis=-1, batch_dims=1)


def _stretch(maps: Any, size: Any) -> tf.Tensor:
    """Maps `(N, h, w, 1)` over an image's height and width, bilinearly."""
    return tf.image.resize(maps, size, method="bilinear")


def _weighted(activations: Array, weights: Array) -> Array:
    """`Σ_k w_k A_k` of activations `(N, h, w, K)` and weights `(N, K)`: `(N, h, w)`."""
    return np.einsum("nhwk,nk->nhw", activations, weights)


def _relu(values: Array) -> Array:
    return np.maximum(values, 0)


def _softmax(scores: Array, *, where: NDArray[np.bool_]) -> Array:
    """Softmax over the last axis of the entries that count; 0 for the others."""
    top = scores.max(axis=1, keepdims=True, initial=-np.inf, where=where)
    powers = np.exp(np.where(where, scores, -np.inf) - np.where(np.isfinite(top), top, 0))
    # The greatest of them is 1, so only a row in which none counts has a smaller sum.
    return powers / np.maximum(powers.sum(axis=1, keepdims=True), 1)
