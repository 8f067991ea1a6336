"""Layers that divide by a deviation of the image's own numbers, as LayerNorm does.

    y = γ ⊙ c / s + β,    c = x - mean(x),    s² = Σ c² / n + ε

in each group of numbers; RMS and unit normalisation leave out the mean.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import layers

from mnist_xai.interpret.core.graph import Call

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


@dataclass(frozen=True, eq=False)
class Normalisation:
    """A normalisation layer in the symbols above.

    Attributes:
        grouped: Reshapes `(N, …)` so that a group lies along whole axes.
        axes: The axes of a group, in the shape that `grouped` returns.
        gain: `γ`, of a shape that broadcasts there.
        offset: `β`, likewise.
        epsilon: `ε`.
        centred: Whether `c` is `x` minus its mean; otherwise `c = x`.
        mean_square: Whether `n` is the size of a group; otherwise `n = 1`.
    """

    grouped: Callable[[tf.Tensor], tf.Tensor]
    axes: tuple[int, ...]
    gain: tf.Tensor
    offset: tf.Tensor
    epsilon: float
    centred: bool = True
    mean_square: bool = True

    def transpose(self, g: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Return `Jᵀ g` at `x`, with `s` taken as a constant."""
        c = self._centre(self.grouped(x))
        s = tf.sqrt(self._dot(c, c) + self.epsilon)
        return tf.reshape(self._centre(self.gain * self.grouped(g) / s), tf.shape(g))

    def mean_transpose(self, m: tf.Tensor, x: tf.Tensor, base: tf.Tensor) -> tf.Tensor:
        """Return `∫₀¹ J(x' + α (x - x'))ᵀ m dα`, with `J` the whole Jacobian.

        With `c = c' + α d`, `s² = a + 2bα + eα²` and `J = (I - c cᵀ / (n s²)) / s` up to gain and
        centring, it needs four integrals of each group: of `1/s`, and of `1/s³`, `α/s³`, `α²/s³`.
        """
        c = self._centre(self.grouped(base))
        d = self._centre(self.grouped(x)) - c
        one, k0, k1, k2 = self._integrals(c, d)
        g = self.gain * self.grouped(m)
        cg, dg = self._dot(c, g), self._dot(d, g)
        slope = g * one - c * (k0 * cg + k1 * dg) - d * (k1 * cg + k2 * dg)
        return tf.reshape(self._centre(slope), tf.shape(m))

    def bias(self, q: tf.Tensor) -> tf.Tensor:
        """Return `Σ q β` for each image, `(N,)`."""
        products = self.grouped(q) * self.offset
        return tf.reduce_sum(products, axis=range(1, len(products.shape)))

    def _centre(self, x: tf.Tensor) -> tf.Tensor:
        return x - tf.reduce_mean(x, self.axes, keepdims=True) if self.centred else x

    def _dot(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Return `Σ x y / n` of each group."""
        mean = tf.reduce_mean if self.mean_square else tf.reduce_sum
        return mean(x * y, self.axes, keepdims=True)

    def _integrals(self, c: tf.Tensor, d: tf.Tensor) -> list[tf.Tensor]:
        """Return the integrals over `α` from 0 to 1 of `1/s`, `1/s³`, `α/s³` and `α²/s³`.

        Near a baseline of one colour `s` is almost zero, and `1/s` has a peak. So the variable is
        `t` with `s = σ cosh t`, where the integrands are smooth.
        """
        c, d = tf.cast(c, tf.float64), tf.cast(d, tf.float64)
        a, b = self._dot(c, c) + self.epsilon, self._dot(c, d)
        e = tf.maximum(self._dot(d, d), 1e-12 * a)  # Without a difference, `t` has no range.
        root = tf.sqrt(e)
        sigma = tf.sqrt(tf.maximum(a - b * b / e, self.epsilon))
        start = b / (root * sigma)
        first, last = tf.asinh(start), tf.asinh(start + root / sigma)
        half = (last - first)[..., tf.newaxis] / 2
        t = (last + first)[..., tf.newaxis] / 2 + half * _NODES
        alpha = (tf.sinh(t) - start[..., tf.newaxis]) * (sigma / root)[..., tf.newaxis]
        weight = half * _WEIGHTS / root[..., tf.newaxis]
        cubed = weight / tf.square(sigma[..., tf.newaxis] * tf.cosh(t))
        parts = (weight, cubed, alpha * cubed, alpha**2 * cubed)
        return [tf.cast(tf.reduce_sum(part, -1), tf.float32) for part in parts]


def normalisation_of(call: Call) -> Normalisation | None:
    """Return the normalisation that a call computes; None for any other call."""
    describe = _LAYERS.get(type(call.layer))
    if describe is None or not call.args or not tf.is_tensor(call.args[0]):
        return None
    return describe(call.layer, len(call.args[0].shape))


def _numbers(variable: Any, default: float) -> tf.Tensor:
    if variable is None:
        return tf.constant(default)
    return tf.cast(tf.convert_to_tensor(variable), tf.float32)


def _along(variable: Any, default: float, axes: tuple[int, ...], rank: int) -> tf.Tensor:
    """Return a weight of the axes' sizes in a shape that broadcasts to all `rank` axes."""
    t = _numbers(variable, default)
    shape = [1] * rank
    for axis, size in zip(axes, t.shape, strict=False):
        shape[axis] = size
    return tf.reshape(t, shape)


def _same(x: tf.Tensor) -> tf.Tensor:
    return x


def _axes(layer: Any, rank: int) -> tuple[int, ...]:
    axes = [layer.axis] if isinstance(layer.axis, int) else layer.axis
    return tuple(sorted(axis % rank for axis in axes))


def _layer_norm(layer: Any, rank: int) -> Normalisation | None:
    if layer.rms_scaling:
        return None
    axes = _axes(layer, rank)
    gain, offset = _along(layer.gamma, 1.0, axes, rank), _along(layer.beta, 0.0, axes, rank)
    return Normalisation(_same, axes, gain, offset, layer.epsilon)


def _rms_norm(layer: Any, rank: int) -> Normalisation:
    axes = _axes(layer, rank)
    gain = _along(layer.scale, 1.0, axes, rank)
    return Normalisation(_same, axes, gain, tf.zeros(()), layer.epsilon, centred=False)


def _unit_norm(layer: Any, rank: int) -> Normalisation:
    # Keras divides by the norm, but at least by 1e-12: `ε` is its square.
    ones, zeros = tf.ones(()), tf.zeros(())
    axes = _axes(layer, rank)
    return Normalisation(_same, axes, ones, zeros, 1e-24, centred=False, mean_square=False)


def _group_norm(layer: Any, rank: int) -> Normalisation | None:
    if layer.axis not in (-1, rank - 1):
        return None

    def grouped(x: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([tf.shape(x)[:-1], [layer.groups, x.shape[-1] // layer.groups]], 0)
        return tf.ensure_shape(
            tf.reshape(x, shape), [*x.shape[:-1], layer.groups, x.shape[-1] // layer.groups]
        )

    axes = (*range(1, rank - 1), rank)
    gain, offset = _numbers(layer.gamma, 1.0), _numbers(layer.beta, 0.0)
    if layer.scale:
        gain = tf.reshape(gain, [layer.groups, -1])
    if layer.center:
        offset = tf.reshape(offset, [layer.groups, -1])
    return Normalisation(grouped, axes, gain, offset, layer.epsilon)


_LAYERS: dict[Any, Callable[[Any, int], Normalisation | None]] = {
    layers.LayerNormalization: _layer_norm,
    layers.GroupNormalization: _group_norm,
    layers.RMSNormalization: _rms_norm,
    layers.UnitNormalization: _unit_norm,
}
