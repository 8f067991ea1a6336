"""Rules of relevance propagation for steps without weights: sums, products, norms, softmax.

Each function returns the relevance of each input of a step, and by name what the step absorbs.

Sources: Bach et al. 2015; Arras et al. 2017; Ali et al. 2022; Achtibat et al. 2024.
"""

from collections.abc import Sequence

import tensorflow as tf

from mnist_xai.interpret.core.layer_kinds import function_name
from mnist_xai.interpret.core.steps import Step
from mnist_xai.interpret.methods.relevance.rules import (
    Epsilon,
    product_per_image,
    stabiliser,
    sum_per_image,
)

Relevances = tuple[tuple[tf.Tensor | None, ...], dict[str, tf.Tensor]]


def epsilon_unweighted(step: Step, relevance: tf.Tensor) -> Relevances:
    """Apply the epsilon rule to a step that is affine in its inputs, such as an addition."""
    quotient, by_stabiliser = _quotient(step, relevance)
    # The output for zeros is a constant that the step adds, and counts as a bias.
    constant = tf.cast(step.function(*(tf.zeros_like(x[:1]) for x in step.inputs)), tf.float32)
    absorbed = {"biases": product_per_image(quotient, constant), "stabilisers": by_stabiliser}
    return _contributions(step, quotient), absorbed


def arithmetic_rule(step: Step, relevance: tf.Tensor) -> Relevances:
    """Pass all relevance on where a constant multiplies; a constant that is added is a bias."""
    multiplies = function_name(step.layer) in _MULTIPLYING
    return (unchanged if multiplies else epsilon_unweighted)(step, relevance)


_MULTIPLYING = {"multiply", "divide", "truedivide", "negative", "scaling"}


def rearranged(step: Step, relevance: tf.Tensor) -> Relevances:
    """Give each number's relevance to the input that it comes from.

    Constants among the inputs, such as a class token, count as biases. A padding absorbs what
    arrives at its border.
    """
    inputs = step.vjp(relevance)
    name = "padding" if "Pad" in type(step.layer).__name__ else "biases"
    if name == "biases" and not step.adds_constants:
        return inputs, {}
    reached = tf.add_n([sum_per_image(r) for r in inputs])
    return inputs, {name: sum_per_image(relevance) - reached}


def activation_rule(step: Step, relevance: tf.Tensor) -> Relevances:
    """Leave relevance as it is at an activation `a = f(z)` with `f(0) = 0`, such as ReLU or GELU.

    No input makes `f(0)`, so it counts as a bias where it is not zero, as at a sigmoid: then
    `R_z = R (a - f(0)) / a`. Otherwise an output of a half would be given to a `z` of about zero,
    and the next layer would divide by it.
    """
    if function_name(step.layer) not in _NOT_ZERO_AT_ZERO:
        return (relevance,), {}
    quotient, by_stabiliser = _quotient(step, relevance)
    z = tf.cast(step.inputs[0], tf.float32)
    start = tf.cast(step.function(tf.zeros_like(z)), tf.float32)
    by_start = product_per_image(quotient, start)
    absorbed = {"biases": by_start, "stabilisers": by_stabiliser}
    return (quotient * (tf.cast(step.output, tf.float32) - start),), absorbed


_NOT_ZERO_AT_ZERO = {
    *("sigmoid", "hardsigmoid", "sparsesigmoid", "logsigmoid", "softplus", "squareplus"),
    *("sparseplus", "exp", "exponential", "cos"),
}


def unchanged(step: Step, relevance: tf.Tensor) -> Relevances:
    """Give each number's relevance to the number that it was computed from, all of it."""
    x = tf.cast(step.inputs[0], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        # The same as `relevance`, unless a constant of more channels broadcast the input.
        same = tf.broadcast_to(x, tf.shape(step.output))
    return (tape.gradient(same, x, relevance),), {}


def product_rule(step: Step, relevance: tf.Tensor, weights: Sequence[float]) -> Relevances:
    """Split the relevance of a product among its factors.

    `R_a = w_a a ⊙ J_aᵀ (R / z)`: for `z = a b` it is `w_a R`, and for a matrix product
    `O = A V` it is `R_A[j,i] = w_A Σ_p A[j,i] V[i,p] R[j,p] / O[j,p]`.

    Args:
        step: The product.
        relevance: `R`.
        weights: The share `w` of each input, summing to one over all reads.
    """
    quotient, by_stabiliser = _quotient(step, relevance)
    parts = _contributions(step, quotient)
    shares = tuple(w * r if w else None for w, r in zip(weights, parts, strict=True))
    return shares, {"stabilisers": by_stabiliser}


def normalisation_rule(step: Step, relevance: tf.Tensor) -> Relevances:
    """Propagate through `y = γ c / s + β`, with the deviation `s` taken as a constant.

    The division passes relevance on unchanged; centring, gain and offset are linear (Achtibat et
    al. 2024, proposition 3.4; Ali et al. 2022, section 3.2).
    """
    quotient, by_stabiliser = _quotient(step, relevance)
    if step.norm is None:
        step.refuse("relevance propagation", "it is no normalisation")
    x = tf.cast(step.inputs[0], tf.float32)
    absorbed = {"biases": step.norm.bias(quotient), "stabilisers": by_stabiliser}
    return (x * step.norm.transpose(quotient, x),), absorbed


def softmax_rule(step: Step, relevance: tf.Tensor) -> Relevances:
    """Propagate through `s = softmax(x)`: `R_x[i] = x_i (R_s[i] - s_i Σ_j R_s[j])`.

    It is the Taylor expansion at `x` (Achtibat et al. 2024, proposition 3.1), whose constant
    absorbs the rest.
    """
    # A weight that is zero but for rounding has no relevance to divide.
    quotient = tf.math.divide_no_nan(relevance, tf.cast(step.output, tf.float32))
    (of_input,) = _contributions(step, quotient)
    return (of_input,), {"softmax": sum_per_image(relevance) - sum_per_image(of_input)}


def _quotient(step: Step, relevance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return `R / (z + ε sign z)`, and what the stabiliser absorbs, `(N,)`."""
    z = tf.cast(step.output, tf.float32)
    added = stabiliser(z, Epsilon.epsilon)
    quotient = relevance / (z + added)
    return quotient, product_per_image(quotient, added)


def _contributions(step: Step, quotient: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return `x ⊙ Jᵀ q` of each input."""
    inputs = [tf.cast(x, tf.float32) for x in step.inputs]
    return tuple(x * r for x, r in zip(inputs, step.vjp(quotient), strict=True))
