"""DeepLIFT's rules, which propagate multipliers: `Σ_i m_i Δx_i = ΔS` holds at every layer.

`Δ` is the difference between an image's tensor and a baseline's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.affine import Affine
from mnist_xai.interpret.core.layer_kinds import WEIGHTLESS
from mnist_xai.interpret.core.shortcuts import is_relu
from mnist_xai.interpret.core.steps import (
    Step,
    StepGraph,
    fold_normalisation,
    join_relu_and_maximum,
    vjp,
)

UpDown = tuple[tf.Tensor, tf.Tensor]
"""One tensor for contributions that raise a number, and one for those that lower it."""

LINEAR = WEIGHTLESS | {"rearrange"}

SMALL = 1e-6
"""Smaller differences count as zero, because a quotient of two of them is rounding error."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True, eq=False)
class Pair:
    """One step, run on images and on baselines. The rows are pairs of an image and a baseline.

    Attributes:
        step: The step, run on the images.
        inputs: For each input the image's tensor and the baseline's.
        outputs: The image's output and the baseline's.
    """

    step: Step
    inputs: tuple[tuple[tf.Tensor, tf.Tensor], ...]
    outputs: tuple[tf.Tensor, tf.Tensor]


def multipliers(pair: Pair, m: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return the multipliers of a step's inputs, given those of its output.

    Linear steps: `Wᵀ m`, exactly. An activation `a = f(z)`: the rescale rule `m Δa / Δz`.
    Max-pooling: the larger of the two maxima splits the difference into two parts, one for the
    place of each maximum. A product: `Δ(ab) = (b + b')/2 Δa + (a + a')/2 Δb`. Softmax, quotients
    and normalisation by a deviation: the mean of the Jacobian on the straight line, which for one
    input is the rescale rule.
    """
    step = pair.step
    of_image = tuple(x for x, _ in pair.inputs)
    if step.kind == "affine" and step.affine:
        return (step.affine.transpose(m, of_image[0]),)
    if step.kind in LINEAR:
        return vjp(step.function, of_image, m)
    if step.kind == "elementwise":
        return (m * _ratio(pair),)
    if step.norm:
        return (step.norm.mean_transpose(m, *pair.inputs[0]),)
    if step.kind == "max":
        return _of_maximum(pair, m)
    if step.kind == "relu_max":
        return _of_relu_and_maximum(pair, m)
    if step.kind == "product" and step.reads == 2:
        return vjp(step.function, tuple((x + y) / 2 for x, y in pair.inputs), m)
    if step.kind not in ("product", "quotient", "softmax"):
        step.refuse("DeepLIFT", "no rule is known for it")
    return mean_vjp(step.function, pair.inputs, m)


def mean_vjp(
    function: Callable[..., tf.Tensor],
    ends: Sequence[tuple[tf.Tensor, tf.Tensor]],
    m: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """Return `∫₀¹ J(x' + α (x - x'))ᵀ m dα` of a smooth function, by Gauss-Legendre quadrature.

    Args:
        function: A function of one or several tensors.
        ends: `x` and `x'` of each.
        m: `m`.
    """

    def add(total: tuple[tf.Tensor, ...], point: tf.Tensor) -> tuple[tf.Tensor, ...]:
        inputs = tuple(base + point[0] * (x - base) for x, base in ends)
        return tuple(
            t + point[1] * one for t, one in zip(total, vjp(function, inputs, m), strict=True)
        )

    zeros = tuple(tf.zeros_like(x + base) for x, base in ends)
    points = tf.constant(np.stack([(_NODES + 1) / 2, _WEIGHTS / 2], axis=1), tf.float32)
    return tf.foldl(add, points, zeros)


def _ratio(pair: Pair) -> tf.Tensor:
    """Return `Δa / Δz`, and where `Δz` is about zero the slope half-way between both `z`."""
    (z, z_base), (a, a_base) = pair.inputs[0], pair.outputs
    dz = z - z_base
    middle = (z + z_base) / 2
    if is_relu(pair.step.layer):
        slope = tf.cast(middle > 0, tf.float32)
    else:
        (slope,) = vjp(pair.step.function, (middle,), tf.ones_like(middle))
    return tf.where(tf.abs(dz) > SMALL, (a - a_base) / dz, slope)


def _of_maximum(pair: Pair, m: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return the multipliers of the inputs of a maximum.

    With `u = max(y, y')`, `y - y' = (u - y') + (y - u)`. The first part goes to the place of the
    image's maximum, the second one to the place of the baseline's.
    """
    function, x_all = pair.step.function, tuple(x for x, _ in pair.inputs)
    base_all = tuple(tf.broadcast_to(x_base, tf.shape(x)) for x, x_base in pair.inputs)
    y, y_base = pair.outputs
    u = tf.maximum(y, y_base)
    gained, lost = vjp(function, x_all, m * (u - y_base)), vjp(function, base_all, m * (y - u))
    gradient = vjp(function, x_all, m)
    return tuple(
        tf.where(tf.abs(x - x_base) > SMALL, (up + down) / (x - x_base), g)
        for x, x_base, up, down, g in zip(x_all, base_all, gained, lost, gradient, strict=True)
    )


def _of_relu_and_maximum(pair: Pair, m: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return the multipliers of `z` in `y = max relu(z)`.

    The part of a place divided by `Δa`, times `Δa / Δz`, is that part divided by `Δz`. The largest
    `relu(z)` is at the place of the largest `z`, unless all are zero.
    """
    (z, z_base), (y, y_base) = pair.inputs[0], pair.outputs
    z_base, function = tf.broadcast_to(z_base, tf.shape(z)), pair.step.function
    u = tf.maximum(y, y_base)
    # Where `z` at the place of the maximum does not differ, `(0 + tiny m) / (0 + tiny)` is the
    # gradient; elsewhere rounding removes the tiny number. A comparison would take twice as long.
    # The tiny number depends on the batch, or TensorFlow would add it to the constant `z'`.
    tiny = tf.where(tf.size(z) > 0, 1e-20, 0.0)
    gained = m * (u - y_base) + tf.where(y > 0, tiny * m, 0.0)
    (parts,) = vjp(function, (z,), gained)
    parts += vjp(function, (z_base,), m * (y - u))[0]
    return (parts / (z - z_base + tiny),)


def pair_steps(of_images: StepGraph, of_baselines: StepGraph) -> dict[int, Pair]:
    """Return the pair of each step by the step's id, with a row for each image and baseline.

    A step on windows of an image has several rows for each of them.
    """
    n, b = tf.shape(of_images.logits)[0], tf.shape(of_baselines.logits)[0]

    def rows(x: tf.Tensor, x_base: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x, x_base = tf.cast(x, tf.float32), tf.cast(x_base, tf.float32)
        if x_base.shape[0] == 1:  # A single baseline broadcasts.
            return x, x_base
        inner = tf.shape(x_base)[1:]
        images = tf.repeat(tf.reshape(x, tf.concat([[n, -1], inner], 0)), b, axis=0)
        baselines = tf.reshape(x_base, tf.concat([[b, -1], inner], 0))
        tiled = tf.tile(baselines, tf.concat([[n], tf.ones_like(tf.shape(baselines)[1:])], 0))
        return tuple(
            tf.ensure_shape(tf.reshape(t, tf.concat([[-1], inner], 0)), [None, *x.shape[1:]])
            for t in (images, tiled)
        )

    return {
        id(step): Pair(
            step,
            tuple(rows(x, y) for x, y in zip(step.inputs, other.inputs, strict=True)),
            rows(step.output, other.output),
        )
        for step, other in zip(of_images.steps, of_baselines.steps, strict=True)
    }


class Rule(Protocol):
    """Propagates multipliers, as tensors or in a form of its own that `start` makes of them."""

    def prepare(self, steps: list[Step]) -> list[Step]:
        """Return the steps with those joined that the rule treats as one."""

    def start(self, m: tf.Tensor) -> Any:
        """Return the multipliers of the logits in the rule's own form."""

    def propagate(self, pairs: dict[int, Pair], step: Step, m: Any) -> Sequence[Any]:
        """Return the multipliers of a step's inputs, given those of its output."""

    def end(self, m: Any, dx: tf.Tensor) -> tf.Tensor:
        """Return the multipliers of the pixels as a tensor; `dx` are the pixels' differences."""


@dataclass(frozen=True)
class Rescale:
    """The rescale rule: one multiplier for each number."""

    def prepare(self, steps: list[Step]) -> list[Step]:
        """Return the steps, each max-pooling joined with the ReLU before it."""
        return join_relu_and_maximum(steps)

    def start(self, m: tf.Tensor) -> tf.Tensor:
        """Return `m`."""
        return m

    def propagate(self, pairs: dict[int, Pair], step: Step, m: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Return the multipliers of a step's inputs."""
        return multipliers(pairs[id(step)], m)

    def end(self, m: tf.Tensor, dx: tf.Tensor) -> tf.Tensor:
        """Return `m`."""
        return m


@dataclass(frozen=True)
class RevealCancel:
    """The reveal-cancel rule: separate multipliers for what raises a number and what lowers it.

    At an activation `a = f(z)` with `Δz = Δz⁺ + Δz⁻`, the sums of the contributions that raise and
    that lower `z`:

        Δa⁺ = ½ (f(z' + Δz⁺) - f(z')) + ½ (f(z' + Δz⁻ + Δz⁺) - f(z' + Δz⁻)),

    `Δa⁻` likewise, `m⁺ = m Δa⁺ / Δz⁺`, `m⁻ = m Δa⁻ / Δz⁻`. `Δa⁺` and `Δa⁻` are the Shapley values
    of the two sums.
    """

    def prepare(self, steps: list[Step]) -> list[Step]:
        """Return the steps with BatchNorm folded: activations then read the linear layer itself."""
        return fold_normalisation(steps)

    def start(self, m: tf.Tensor) -> UpDown:
        """Return `m` twice."""
        return m, m

    def propagate(self, pairs: dict[int, Pair], step: Step, m: UpDown) -> tuple[UpDown, ...]:
        """Return the multipliers of a step's inputs.

        They are separate behind activations and rearrangements, and the same behind other steps.
        """
        pair = pairs[id(step)]
        if step.kind == "elementwise":
            return (_through_activation(pairs, pair, m),)
        if step.kind == "rearrange":
            of_image = tuple(x for x, _ in pair.inputs)
            up, down = (vjp(step.function, of_image, one) for one in m)
            return tuple(zip(up, down, strict=True))
        if step.affine or step.kind in WEIGHTLESS:
            return tuple((one, one) for one in _through_linear(pair, m))
        y, y_base = pair.outputs
        return tuple((one, one) for one in multipliers(pair, _by_sign(y - y_base, *m)))

    def end(self, m: UpDown, dx: tf.Tensor) -> tf.Tensor:
        """Return the multipliers for the sign of each pixel's difference."""
        return _by_sign(dx, *m)


def _through_activation(pairs: dict[int, Pair], pair: Pair, m: UpDown) -> UpDown:
    step, base = pair.step, pair.inputs[0][1]
    up, down = _up_down(pairs, step.inputs[0])

    def f(z: tf.Tensor) -> tf.Tensor:
        return tf.cast(step.function(z), tf.float32)

    whole, none, raised, lowered = f(base + up + down), f(base), f(base + up), f(base + down)
    by_up = ((raised - none) + (whole - lowered)) / 2
    by_down = ((lowered - none) + (whole - raised)) / 2
    ratio = _ratio(pair)
    return (
        m[0] * tf.where(tf.abs(up) > SMALL, by_up / up, ratio),
        m[1] * tf.where(tf.abs(down) > SMALL, by_down / down, ratio),
    )


def _through_linear(pair: Pair, m: UpDown) -> list[tf.Tensor]:
    """Return the multipliers of the inputs: `m⁺` where they raise an output, `m⁻` otherwise."""
    step = pair.step
    of_image = tuple(x for x, _ in pair.inputs)
    if step.affine:
        positive, negative = _signed_kernels(step.affine)
        (up_up, up_down), (down_up, down_down) = (
            tuple(step.affine.transpose(one, of_image[0], w) for one in m)
            for w in (positive, negative)
        )
        of_inputs = [(up_up + down_down, up_down + down_up)]
    else:
        signs = vjp(step.function, of_image, tf.ones_like(m[0]))
        up, down = (vjp(step.function, of_image, one) for one in m)
        of_inputs = [
            (tf.where(s > 0, u, d), tf.where(s > 0, d, u))
            for s, u, d in zip(signs, up, down, strict=True)
        ]
    return [
        _by_sign(x - y, if_raised, if_lowered)
        for (x, y), (if_raised, if_lowered) in zip(pair.inputs, of_inputs, strict=True)
    ]


def _by_sign(d: tf.Tensor, up: tf.Tensor, down: tf.Tensor) -> tf.Tensor:
    """Return `up` where `d` is positive, `down` where it is negative, and their mean at zero."""
    return tf.where(d > 0, up, tf.where(d < 0, down, (up + down) / 2))


def _signed_kernels(affine: Affine) -> UpDown:
    return tf.maximum(affine.kernel, 0.0), tf.minimum(affine.kernel, 0.0)


def _up_down(pairs: dict[int, Pair], tensor: tf.Tensor) -> UpDown:
    """Return `Δz⁺` and `Δz⁻` of a tensor: the sums of the parts that raise and that lower it."""
    pair = next((p for p in pairs.values() if p.step.output is tensor), None)
    if pair and pair.step.affine:
        return _up_down_of_affine(pair, pair.step.affine)
    if pair and pair.step.kind in WEIGHTLESS:
        return _up_down_of_sum(pair)
    if pair and pair.step.kind == "rearrange" and len(pair.inputs) == 1:
        up, down = _up_down(pairs, pair.step.inputs[0])
        return pair.step.function(up), pair.step.function(down)
    z, z_base = pair.outputs if pair else _read_by_steps(pairs, tensor)
    d = z - z_base
    return tf.maximum(d, 0.0), tf.minimum(d, 0.0)


def _read_by_steps(pairs: dict[int, Pair], tensor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the image's and the baseline's version of a tensor that some step reads."""
    return next(
        ends
        for pair in pairs.values()
        for one, ends in zip(pair.step.inputs, pair.inputs, strict=True)
        if one is tensor
    )


def _up_down_of_affine(pair: Pair, affine: Affine) -> UpDown:
    x, x_base = pair.inputs[0]
    raised, lowered = tf.maximum(x - x_base, 0.0), tf.minimum(x - x_base, 0.0)
    positive, negative = _signed_kernels(affine)
    return (
        affine.product(raised, positive) + affine.product(lowered, negative),
        affine.product(raised, negative) + affine.product(lowered, positive),
    )


def _up_down_of_sum(pair: Pair) -> UpDown:
    """Return the parts of a sum without weights, where each input has one sign."""
    function, of_image = pair.step.function, tuple(x for x, _ in pair.inputs)
    y, y_base = pair.outputs
    signs = vjp(function, of_image, tf.ones_like(y))
    raising = tuple(
        tf.where((x - b) * s > 0, x - b, 0.0) for (x, b), s in zip(pair.inputs, signs, strict=True)
    )
    constant = function(*(tf.zeros_like(x[:1]) for x in of_image))
    up = tf.cast(function(*raising) - constant, tf.float32)
    return up, y - y_base - up
