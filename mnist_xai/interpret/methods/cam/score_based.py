"""Class activation maps weighted by scores: Score-CAM masks the image, Ablation-CAM the layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.defaults import MOST_FORWARD, by_size
from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import Change, scores_of_pairs
from mnist_xai.interpret.core.parameters import Count
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.cam.base import (
    ActivationMap,
    activations_of,
    folded,
    relu,
    stretch,
    weighted_sum,
)

_ROUNDING = 1e-6  # A channel is constant if its values differ by less than this share of them.


@register("scorecam")
@dataclass(frozen=True)
class ScoreCAM(ActivationMap):
    """Score-CAM: `ReLU(Σ_k w_k A_k)`, `w = softmax_k(S_c(x ⊙ M_k) - S_c(0))`.

    The mask `M_k` is the channel `A_k` stretched over the image, then scaled to [0, 1] by its
    minimum and maximum in this image. A constant channel makes no mask, so `w_k = 0`. The score of
    the black image, `S_c(0)`, is not computed: it is the same for all channels, and the softmax
    cancels it.

    Attributes:
        channels: The most channels that are used as masks: those that vary most in the image. The
            others get no weight. By default all; for images with more than 64 pixels on the
            shorter side, 999.
    """

    channels: Count | None = None

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where the channels are active that raise the class's score when used as masks",
        caveat="the network never saw masked images; with large logits one channel takes all the "
        "weight, and with probabilities all channels weigh about the same",
        reference="Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu 2020, section 3, algorithm 1",
        signed=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return the forward passes: one for the activations, and one for each channel."""
        return 1 + self._used(network.inputs.typical_shape, self.channel_count(network))

    def _used(self, shape: tuple[int, ...], channels: int) -> int:
        return min(channels, self.channels or by_size(shape, channels, MOST_FORWARD - 1))

    def _layer_maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a = activations_of(network, images, layer)
        spread = np.ptp(a, axis=(1, 2))
        count = self._used(images.shape[1:], a.shape[-1])
        used = np.sort(np.argsort(-spread, axis=1, kind="stable")[:, :count], axis=1)
        scores = _channel_scores(network, _masked, layer, images, targets, a, used, score)
        varies = spread > _ROUNDING * np.abs(a).max(axis=(1, 2))
        weights = np.zeros_like(spread)
        found = _softmax(scores, where=np.take_along_axis(varies, used, axis=1))
        np.put_along_axis(weights, used, found, axis=1)
        return relu(weighted_sum(a, weights))


@register("ablationcam")
@dataclass(frozen=True)
class AblationCAM(ActivationMap):
    """Ablation-CAM: `ReLU(Σ_k w_k A_k)`, `w_k = (S_c - S_c(A_k := 0)) / |S_c|`.

    The paper divides by `S_c`, which it assumes to be positive. A logit can be negative, and the
    map would then show the channels that lower the score; dividing by `|S_c|` avoids this. If the
    score is exactly 0, the drops are not divided.

    Attributes:
        channels: The most channels that are ablated: those with the largest sum of `|A_k|` in the
            image. The others get no weight. By default all; for images with more than 64 pixels on
            the shorter side, 998.
    """

    channels: Count | None = None

    about: ClassVar[About] = About(
        family="class activation map",
        shows="where the channels are active whose removal lowers the class's score",
        caveat="if one channel can replace another, removing either changes little; maps become "
        "very large when the score is close to 0",
        reference="Desai, Ramaswamy 2020, section 3",
        signed=False,
        unit="forward",
        needs_range=False,
    )

    def passes(self, network: Network) -> float:
        """Return the forward passes: activations, all channels, and each channel removed."""
        return 2 + self._used(network.inputs.typical_shape, self.channel_count(network))

    def _used(self, shape: tuple[int, ...], channels: int) -> int:
        return min(channels, self.channels or by_size(shape, channels, MOST_FORWARD - 2))

    def _layer_maps(
        self, network: Network, images: Array, targets: Targets, layer: str, score: Score
    ) -> Array:
        a = network.activations_at(images, [layer])[layer]
        channels = a.shape[-1]
        count = self._used(images.shape[1:], channels)
        strength = np.abs(a).sum(axis=tuple(range(1, a.ndim - 1)))
        used = np.sort(np.argsort(-strength, axis=1, kind="stable")[:, :count], axis=1)
        # Channel K does not exist: ablating it gives the score with all channels.
        ablated = np.append(used, np.full((len(used), 1), channels), axis=1)
        scores = _channel_scores(network, _ablated, layer, images, targets, a, ablated, score)
        whole = scores[:, -1:]
        scale: Array = np.where(whole == 0, np.float32(1), np.abs(whole))
        weights = np.zeros_like(strength)
        np.put_along_axis(weights, used, (whole - scores[:, :-1]) / scale, axis=1)
        return relu(weighted_sum(folded(network, layer, a), weights))


