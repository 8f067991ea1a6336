"""Entropy, mutual information and divergence, in bits unless `base` says otherwise: 000 §4.2.

`0 log 0` is always 0, the limit of `p log p`; the article's formulas are undefined there. Joint
tables `P(x, y)` have the shape (X, Y), the first variable along the first axis. Transpose a table
to exchange the roles of X and Y.
"""

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.checks import Array, array, distribution, same_shape, within
from mnist_xai.foundations.probability import conditional, marginal


def surprise(p: ArrayLike, *, base: float = 2) -> Array:
    """Compute the surprise, the information in an event of probability `p`: `-log₂ p`.

    Args:
        p: Probabilities, any shape, in [0, 1].
        base: Base of the logarithm: 2 for bits, e for nats.

    Returns:
        Bits, same shape; infinite for `p = 0`.

    Raises:
        ValueError: If a `p` lies outside [0, 1], or the base is not above 1.
    """
    p = array("p", p)
    if (p < 0).any() or (p > 1 + 1e-6).any():
        raise ValueError(f"p: expected probabilities in [0, 1]; got {p.min():.6g} to {p.max():.6g}")
    with np.errstate(divide="ignore"):
        return -np.log(p) / np.log(within("base", base, 1, open_low=True)) + 0.0  # Turns -0 into 0.


def entropy(p: ArrayLike, *, axis: int = -1, base: float = 2) -> Array:
    """Compute the entropy, the expected surprise: `H(X) = -Σ_x P(x) log₂ P(x)`.

    Args:
        p: Distributions along `axis`.
        axis: Axis that sums to one.
        base: Base of the logarithm.

    Returns:
        Bits, the shape of `p` without `axis`: 0 for a certain outcome, `log₂ K` for K equally
        probable outcomes.

    Raises:
        ValueError: If `p` does not sum to one along `axis`.
    """
    return cross_entropy(p, p, axis=axis, base=base)


def joint_entropy(joint: ArrayLike, *, base: float = 2) -> float:
    """Compute the entropy of a pair: `H(X,Y) = -Σ_x Σ_y P(x,y) log₂ P(x,y) ≤ H(X) + H(Y)`."""
    return float(entropy(_validated_table(joint).ravel(), base=base))


def conditional_entropy(joint: ArrayLike, *, base: float = 2) -> float:
    """Compute the entropy of X given Y: `H(X|Y) = -Σ_y P(y) Σ_x P(x|y) log₂ P(x|y)`.

    The article calls it the decrease in uncertainty. The decrease is the mutual information. It
    is an average: a single `y` may increase the uncertainty about X.

    Args:
        joint: `P(x, y)`, (X, Y), sums to one.
        base: Base of the logarithm.

    Returns:
        Bits, from 0 if Y determines X to `H(X)` if Y is independent of X.

    Raises:
        ValueError: If the table is not two-dimensional or does not sum to one.
    """
    joint = _validated_table(joint)
    p_y = marginal(joint, axis=0)
    seen = p_y > 0  # P(x|y) is undefined for a y of probability 0.
    given_y = conditional(joint[:, seen], p_y[seen])
    return float(np.sum(p_y[seen] * entropy(given_y, axis=0, base=base)))


def mutual_information(joint: ArrayLike, *, base: float = 2) -> float:
    """Compute the mutual information of X and Y: `I(X;Y) = H(X) - H(X|Y)`.

    It is 0 only if X and Y are independent. It is at most `min(H(X), H(Y))`, and reaches that if
    one variable determines the other. It measures dependence, not correlation: with `Y = X²` the
    correlation may be 0.

    Args:
        joint: `P(x, y)`, (X, Y), sums to one.
        base: Base of the logarithm.

    Returns:
        Bits; at least 0 except for rounding.

    Raises:
        ValueError: If the table is not two-dimensional or does not sum to one.
    """
    h_x = entropy(marginal(_validated_table(joint), axis=1), base=base)
    return float(h_x - conditional_entropy(joint, base=base))


