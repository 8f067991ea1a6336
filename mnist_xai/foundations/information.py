"""Entropy and its relatives, in bits unless `base` says otherwise: 000 §4.2.

`0 log 0` is 0 throughout, the limit of `p log p`, where the article's formulas give no number.
Joint tables `P(x, y)` are (X, Y): the first variable along the first axis. Transpose a table
to exchange the roles of X and Y.
"""

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.checks import Array, array, distribution, same_shape, within
from mnist_xai.foundations.probability import conditional, marginal


def surprise(p: ArrayLike, *, base: float = 2) -> Array:
    """Information in learning that something of probability `p` happened: `-log₂ p`.

    Args:
        p: Probabilities, any shape, in [0, 1].
        base: Of the logarithm: 2 for bits, e for nats.

    Returns:
        Bits, same shape; infinite for `p = 0`.

    Raises:
        ValueError: If a `p` is no probability, or the base not above 1.
    """
    p = array("p", p)
    if (p < 0).any() or (p > 1 + 1e-6).any():
        raise ValueError(f"p: expected probabilities in [0, 1]; got {p.min():.6g} to {p.max():.6g}")
    with np.errstate(divide="ignore"):
        return -np.log(p) / np.log(within("base", base, 1, open_low=True)) + 0.0  # No -0.


def entropy(p: ArrayLike, *, axis: int = -1, base: float = 2) -> Array:
    """Uncertainty, the surprise to be expected: `H(X) = -Σ_x P(x) log₂ P(x)`.

    Args:
        p: Distributions along `axis`.
        axis: Axis that sums to one.
        base: Of the logarithm.

    Returns:
        Bits, the shape of `p` without `axis`: 0 for a certain outcome, `log₂ K` for K
        outcomes that are equally probable.

    Raises:
        ValueError: If `p` does not sum to one along `axis`.
    """
    return cross_entropy(p, p, axis=axis, base=base)


def joint_entropy(joint: ArrayLike, *, base: float = 2) -> float:
    """Uncertainty of the pair: `H(X,Y) = -Σ_x Σ_y P(x,y) log₂ P(x,y)`, at most `H(X) + H(Y)`."""
    return float(entropy(_table(joint).ravel(), base=base))


def conditional_entropy(joint: ArrayLike, *, base: float = 2) -> float:
    """Uncertainty of X that remains once Y is known: `H(X|Y) = -Σ_y P(y) Σ_x P(x|y) log₂ P(x|y)`.

    The article calls it the fall in uncertainty. The fall is the mutual information; and it is
    an average: a single `y` may leave X more uncertain than it was.

    Args:
        joint: `P(x, y)`, (X, Y), sums to one.
        base: Of the logarithm.

    Returns:
        Bits, from 0, where Y determines X, to `H(X)`, where Y says nothing about X.

    Raises:
        ValueError: If the table is not two-dimensional or does not sum to one.
    """
    joint = _table(joint)
    p_y = marginal(joint, axis=0)
    seen = p_y > 0  # P(x|y) means nothing for a y that never happens.
    given_y = conditional(joint[:, seen], p_y[seen])
    return float(np.sum(p_y[seen] * entropy(given_y, axis=0, base=base)))


def mutual_information(joint: ArrayLike, *, base: float = 2) -> float:
    """How much Y tells about X, and X about Y: `I(X;Y) = H(X) - H(X|Y)`.

    It is 0 only where X and Y are independent, at most `min(H(X), H(Y))`, and reaches that
    where one determines the other. Correlation is not asked: `Y = X²` may have none.

    Args:
        joint: `P(x, y)`, (X, Y), sums to one.
        base: Of the logarithm.

    Returns:
        Bits; at least 0 but for rounding.

    Raises:
        ValueError: If the table is not two-dimensional or does not sum to one.
    """
    h_x = entropy(marginal(_table(joint), axis=1), base=base)
    return float(h_x - conditional_entropy(joint, base=base))


def cross_entropy(p: ArrayLike, q: ArrayLike, *, axis: int = -1, base: float = 2) -> Array:
    """Surprise to be expected of p by who believes q: `H(p, q) = -Σ_x p(x) log₂ q(x)`.

    `losses.cross_entropy`, the loss that networks minimise, is its mean over examples in nats:
    `ln 2` times as large a number.

    Args:
        p: What happens, distributions along `axis`.
        q: What is believed, same shape.
        axis: Axis that sums to one.
        base: Of the logarithm.

    Returns:
        Bits, without `axis`; infinite where something happens that q holds impossible.

    Raises:
        ValueError: If the shapes differ or a distribution does not sum to one.
    """
    p, q = distribution("p", p, axis=axis), distribution("q", q, axis=axis)
    same_shape(("p", "q"), p, q)
    bits = surprise(q, base=base)
    return np.sum(np.multiply(p, bits, out=np.zeros_like(p), where=p > 0), axis=axis)


def kl_divergence(p: ArrayLike, q: ArrayLike, *, axis: int = -1, base: float = 2) -> Array:
    """Bits wasted by believing q where p holds: `D(p‖q) = Σ_x p(x) log₂ (p(x)/q(x))`.

    That is `H(p, q) - H(p)`. It is 0 only for `q = p`, and no distance: `D(p‖q) ≠ D(q‖p)`.

    Args:
        p: What happens, distributions along `axis`.
        q: What is believed, same shape.
        axis: Axis that sums to one.
        base: Of the logarithm.

    Returns:
        Bits, without `axis`; infinite where something happens that q holds impossible.

    Raises:
        ValueError: If the shapes differ or a distribution does not sum to one.
    """
    p, q = distribution("p", p, axis=axis), distribution("q", q, axis=axis)
    same_shape(("p", "q"), p, q)
    # Term by term: H(p, q) - H(p) would lose the digits of a small difference.
    with np.errstate(divide="ignore"):
        ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return np.sum(p * np.log(ratio), axis=axis) / np.log(within("base", base, 1, open_low=True))


def predictive_entropy(p: ArrayLike) -> Array:
    """Total uncertainty of a family of S predictions: `H(p̄)`, `p̄ = 1/S Σ_s p_s`.

    Args:
        p: Class probabilities (S, N, K): S networks, or S versions of each input, for N images.
            A single network has `entropy(p)`.

    Returns:
        Bits (N,).

    Raises:
        ValueError: If `p` is not (S, N, K) or does not sum to one over the classes.
    """
    return entropy(_family(p).mean(axis=0))


def expected_entropy(p: ArrayLike) -> Array:
    """Uncertainty that each member has by itself: `1/S Σ_s H(p_s)`, (S, N, K) to bits (N,)."""
    return entropy(_family(p)).mean(axis=0)


def predictive_mutual_information(p: ArrayLike) -> Array:
    """Bits in which the members disagree: `I(Y; s) = H(p̄) - 1/S Σ_s H(p_s)`.

    It is the mutual information between the class and the member that is asked, each member
    as probable as the next. 0 where all say the same, however unsure each of them is.

    Args:
        p: Class probabilities (S, N, K), as for `predictive_entropy`.

    Returns:
        Bits (N,), at most `log₂ min(S, K)`; at least 0 but for rounding.

    Raises:
        ValueError: If `p` is not (S, N, K) or does not sum to one over the classes.

    Source: Houlsby, Huszár, Ghahramani, Lengyel 2011, equation 2.
    """
    return predictive_entropy(p) - expected_entropy(p)


def _family(p: ArrayLike) -> Array:
    return distribution("p", array("p", p, shape=(None, None, None)))


def _table(joint: ArrayLike) -> Array:
    return distribution("joint", array("joint", joint, shape=(None, None)), axis=(0, 1))
