"""Multipliers, in which DeepLIFT's rules are told: `Σ_i m_i Δx_i = ΔS` at every layer.

`Δ` is the difference between an image's tensor and a baseline's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.shortcuts import is_relu
from mnist_xai.interpret.core.steps import (
    Record,
    Step,
    fold_normalisation,
    join_relu_and_maximum,
    transposed,
)

Both = tuple[tf.Tensor, tf.Tensor]
"""Something of what raises a number, and of what lowers it."""

SMALL = 1e-6
"""Differences below this count as none: a quotient of two of them would be rounding."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True, eq=False)
class Pair:
    """One step with an image's tensors and with a baseline's.

    Attributes:
        step: The step, with the image's tensors.
        inputs: The image's, and for each the baseline's, one row for each pair.
        outputs: The image's output, and the baseline's.
    """

    step: Step
    inputs: tuple[tuple[tf.Tensor, tf.Tensor], ...]
    outputs: tuple[tf.Tensor, tf.Tensor]


def multiplier(pair: Pair, m: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """The multipliers of a step's inputs, from that of its output.

    Linear steps: `Wᵀ m`, exactly. An activation `a = f(z)`: the rescale rule `m Δa / Δz`. Maximum
    pooling: the larger of both maxima parts the difference in two, one for the place of each.
    A product: `Δ(ab) = (b + b')/2 Δa + (a + a')/2 Δb`. Softmax: the mean of its Jacobian on the
    straight line, of which the rescale rule is the case of one input.
    """
    step = pair.step
    now = tuple(x for x, _ in pair.inputs)
    if step.kind == "affine" and step.affine:
        return (step.affine.transpose(m, now[0]),)
    if step.kind in ("sum", "rearrange"):
        return transposed(step.run, now, m)
    if step.kind == "elementwise":
        return (m * _rescaled(pair),)
    if step.kind == "max":
        return _of_maximum(pair, m)
    if step.kind == "relu_max":
        return _of_relu_and_maximum(pair, m)
    if step.kind == "product":
        return transposed(step.run, tuple((x + y) / 2 for x, y in pair.inputs), m)
    if step.kind != "softmax":
        step.refuse("DeepLIFT", "no rule is known for it")
    return on_the_line(step.run, pair.inputs[0], m)


def on_the_line(
    run: Callable[[tf.Tensor], tf.Tensor], ends: tuple[tf.Tensor, tf.Tensor], m: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """`∫₀¹ J(x' + α (x - x'))ᵀ m dα` of a smooth function, by Gauss and Legendre."""
    x, base = ends
    parts = [
        w / 2 * transposed(run, (base + (n + 1) / 2 * (x - base),), m)[0]
        for n, w in zip(_NODES, _WEIGHTS, strict=True)
    ]
    return (tf.add_n(parts),)


def _rescaled(pair: Pair) -> tf.Tensor:
    """`Δa / Δz`, and the slope half-way where `z` does not differ."""
    (z, z_base), (a, a_base) = pair.inputs[0], pair.outputs
    dz = z - z_base
    middle = (z + z_base) / 2
    if is_relu(pair.step.layer):
        slope = tf.cast(middle > 0, tf.float32)
    else:
        (slope,) = transposed(pair.step.run, (middle,), tf.ones_like(middle))
    return tf.where(tf.abs(dz) > SMALL, (a - a_base) / dz, slope)


def _of_maximum(pair: Pair, m: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """`y - y' = (y - u) + (u - y')`, `u = max(y, y')`: the first owed to the baseline's place."""
    run, now = pair.step.run, tuple(x for x, _ in pair.inputs)
    base = tuple(tf.broadcast_to(x_base, tf.shape(x)) for x, x_base in pair.inputs)
    y, y_base = pair.outputs
    u = tf.maximum(y, y_base)
    gained, lost = transposed(run, now, m * (u - y_base)), transposed(run, base, m * (y - u))
    plain = transposed(run, now, m)
    return tuple(
        tf.where(tf.abs(x - x_base) > SMALL, (g + k) / (x - x_base), p)
        for x, x_base, g, k, p in zip(now, base, gained, lost, plain, strict=True)
    )


def _of_relu_and_maximum(pair: Pair, m: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """`y = max relu(z)`: the share of a place over `Δa`, times `Δa / Δz`, is its share over `Δz`.

    The largest `relu(z)` is where the largest `z` is, or else nothing is shared.
    """
    (z, z_base), (y, y_base) = pair.inputs[0], pair.outputs
    u, run, z_base = tf.maximum(y, y_base), pair.step.run, tf.broadcast_to(z_base, tf.shape(z))
    # Where the place of the maximum does not differ, `(0 + tiny m) / (0 + tiny)` is the gradient;
    # anywhere else the tiny number is lost in rounding. A comparison would take twice as long.
    # It depends on the batch, so that no optimiser of the graph adds it to the constant `z'`.
    tiny = tf.where(tf.size(z) > 0, 1e-20, 0.0)
    gained = m * (u - y_base) + tf.where(y > 0, tiny * m, 0.0)
    (shares,) = transposed(run, (z,), gained)
    shares += transposed(run, (z_base,), m * (y - u))[0]
    return (shares / (z - z_base + tiny),)


def pairs(now: Record, base: Record) -> dict[int, Pair]:
    """Each step with both runs' tensors, a row for each image and baseline, by the step's id."""
    n, b = tf.shape(now.logits)[0], base.logits.shape[0]

    def of_image(t: tf.Tensor) -> tf.Tensor:
        t = tf.cast(t, tf.float32)
        return t if b == 1 else tf.repeat(t, tf.shape(base.logits)[0], axis=0)

    def of_baseline(t: tf.Tensor) -> tf.Tensor:
        t = tf.cast(t, tf.float32)  # A single baseline is left to broadcasting.
        return t if b == 1 else tf.tile(t, [n, *[1] * (len(t.shape) - 1)])

    def both(x: tf.Tensor, x_base: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return of_image(x), of_baseline(x_base)

    return {
        id(step): Pair(
            step,
            tuple(both(x, y) for x, y in zip(step.inputs, other.inputs, strict=True)),
            both(step.output, other.output),
        )
        for step, other in zip(now.steps, base.steps, strict=True)
    }


class Rule(Protocol):
    """How multipliers come back: as a tensor, or as whatever `start` makes of it."""

    def prepare(self, steps: list[Step]) -> list[Step]:
        """The steps as the rule wants them."""

    def start(self, m: tf.Tensor) -> Any:
        """What the logits get."""

    def hand_down(self, known: dict[int, Pair], step: Step, handed: Any) -> Sequence[Any]:
        """What a step's inputs get, from what its output got."""

    def end(self, handed: Any, dx: tf.Tensor) -> tf.Tensor:
        """The multipliers of the pixels, of which these are the differences."""


@dataclass(frozen=True)
class Rescale:
    """The rescale rule: one multiplier for each number."""

    def prepare(self, steps: list[Step]) -> list[Step]:
        """A ReLU that a maximum alone reads, and the maximum, as one step."""
        return join_relu_and_maximum(steps)

    def start(self, m: tf.Tensor) -> tf.Tensor:
        """As it is."""
        return m

    def hand_down(
        self, known: dict[int, Pair], step: Step, handed: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Every step for itself."""
        return multiplier(known[id(step)], handed)

    def end(self, handed: tf.Tensor, dx: tf.Tensor) -> tf.Tensor:
        """As it is."""
        return handed


@dataclass(frozen=True)
class RevealCancel:
    """The reveal-cancel rule: one multiplier for what raised a number, one for what lowered it.

    At an activation `a = f(z)` with `Δz = Δz⁺ + Δz⁻`, the sums of what raised and lowered `z`:

        Δa⁺ = ½ (f(z' + Δz⁺) - f(z')) + ½ (f(z' + Δz⁻ + Δz⁺) - f(z' + Δz⁻)),

    `Δa⁻` likewise, `m⁺ = m Δa⁺ / Δz⁺`, `m⁻ = m Δa⁻ / Δz⁻`: the Shapley values of the two.
    """

    def prepare(self, steps: list[Step]) -> list[Step]:
        """BatchNorm folded, so that each activation reads the layer whose parts it tells apart."""
        return fold_normalisation(steps)

    def start(self, m: tf.Tensor) -> Both:
        """The same for what raises and what lowers."""
        return m, m

    def hand_down(self, known: dict[int, Pair], step: Step, handed: Both) -> tuple[Both, ...]:
        """Apart through activations and linear steps, together through the others."""
        pair = known[id(step)]
        if step.kind == "elementwise":
            return (self._through_activation(known, pair, handed),)
        if step.kind == "rearrange":
            now = tuple(x for x, _ in pair.inputs)
            raised, lowered = (transposed(step.run, now, m) for m in handed)
            return tuple(zip(raised, lowered, strict=True))
        if step.kind in ("affine", "sum"):
            return tuple((m, m) for m in self._through_linear(pair, handed))
        y, y_base = pair.outputs
        m = _of_sign(y - y_base, *handed)
        return tuple((share, share) for share in multiplier(pair, m))

    def end(self, handed: Both, dx: tf.Tensor) -> tf.Tensor:
        """That of the difference's sign."""
        return _of_sign(dx, *handed)

    def _through_activation(self, known: dict[int, Pair], pair: Pair, handed: Both) -> Both:
        step, base = pair.step, pair.inputs[0][1]
        up, down = _parts(known, step.inputs[0])

        def f(z: tf.Tensor) -> tf.Tensor:
            return tf.cast(step.run(z), tf.float32)

        whole, none, raised, lowered = f(base + up + down), f(base), f(base + up), f(base + down)
        by_up = ((raised - none) + (whole - lowered)) / 2
        by_down = ((lowered - none) + (whole - raised)) / 2
        slope = _rescaled(pair)
        return (
            handed[0] * tf.where(tf.abs(up) > SMALL, by_up / up, slope),
            handed[1] * tf.where(tf.abs(down) > SMALL, by_down / down, slope),
        )

    def _through_linear(self, pair: Pair, handed: Both) -> list[tf.Tensor]:
        """An input that raises an output gets its `m⁺`, one that lowers it its `m⁻`."""
        step = pair.step
        now = tuple(x for x, _ in pair.inputs)
        if step.affine:
            up, down = tf.maximum(step.affine.kernel, 0.0), tf.minimum(step.affine.kernel, 0.0)
            positive, negative = (
                {m: step.affine.transpose(g, now[0], w) for m, g in enumerate(handed)}
                for w in (up, down)
            )
            ways = [(positive[0] + negative[1], positive[1] + negative[0])]
        else:
            signs = transposed(step.run, now, tf.ones_like(handed[0]))
            both = [transposed(step.run, now, m) for m in handed]
            ways = [
                (tf.where(s > 0, g, k), tf.where(s > 0, k, g))
                for s, g, k in zip(signs, *both, strict=True)
            ]
        return [
            _of_sign(x - y, grows, shrinks)
            for (x, y), (grows, shrinks) in zip(pair.inputs, ways, strict=True)
        ]


def _of_sign(d: tf.Tensor, up: tf.Tensor, down: tf.Tensor) -> tf.Tensor:
    """`up` where `d` is positive, `down` where negative, their mean where it is neither."""
    return tf.where(d > 0, up, tf.where(d < 0, down, (up + down) / 2))


def _parts(known: dict[int, Pair], tensor: tf.Tensor) -> Both:
    """`Δz⁺` and `Δz⁻` of a tensor: the sums of what raised it, and of what lowered it."""
    made = [p for p in known.values() if p.step.output is tensor and tensor is not p.step.inputs[0]]
    if made and made[-1].step.kind == "affine" and made[-1].step.affine:
        pair = made[-1]
        affine, (x, y) = made[-1].step.affine, pair.inputs[0]
        d = x - y
        grown, shrunk = tf.maximum(d, 0.0), tf.minimum(d, 0.0)
        up, down = tf.maximum(affine.kernel, 0.0), tf.minimum(affine.kernel, 0.0)
        return (
            affine.product(grown, up) + affine.product(shrunk, down),
            affine.product(grown, down) + affine.product(shrunk, up),
        )
    if made and made[-1].step.kind == "sum":
        return _parts_of_sum(made[-1])
    if made and made[-1].step.kind == "rearrange" and len(made[-1].inputs) == 1:
        up, down = _parts(known, made[-1].step.inputs[0])
        return made[-1].step.run(up), made[-1].step.run(down)
    source = made[-1].outputs if made else _as_input(known, tensor)
    d = source[0] - source[1]
    return tf.maximum(d, 0.0), tf.minimum(d, 0.0)


def _as_input(known: dict[int, Pair], tensor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The image's and the baseline's tensor, for one that a step reads."""
    return next(
        ends
        for pair in known.values()
        for one, ends in zip(pair.step.inputs, pair.inputs, strict=True)
        if one is tensor
    )


def _parts_of_sum(pair: Pair) -> Both:
    """The parts of a sum without weights, whose inputs enter with one sign each."""
    run, now = pair.step.run, tuple(x for x, _ in pair.inputs)
    y = pair.outputs[0]
    signs = transposed(run, now, tf.ones_like(y))
    raising = tuple(
        tf.where((x - b) * s > 0, x - b, 0.0) for (x, b), s in zip(pair.inputs, signs, strict=True)
    )
    constant = run(*(tf.zeros_like(x[:1]) for x in now))
    up = tf.cast(run(*raising) - constant, tf.float32)
    return up, y - pair.outputs[1] - up
