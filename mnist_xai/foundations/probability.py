"""Distributions, conditional probability and Bayes' theorem: 000 §4.1.

A mass `P(X = x)` is a probability. A density `f(x)` is not: it may exceed 1, and only its
integral over an interval is a probability. Alternatives `A_k` lie along the last axis.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_xai.foundations.checks import Array, array, distribution, same_shape, within


def uniform_pdf(x: ArrayLike, a: float, b: float) -> Array:
    """Compute the density of the uniform distribution: `f(x) = 1/(b - a)` in [a, b], else 0.

    Args:
        x: Values, any shape.
        a: Lower end of the interval.
        b: Upper end, above `a`.

    Returns:
        The density per unit of `x`, same shape; above 1 for an interval shorter than 1.

    Raises:
        ValueError: If `b` is not above `a`.
    """
    x = array("x", x)
    within("b", b, a, open_low=True)
    return np.where((a <= x) & (x <= b), 1 / (b - a), 0.0)


def normal_pdf(x: ArrayLike, mu: float = 0.0, sigma: float = 1.0) -> Array:
    """Compute the density of the normal distribution: `f(x) = 1/√(2πσ²) e^(-(x - μ)² / 2σ²)`.

    Args:
        x: Values, any shape.
        mu: `μ`, the mean.
        sigma: `σ`, the standard deviation, positive; the variance is its square.

    Returns:
        The density per unit of `x`, same shape; above 1 around `μ` where `σ < 0.398`.

    Raises:
        ValueError: If `σ` is not positive.
    """
    u = (array("x", x) - mu) / within("sigma", sigma, 0, open_low=True)
    return np.exp(-(u**2) / 2) / (np.sqrt(2 * np.pi) * sigma)


def bernoulli_pmf(x: ArrayLike, p: float) -> Array:
    """Compute the mass of a Bernoulli variable: `P(X = 1) = p`, `P(X = 0) = 1 - p`, else 0."""
    x, p = array("x", x), within("p", p, 0, 1)
    return np.where(x == 1, p, np.where(x == 0, 1 - p, 0.0))


def probability_of_interval(
    pdf: Callable[[Array], Array], a: float, b: float, n: int = 100_000
) -> float:
    """Compute the probability of an interval: `P(a <= X <= b) = ∫_a^b f(x) dx`.

    The integral is approximated by a sum over the midpoints of `n` equal steps. A single point has
    width 0, so its probability is 0 for every density.

    Args:
        pdf: Function `f` from an array of values to their densities.
        a: Lower end, finite.
        b: Upper end, finite, at least `a`.
        n: Number of steps. The error falls as `1/n²`; where `f` jumps inside (a, b), as `1/n`.

    Returns:
        The probability.

    Raises:
        ValueError: If `b < a`, an end is infinite, or `f` is not a density: negative somewhere,
            or with an integral above 1.
    """
    a, b = float(array("a", a, shape=())), float(array("b", b, shape=()))
    dx = (within("b", b, a) - a) / within("n", n, 1)
    x = array("x", a + (np.arange(n) + 0.5) * dx)
    f = array("pdf", pdf(x), shape=x.shape)
    if (f < 0).any():
        raise ValueError(f"pdf: expected a density of at least 0; got {f.min():.6g}")
    total = float(np.sum(f) * dx)
    # A jump of the density may add up to half a step at each end of the interval.
    if total > 1 + 1e-6 + f.max() * dx:
        raise ValueError(f"pdf: expected a density with an integral of at most 1; got {total:.6g}")
    return total


def conditional(p_a_and_b: ArrayLike, p_a: ArrayLike) -> Array:
    """Compute the conditional probability of B given A: `P(B|A) = P(A ∩ B) / P(A)`.

    Args:
        p_a_and_b: `P(A ∩ B)`, a number or a table of any shape.
        p_a: `P(A)`, positive; a number, or a table that broadcasts to the other's shape.

    Returns:
        `P(B|A)`, the shape of `p_a_and_b`.

    Raises:
        ValueError: If `P(A)` is 0, which leaves `P(B|A)` undefined, or less than `P(A ∩ B)`.
    """
    both, whole = array("p_a_and_b", p_a_and_b), array("p_a", p_a)
    try:
        p_a = np.broadcast_to(whole, both.shape)
    except ValueError:
        message = f"p_a: expected a shape that fits {both.shape}; got {whole.shape}"
        raise ValueError(message) from None
    if (p_a <= 0).any() or (p_a > 1 + 1e-6).any():
        worst = p_a.min() if (p_a <= 0).any() else p_a.max()
        raise ValueError(f"p_a: expected probabilities in (0, 1]; got {worst:.6g}")
    impossible = (both < 0) | (both > p_a * (1 + 1e-6))
    if impossible.any():
        given = f"{both[impossible][0]:.6g} with P(A) = {p_a[impossible][0]:.6g}"
        raise ValueError(f"p_a_and_b: expected probabilities from 0 to P(A); got {given}")
    return both / p_a


def marginal(joint: ArrayLike, axis: int) -> Array:
    """Compute the marginal distribution by summing over the variable on `axis`: `Σ_y P(x, y)`."""
    joint = array("joint", joint)
    joint = distribution("joint", joint, axis=tuple(range(joint.ndim)))
    if not -joint.ndim <= axis < joint.ndim:
        raise ValueError(f"axis: expected one of the {joint.ndim} axes of joint; got {axis}")
    return joint.sum(axis=axis)


def total_probability(prior: ArrayLike, likelihood: ArrayLike) -> Array:
    """Compute the probability of the observation B: `P(B) = Σ_k P(B|A_k) P(A_k)`.

    Args:
        prior: `P(A_k)`, (..., K), rows that sum to one.
        likelihood: `P(B|A_k)`, same shape. They need not sum to one; they may be densities.

    Returns:
        `P(B)`, (...), the denominator of Bayes' theorem.

    Raises:
        ValueError: If the shapes differ, a prior does not sum to one, or a likelihood is
            negative.
    """
    prior, likelihood = distribution("prior", prior), array("likelihood", likelihood)
    same_shape(("prior", "likelihood"), prior, likelihood)
    if (likelihood < 0).any():
        raise ValueError(f"likelihood: expected at least 0; got {likelihood.min():.6g}")
    return np.sum(prior * likelihood, axis=-1)


def bayes(prior: ArrayLike, likelihood: ArrayLike) -> Array:
    """Compute the posterior by Bayes' theorem: `P(A_k|B) = P(B|A_k) P(A_k) / P(B)`.

    The article's text has it backwards: the prior is known, and the theorem gives the posterior.

    Args:
        prior: `P(A_k)`, the probabilities before B is observed; (..., K), rows that sum to one.
        likelihood: `P(B|A_k)`, the probability of B under each alternative; same shape.

    Returns:
        `P(A_k|B)`, the probabilities after B is observed; same shape.

    Raises:
        ValueError: As `total_probability` does, and if `P(B) = 0`.
    """
    p_b = total_probability(prior, likelihood)
    if (p_b == 0).any():
        raise ValueError("prior, likelihood: expected a possible observation; got P(B) = 0")
    return array("prior", prior) * array("likelihood", likelihood) / p_b[..., None]


def maximum_a_posteriori(prior: ArrayLike, likelihood: ArrayLike) -> NDArray[np.intp]:
    """Return the index of the most probable alternative: `argmax_k P(B|A_k) P(A_k)`."""
    return np.argmax(bayes(prior, likelihood), axis=-1)


def change_prior(posterior: ArrayLike, old: ArrayLike, new: ArrayLike) -> Array:
    """Convert a posterior to another prior: `P'(A_k|B) ∝ P(A_k|B) P'(A_k) / P(A_k)`.

    A posterior divided by its prior is the likelihood, up to a factor. Bayes' theorem combines it
    with the new prior. The result is valid if `P(B|A_k)` is unchanged.

    Args:
        posterior: `P(A_k|B)` under the old prior, (..., K).
        old: `P(A_k)`, (K,), positive: for a classifier, the class frequencies of its training
            data.
        new: `P'(A_k)`, (K,).

    Returns:
        The posterior under the new prior, same shape as `posterior`.

    Raises:
        ValueError: If a row is not a distribution, an old prior is 0, or the numbers of classes
            differ.

    Source: Saerens, Latinne, Decaestecker 2002, section 2.
    """
    posterior, old = distribution("posterior", posterior), distribution("old", old)
    array("old", old, shape=posterior.shape[-1:])
    if (old == 0).any():
        raise ValueError("old: expected a positive probability for every class; got 0")
    new = array("new", distribution("new", new), shape=old.shape)
    return bayes(np.broadcast_to(new, posterior.shape), posterior / old)
