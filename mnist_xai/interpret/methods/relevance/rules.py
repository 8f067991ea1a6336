"""Rules of layer-wise relevance propagation, as data over one engine.

A rule hands the relevance `R` of a layer's outputs to its inputs in proportion to what each
contributed to `z = W x + b`. All of them are sums of shares

    R_in = Σ_s c_s Σ_p x_p ⊙ W_pᵀ (R / z_s),    z_s = Σ_p (W_p x_p + b_p),

and differ in what they take for `x_p`, `W_p`, `b_p`: parts of the inputs and of the weights. What
a bias or the stabiliser of the denominator contributed reaches no input: it is counted.

Sources: Bach et al. 2015; Montavon et al. 2017 and 2019; Lapuschkin et al. 2019.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import tensorflow as tf

from mnist_xai.interpret.core.affine import Affine
from mnist_xai.interpret.core.parameters import LARGEST, check_at_least
from mnist_xai.interpret.core.steps import Step

Change = Callable[[tf.Tensor], tf.Tensor]


def _same(t: tf.Tensor) -> tf.Tensor:
    return t


def _positive(t: tf.Tensor) -> tf.Tensor:
    return tf.maximum(t, 0.0)


def _negative(t: tf.Tensor) -> tf.Tensor:
    return tf.minimum(t, 0.0)


def _ones(t: tf.Tensor) -> tf.Tensor:
    return tf.ones_like(t[:1])  # The same for every image, so one row will do.


@dataclass(frozen=True)
class Part:
    """What stands in for the inputs, the weights and the bias of a layer."""

    x: Change = _same
    w: Change = _same
    b: Change = _same
    sign: float = 1.0


@dataclass(frozen=True)
class Share:
    """`c Σ_p x_p ⊙ W_pᵀ (R / Σ_p (W_p x_p + b_p))`, of the outputs where `sign(z)` is as given."""

    parts: tuple[Part, ...]
    weight: float = 1.0
    only: int = 0


class Rule(Protocol):
    """A rule: the shares of which it is the sum, and its stabiliser."""

    caveat: ClassVar[str]
    signed: ClassVar[bool]

    @property
    def epsilon(self) -> float:
        """Added to a denominator, away from zero."""

    @property
    def shares(self) -> tuple[Share, ...]:
        """What the relevance of the inputs is the sum of."""


@dataclass(frozen=True)
class _Stabilised:
    """A rule whose denominators are moved away from zero by `ε sign z`."""

    def __post_init__(self) -> None:
        check_at_least(0, **{name: getattr(self, name, 0.0) for name in ("epsilon", "gamma")})


@dataclass(frozen=True)
class Epsilon(_Stabilised):
    """`R_i = Σ_j x_i w_ij R_j / (z_j + ε sign z_j)`; Bach et al. 2015, equation 58."""

    caveat: ClassVar[str] = (
        "layers under the epsilon rule do what input times gradient does, and are as noisy"
    )
    signed: ClassVar[bool] = True

    epsilon: float = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """All contributions, as they are."""
        return (Share((Part(),)),)


@dataclass(frozen=True)
class AlphaBeta(_Stabilised):
    """`R_i = Σ_j (α z_ij⁺ / z_j⁺ - β z_ij⁻ / z_j⁻) R_j`, `α - β = 1`; Bach et al. 2015, eq. 60."""

    caveat: ClassVar[str] = (
        "how much counts for the class, how much against it, is set by alpha and beta, not found"
    )
    signed: ClassVar[bool] = True

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.beta >= 0 and abs(self.alpha - self.beta - 1) <= 1e-6):  # NaN is neither.
            raise ValueError(
                f"alpha, beta: expected alpha - beta = 1 and beta at least 0; got alpha = "
                f"{self.alpha}, beta = {self.beta}"
            )

    @property
    def shares(self) -> tuple[Share, ...]:
        """The contributions that raise an output, and those that lower it."""
        raising = (Part(_positive, _positive, _positive), Part(_negative, _negative, tf.zeros_like))
        lowering = (
            Part(_positive, _negative, _negative),
            Part(_negative, _positive, tf.zeros_like),
        )
        both = (Share(raising, self.alpha), Share(lowering, -self.beta))
        return both if self.beta else both[:1]


@dataclass(frozen=True)
class ZPlus(_Stabilised):
    """`R_i = Σ_j z_ij⁺ / z_j⁺ R_j`; Montavon et al. 2017, section 5.1, inputs of either sign."""

    caveat: ClassVar[str] = "evidence against the class is left out, and classes look alike"
    signed: ClassVar[bool] = False

    epsilon: float = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """The contributions that raise an output."""
        return AlphaBeta(1.0, 0.0).shares


@dataclass(frozen=True)
class Gamma(_Stabilised):
    """`R_i = Σ_j x_i (w_ij + γ w_ij⁺) R_j / Σ_i x_i (w_ij + γ w_ij⁺)`; Montavon et al. 2019.

    For outputs below zero and inputs below zero, the parts of the other sign are raised, so that
    what made the output what it is is favoured (Andéol et al. 2021).
    """

    caveat: ClassVar[str] = (
        "how far evidence against the class is left out is set by gamma, not found"
    )
    signed: ClassVar[bool] = True

    gamma: float = 0.25
    epsilon: float = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """Outputs above zero, and outputs below."""

        def up(w: tf.Tensor) -> tf.Tensor:
            return w + self.gamma * _positive(w)

        def down(w: tf.Tensor) -> tf.Tensor:
            return w + self.gamma * _negative(w)

        return (
            Share((Part(_positive, up, up), Part(_negative, down, tf.zeros_like)), only=1),
            Share((Part(_positive, down, down), Part(_negative, up, tf.zeros_like)), only=-1),
        )


@dataclass(frozen=True)
class WSquare(_Stabilised):
    """`R_i = Σ_j w_ij² / Σ_i w_ij² R_j`: whatever the inputs; Montavon et al. 2017, section 4.1."""

    caveat: ClassVar[str] = "at the pixels it goes by the weights alone, whatever the pixels show"
    signed: ClassVar[bool] = False

    epsilon: float = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """The squares of the weights, and of the bias."""
        return (Share((Part(_ones, tf.square, tf.square),)),)


@dataclass(frozen=True)
class Flat(_Stabilised):
    """`R_i = Σ_j R_j / Σ_i 1`: evenly; Lapuschkin et al. 2019, supplementary note 4."""

    caveat: ClassVar[str] = "maps are blurred to the size of the first layer's window"
    signed: ClassVar[bool] = False

    epsilon: float = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """The same for every input."""
        return (Share((Part(_ones, tf.ones_like, tf.zeros_like),)),)


@dataclass(frozen=True)
class ZBox(_Stabilised):
    """`R_i = Σ_j (x_i w_ij - l w_ij⁺ - h w_ij⁻) / Σ_i (…) R_j`; Montavon et al. 2017, section 4.2.

    For inputs that lie in `[low, high]`: the pixels.
    """

    caveat: ClassVar[str] = "black pixels get relevance for not being white"
    signed: ClassVar[bool] = False

    low: float = 0.0
    high: float = 1.0
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -LARGEST <= self.low < self.high <= LARGEST:
            raise ValueError(
                f"low, high: expected low < high, of numbers up to {LARGEST:,.0f}; got {self.low} "
                f"and {self.high}"
            )

    @property
    def shares(self) -> tuple[Share, ...]:
        """The inputs, from the lowest and the highest that there could be."""

        def constant(value: float) -> Change:
            return lambda x: tf.fill(tf.shape(x[:1]), value)

        lowest = Part(constant(self.low), _positive, _positive, -1.0)
        highest = Part(constant(self.high), _negative, _negative, -1.0)
        return (Share((Part(), lowest, highest)),)


def stabiliser(z: tf.Tensor, epsilon: float) -> tf.Tensor:
    """`ε sign z`, with `sign 0 = 1`."""
    return tf.where(z < 0, -epsilon, epsilon)


def propagate(
    rule: Rule, step: Step, affine: Affine, relevance: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Hand the relevance of a layer's outputs to its inputs.

    Returns:
        The relevance of the inputs, and by name what the bias, the stabiliser and shares that no
        input was there to receive kept of each image's, `(N,)` each.
    """
    x = tf.cast(step.inputs[0], tf.float32)
    z = tf.cast(step.output, tf.float32)
    total = tf.zeros_like(x)
    by_bias = by_stabiliser = by_none = tf.zeros(tf.shape(x)[:1])
    for share in rule.shares:
        changed = [(p, p.x(x), p.w(affine.kernel), p.b(affine.bias)) for p in share.parts]
        if share == Share((Part(),)) and step.output.dtype == tf.float32:
            denominator = z  # The output is known.
        else:
            parts = [p.sign * (affine.product(x_p, w) + b) for p, x_p, w, b in changed]
            denominator = functools.reduce(tf.add, parts)
        part = share.weight * relevance
        if share.only:
            part = tf.where(z * share.only > 0, part, 0.0)
        if len(rule.shares) > 1:  # Nothing lowers the output, say, and it has a share to lose.
            by_none += summed(tf.where(denominator == 0, part, 0.0))
            part = tf.where(denominator == 0, 0.0, part)
        added = stabiliser(denominator, rule.epsilon)
        quotient = part / (denominator + added)
        for p, x_p, w, _ in changed:
            total += p.sign * x_p * affine.transpose(quotient, x, w)
        bias = functools.reduce(tf.add, [p.sign * b for p, _, _, b in changed])
        by_bias += _product(quotient, bias)
        by_stabiliser += _product(quotient, added)
    if any(share.only for share in rule.shares):
        by_none += summed(tf.where(z == 0, relevance, 0.0))  # Neither above nor below.
    return total, {"biases": by_bias, "stabilisers": by_stabiliser, "empty shares": by_none}