def cross_entropy(p: ArrayLike, q: ArrayLike, *, axis: int = -1, base: float = 2) -> Array:
    """Compute the cross-entropy, the expected surprise under q: `H(p, q) = -Σ_x p(x) log₂ q(x)`.

    `losses.cross_entropy`, the loss that networks minimise, is its mean over examples in nats:
    the same quantity times `ln 2`.

    Args:
        p: True distributions along `axis`.
        q: Assumed distributions, same shape.
        axis: Axis that sums to one.
        base: Base of the logarithm.

    Returns:
        Bits, without `axis`; infinite where `q(x) = 0` and `p(x) > 0`.

    Raises:
        ValueError: If the shapes differ or a distribution does not sum to one.
    """
    p, q = distribution("p", p, axis=axis), distribution("q", q, axis=axis)
    same_shape(("p", "q"), p, q)
    bits = surprise(q, base=base)
    return np.sum(np.multiply(p, bits, out=np.zeros_like(p), where=p > 0), axis=axis)


def kl_divergence(p: ArrayLike, q: ArrayLike, *, axis: int = -1, base: float = 2) -> Array:
    """Compute the Kullback-Leibler divergence: `D(p‖q) = Σ_x p(x) log₂ (p(x)/q(x))`.

    It equals `H(p, q) - H(p)`, the bits wasted by assuming q where p is true. It is 0 only for
    `q = p`. It is not a distance: `D(p‖q) ≠ D(q‖p)`.

    Args:
        p: True distributions along `axis`.
        q: Assumed distributions, same shape.
        axis: Axis that sums to one.
        base: Base of the logarithm.

    Returns:
        Bits, without `axis`; infinite where `q(x) = 0` and `p(x) > 0`.

    Raises:
        ValueError: If the shapes differ or a distribution does not sum to one.
    """
    p, q = distribution("p", p, axis=axis), distribution("q", q, axis=axis)
    same_shape(("p", "q"), p, q)
    # Summing term by term keeps the digits of a small divergence; H(p, q) - H(p) would lose them.
    with np.errstate(divide="ignore"):
        ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return np.sum(p * np.log(ratio), axis=axis) / np.log(within("base", base, 1, open_low=True))


def predictive_entropy(p: ArrayLike) -> Array:
    """Compute the total uncertainty of S predictions: `H(p̄)`, `p̄ = 1/S Σ_s p_s`.

    Args:
        p: Class probabilities (S, N, K): S networks, or S versions of each input, for N images.
            For a single network, use `entropy(p)`.

    Returns:
        Bits (N,).

    Raises:
        ValueError: If `p` is not (S, N, K) or does not sum to one over the classes.
    """
    return entropy(_validated_members(p).mean(axis=0))


def expected_entropy(p: ArrayLike) -> Array:
    """Compute the mean uncertainty of the members: `1/S Σ_s H(p_s)`, (S, N, K) to bits (N,)."""
    return entropy(_validated_members(p)).mean(axis=0)


def predictive_mutual_information(p: ArrayLike) -> Array:
    """Compute the disagreement of the members in bits: `I(Y; s) = H(p̄) - 1/S Σ_s H(p_s)`.

    It is the mutual information between the class and a member drawn uniformly. It is 0 where all
    members predict the same distribution, however uncertain that is.

    Args:
        p: Class probabilities (S, N, K), as for `predictive_entropy`.

    Returns:
        Bits (N,), at most `log₂ min(S, K)`; at least 0 except for rounding.

    Raises:
        ValueError: If `p` is not (S, N, K) or does not sum to one over the classes.

    Source: Houlsby, Huszár, Ghahramani, Lengyel 2011, equation 2.
    """
    return predictive_entropy(p) - expected_entropy(p)


def _validated_members(p: ArrayLike) -> Array:
    return distribution("p", array("p", p, shape=(None, None, None)))


def _validated_table(joint: ArrayLike) -> Array:
    return distribution("joint", array("joint", joint, shape=(None, None)), axis=(0, 1))