def _channel_scores(
    network: Network,
    build: Callable[[Network, str], Change],
    layer: str,
    images: Array,
    targets: Targets,
    activations: Array,
    channels: NDArray[np.intp],
    score: Score,
) -> Array:
    """Return the targets' scores with one channel at a time as the mask, or ablated.

    Args:
        network: The network.
        build: `_masked` or `_ablated`.
        layer: Name of the layer.
        images: `(N, H, W, C)`.
        targets: `(N,)`.
        activations: The layer's outputs, `(N, h, w, K)`; to ablate them, tokens as they are.
        channels: The channels of each image, `(N, M)`.
        score: Whether the score is the logit or the probability.

    Returns:
        `(N, M)`.
    """
    rows = np.repeat(np.arange(len(images), dtype=np.int32), channels.shape[1])
    columns = channels.astype(np.int32).ravel()
    places = [None] * (activations.ndim - 1)
    spec = tf.TensorSpec([*places, activations.shape[-1]], tf.float32)
    arrays = [(images, network.runner.image_spec), (activations, spec)]
    scores = scores_of_pairs(network, build, (layer,), arrays, targets, rows, columns, score=score)
    return scores.reshape(channels.shape)


def _masked(network: Network, layer: str) -> Change:
    """Return the change that multiplies an image by one of its channels, stretched and scaled."""

    def change(
        row: tf.Tensor, channel: tf.Tensor, images: tf.Tensor, activations: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        x, a = tf.gather(images, row), tf.gather(activations, row)
        mask = stretch(_channel_of(a, channel), tf.shape(x)[1:3])
        least = tf.reduce_min(mask, axis=(1, 2, 3), keepdims=True)
        spread = tf.reduce_max(mask, axis=(1, 2, 3), keepdims=True) - least
        return x * tf.math.divide_no_nan(mask - least, spread), {}

    return change


def _ablated(network: Network, layer: str) -> Change:
    """Return the change that sets one channel of the layer to zero."""

    def change(
        row: tf.Tensor, channel: tf.Tensor, images: tf.Tensor, activations: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        a = tf.gather(activations, row)
        # For a channel that does not exist, one_hot gives all ones: nothing is ablated.
        remaining = tf.one_hot(channel, a.shape[-1], on_value=0.0, off_value=1.0)
        a = a * tf.reshape(remaining, [-1, *[1] * (len(a.shape) - 2), a.shape[-1]])
        return tf.gather(images, row), {layer: tf.cast(a, network.runner.layer_dtypes[layer])}

    return change


def _channel_of(activations: tf.Tensor, channel: tf.Tensor) -> tf.Tensor:
    """Return one channel for each row of activations, `(N, h, w, 1)`."""
    return tf.gather(activations, channel[:, tf.newaxis], axis=-1, batch_dims=1)


def _softmax(scores: Array, *, where: NDArray[np.bool_]) -> Array:
    """Return the softmax over the last axis of the entries `where`; 0 for the others."""
    top = scores.max(axis=1, keepdims=True, initial=-np.inf, where=where)
    powers = np.exp(np.where(where, scores, -np.inf) - np.where(np.isfinite(top), top, 0))
    # The largest power is 1, so the sum is below 1 only in a row without any entry.
    return powers / np.maximum(powers.sum(axis=1, keepdims=True), 1)