def _product(q: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Sum over everything but the images of `q` times something that broadcasts to it."""
    if other.shape.rank <= 1:  # One number for each channel: the positions first.
        by_channel = tf.reduce_sum(q, axis=range(1, len(q.shape) - 1))
        return tf.reduce_sum(by_channel * other, axis=1)
    return summed(q * other)


def summed(t: tf.Tensor) -> tf.Tensor:
    """The sum over everything but the images, `(N,)`."""
    return tf.reduce_sum(t, axis=range(1, len(t.shape)))


def epsilon_unweighted(
    step: Step, relevance: tf.Tensor
) -> tuple[tuple[tf.Tensor, ...], dict[str, tf.Tensor]]:
    """The epsilon rule of a step without weights: each input gets in proportion to its part.

    Returns:
        As `propagate`, with a relevance for each input.
    """
    z = tf.cast(step.output, tf.float32)
    added = stabiliser(z, Epsilon.epsilon)
    quotient = relevance / (z + added)
    inputs = [tf.cast(x, tf.float32) for x in step.inputs]
    relevances = [x * r for x, r in zip(inputs, step.pull_back(quotient), strict=True)]
    # What the step puts out for nothing: a constant that was added.
    constant = tf.cast(step.run(*(tf.zeros_like(x[:1]) for x in step.inputs)), tf.float32)
    kept = {"biases": _product(quotient, constant), "stabilisers": _product(quotient, added)}
    return tuple(relevances), kept
