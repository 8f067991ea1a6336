"""Rules of layer-wise relevance propagation, as data over one engine.

A rule splits the relevance `R` of a layer's outputs among its inputs, in proportion to what each
input contributes to `z = W x + b`. Every rule is a sum of shares,

    R_in = Σ_s c_s Σ_p σ_p x_p ⊙ W_pᵀ (R / z_s),    z_s = Σ_p σ_p (W_p x_p + b_p),

and chooses the parts `x_p`, `W_p`, `b_p` of the inputs, the weights and the bias, and their signs
`σ_p`. The relevance that belongs to a bias or to the stabiliser of the denominator reaches no input
and is reported.

Sources: Bach et al. 2015; Montavon et al. 2017 and 2019; Lapuschkin et al. 2019.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import tensorflow as tf

from mnist_xai.interpret.core.affine import Affine
from mnist_xai.interpret.core.parameters import LARGEST, Hyperparameters, NonNegative
from mnist_xai.interpret.core.steps import Step

Change = Callable[[tf.Tensor], tf.Tensor]


def _same(t: tf.Tensor) -> tf.Tensor:
    return t


def _positive(t: tf.Tensor) -> tf.Tensor:
    return tf.maximum(t, 0.0)


def _negative(t: tf.Tensor) -> tf.Tensor:
    return tf.minimum(t, 0.0)


def _ones(t: tf.Tensor) -> tf.Tensor:
    return tf.ones_like(t[:1])  # One row, because it is the same for every image.


@dataclass(frozen=True)
class Part:
    """`x_p`, `W_p`, `b_p`, functions of a layer's inputs, weights and bias, and the sign `σ_p`."""

    x: Change = _same
    w: Change = _same
    b: Change = _same
    sign: float = 1.0


@dataclass(frozen=True)
class Share:
    """`c Σ_p σ_p x_p ⊙ W_pᵀ (R / Σ_p σ_p (W_p x_p + b_p))`.

    Attributes:
        parts: The parts `p`.
        weight: `c`.
        only: 1 for the outputs with `z > 0`, -1 for those with `z < 0`, 0 for all outputs.
    """

    parts: tuple[Part, ...]
    weight: float = 1.0
    only: int = 0


class Rule(Protocol):
    """A rule: a sum of shares, and a stabiliser."""

    caveat: ClassVar[str]
    signed: ClassVar[bool]

    @property
    def epsilon(self) -> float:
        """`ε`, added to each denominator with the denominator's sign."""

    @property
    def shares(self) -> tuple[Share, ...]:
        """The shares; the relevance of the inputs is their sum."""


@dataclass(frozen=True)
class Epsilon(Hyperparameters):
    """`R_i = Σ_j x_i w_ij R_j / (z_j + ε sign z_j)`; Bach et al. 2015, equation 58."""

    caveat: ClassVar[str] = (
        "layers with the epsilon rule do what input times gradient does, and are as noisy"
    )
    signed: ClassVar[bool] = True

    epsilon: NonNegative = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """All contributions."""
        return (Share((Part(),)),)


@dataclass(frozen=True)
class AlphaBeta(Hyperparameters):
    """`R_i = Σ_j (α z_ij⁺ / z_j⁺ - β z_ij⁻ / z_j⁻) R_j`, `α - β = 1`; Bach et al. 2015, eq. 60."""

    caveat: ClassVar[str] = (
        "alpha and beta set how much counts for the class and how much against it"
    )
    signed: ClassVar[bool] = True

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: NonNegative = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.beta >= 0 and abs(self.alpha - self.beta - 1) <= 1e-6):  # Also true for NaN.
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
class ZPlus(Hyperparameters):
    """`R_i = Σ_j z_ij⁺ / z_j⁺ R_j`; Montavon et al. 2017, section 5.1, inputs of either sign."""

    caveat: ClassVar[str] = "evidence against the class is left out, and classes look alike"
    signed: ClassVar[bool] = False

    epsilon: NonNegative = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """The contributions that raise an output."""
        return AlphaBeta(1.0, 0.0).shares


@dataclass(frozen=True)
class Gamma(Hyperparameters):
    """`R_i = Σ_j x_i (w_ij + γ w_ij⁺) R_j / Σ_i x_i (w_ij + γ w_ij⁺)`; Montavon et al. 2019.

    For outputs or inputs below zero the weights of the other sign are amplified, so that the
    contributions of the output's own sign are favoured (Andéol et al. 2021).
    """

    caveat: ClassVar[str] = "gamma sets how much evidence against the class is left out"
    signed: ClassVar[bool] = True

    gamma: NonNegative = 0.25
    epsilon: NonNegative = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """One for outputs above zero, and one for outputs below zero."""

        def up(w: tf.Tensor) -> tf.Tensor:
            return w + self.gamma * _positive(w)

        def down(w: tf.Tensor) -> tf.Tensor:
            return w + self.gamma * _negative(w)

        return (
            Share((Part(_positive, up, up), Part(_negative, down, tf.zeros_like)), only=1),
            Share((Part(_positive, down, down), Part(_negative, up, tf.zeros_like)), only=-1),
        )


@dataclass(frozen=True)
class WSquare(Hyperparameters):
    """`R_i = Σ_j w_ij² / Σ_i w_ij² R_j`, for any inputs; Montavon et al. 2017, section 4.1."""

    caveat: ClassVar[str] = "at the pixels it depends on the weights only, not on the image"
    signed: ClassVar[bool] = False

    epsilon: NonNegative = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """The squares of the weights, and of the bias."""
        return (Share((Part(_ones, tf.square, tf.square),)),)


@dataclass(frozen=True)
class Flat(Hyperparameters):
    """`R_i = Σ_j R_j / Σ_i 1`: evenly; Lapuschkin et al. 2019, supplementary note 4."""

    caveat: ClassVar[str] = "maps are blurred to the size of the first layer's kernel"
    signed: ClassVar[bool] = False

    epsilon: NonNegative = 1e-6

    @property
    def shares(self) -> tuple[Share, ...]:
        """An equal part for every input."""
        return (Share((Part(_ones, tf.ones_like, tf.zeros_like),)),)


@dataclass(frozen=True)
class ZBox(Hyperparameters):
    """`R_i = Σ_j (x_i w_ij - l w_ij⁺ - h w_ij⁻) / Σ_i (…) R_j`; Montavon et al. 2017, section 4.2.

    For inputs in `[low, high]`, such as pixels; `l` is `low`, `h` is `high`. Where the pixels are
    shifted, scaled, resized or padded before the first layer with a kernel, so are the bounds.
    """

    caveat: ClassVar[str] = "black pixels get relevance for not being white"
    signed: ClassVar[bool] = False

    low: float = 0.0
    high: float = 1.0
    epsilon: NonNegative = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -LARGEST <= self.low < self.high <= LARGEST:
            raise ValueError(
                f"low, high: expected low < high, of numbers up to {LARGEST:,.0f}; got {self.low} "
                f"and {self.high}"
            )

    @property
    def shares(self) -> tuple[Share, ...]:
        """The differences from the lowest and the highest possible inputs."""
        return self._shares(
            lambda x: tf.fill(tf.shape(x[:1]), self.low),
            lambda x: tf.fill(tf.shape(x[:1]), self.high),
        )

    def between(self, black: tf.Tensor, white: tf.Tensor) -> "Rule":
        """Return the rule for inputs whose black and white are two tensors `(1, …)`."""
        low, high = (black + end * (white - black) for end in (self.low, self.high))
        return _Box(self.epsilon, self._shares(lambda _: low, lambda _: high))

    def _shares(self, low: Change, high: Change) -> tuple[Share, ...]:
        lowest = Part(low, _positive, _positive, -1.0)
        highest = Part(high, _negative, _negative, -1.0)
        return (Share((Part(), lowest, highest)),)


@dataclass(frozen=True, eq=False)
class _Box:
    """The box rule of inputs with a bound of their own each."""

    epsilon: float
    shares: tuple[Share, ...]

    caveat: ClassVar[str] = ZBox.caveat
    signed: ClassVar[bool] = ZBox.signed


def stabiliser(z: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Return `ε sign z`, with `sign 0 = 1`."""
    return tf.where(z < 0, -epsilon, epsilon)


def propagate(
    rule: Rule, step: Step, affine: Affine, relevance: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Propagate the relevance of a layer's outputs to its inputs.

    Returns:
        The relevance of the inputs, and by name the relevance that the biases, the stabilisers
        and the shares without inputs absorb, `(N,)` each.
    """
    x = tf.cast(step.inputs[0], tf.float32)
    z = tf.cast(step.output, tf.float32)
    total = tf.zeros_like(x)
    by_bias = by_stabiliser = empty = tf.zeros(tf.shape(x)[:1])
    for share in rule.shares:
        changed = [(p, p.x(x), p.w(affine.kernel), p.b(affine.bias)) for p in share.parts]
        if share == Share((Part(),)) and step.output.dtype == tf.float32:
            denominator = z  # It is known already.
        else:
            parts = [p.sign * (affine.product(x_p, w) + b) for p, x_p, w, b in changed]
            denominator = functools.reduce(tf.add, parts)
        part = share.weight * relevance
        if share.only:
            part = tf.where(z * share.only > 0, part, 0.0)
        if len(rule.shares) > 1:  # A share may have no inputs: none that lowers an output, say.
            empty += sum_per_image(tf.where(denominator == 0, part, 0.0))
            part = tf.where(denominator == 0, 0.0, part)
        added = stabiliser(denominator, rule.epsilon)
        quotient = part / (denominator + added)
        for p, x_p, w, _ in changed:
            total += p.sign * x_p * affine.transpose(quotient, x, w)
        bias = functools.reduce(tf.add, [p.sign * b for p, _, _, b in changed])
        by_bias += product_per_image(quotient, bias)
        by_stabiliser += product_per_image(quotient, added)
    if any(share.only for share in rule.shares):
        empty += sum_per_image(tf.where(z == 0, relevance, 0.0))  # Neither above nor below zero.
    return total, {"biases": by_bias, "stabilisers": by_stabiliser, "empty shares": empty}


def product_per_image(q: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Return the sum of `q ⊙ other` for each image, `(N,)`; `other` broadcasts to `q`."""
    if other.shape.rank <= 1:  # One number per channel: add up the positions first, it is faster.
        by_channel = tf.reduce_sum(q, axis=range(1, len(q.shape) - 1))
        return tf.reduce_sum(by_channel * other, axis=1)
    return sum_per_image(q * other)


def sum_per_image(t: tf.Tensor) -> tf.Tensor:
    """Return the sum over all axes but the first, `(N,)`."""
    return tf.reduce_sum(t, axis=range(1, len(t.shape)))
