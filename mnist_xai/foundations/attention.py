"""Attention: weights over positions that sum to one, and the weighted sum: 000 §7.2.

Arrays are `(n, P, C)`: examples, positions, channels. Attention scores every position, turns the
scores of one example into weights by softmax, and sums the weighted positions. The article's code
omits that sum and does not say along which axis softmax runs.
"""

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.activations import softmax, softmax_backward
from mnist_xai.foundations.checks import Array, array, distribution


def attention_scores(x: ArrayLike, W: ArrayLike, b: ArrayLike) -> Array:
    """Score every position: `e_p = x_p W + b`, one score for each of `H` heads.

    Args:
        x: Inputs (n, P, C).
        W: Weights (C, H); H = 1 for one map of attention.
        b: Bias (H,).

    Returns:
        Scores `e`, (n, P, H), any sign.

    Raises:
        ValueError: If the shapes do not fit.
    """
    x = array("x", x, shape=(None, None, None))
    W = array("W", W, shape=(x.shape[2], None))
    return x @ W + array("b", b, shape=W.shape[1:])


def attention_weights(e: ArrayLike) -> Array:
    """Turn scores into attention weights: `α_p = e^(e_p) / Σ_q e^(e_q)`.

    The softmax runs over the positions, the second axis. Along the last axis, the default of
    most libraries, a position with one score would always get the weight `α = 1`.

    Args:
        e: Scores (n, P, H).

    Returns:
        Weights `α`, (n, P, H), which sum to one over the positions.

    Raises:
        ValueError: If `e` does not have three axes, or has no position.
    """
    return softmax(array("e", e, shape=(None, None, None)), axis=1)


def attention_weights_backward(gradient: ArrayLike, e: ArrayLike) -> Array:
    """Propagate a gradient through softmax: `∂L/∂e_p = α_p (g_p - Σ_q g_q α_q)`, `g = ∂L/∂α`."""
    e = array("e", e, shape=(None, None, None))
    g = array("gradient", gradient, shape=e.shape)
    return np.swapaxes(softmax_backward(np.swapaxes(g, 1, 2), np.swapaxes(e, 1, 2)), 1, 2)


def attention_pool(alpha: ArrayLike, x: ArrayLike) -> Array:
    """Compute the weighted mean of the positions: `c = Σ_p α_p x_p`.

    The article's output `α_p x_p` lacks the sum. It does not pool: it has as many positions as
    the input.

    Args:
        alpha: Weights (n, P, H) that sum to one over the positions.
        x: Vectors to pool (n, P, C).

    Returns:
        The pooled vectors `c`, (n, H, C), one for each head.

    Raises:
        ValueError: If the shapes do not fit or the weights do not sum to one.
    """
    alpha, x = _weights_and_values(alpha, x)
    return np.einsum("nph,npc->nhc", alpha, x)


def attention_pool_backward(
    gradient: ArrayLike, alpha: ArrayLike, x: ArrayLike
) -> tuple[Array, Array]:
    """Propagate a gradient through the pooling: `∂L/∂α_p = g · x_p`, `∂L/∂x_p = α_p g`.

    Args:
        gradient: `g = ∂L/∂c`, (n, H, C).
        alpha: Weights (n, P, H) of the forward pass.
        x: Vectors that were pooled (n, P, C).

    Returns:
        `∂L/∂α`, (n, P, H), and `∂L/∂x`, (n, P, C), the latter with `α` held fixed.
        `attention_backward` adds the effect of `x` on the scores.

    Raises:
        ValueError: If the shapes do not fit or the weights do not sum to one.
    """
    alpha, x = _weights_and_values(alpha, x)
    g = array("gradient", gradient, shape=(len(x), alpha.shape[2], x.shape[2]))
    return np.einsum("nhc,npc->nph", g, x), np.einsum("nph,nhc->npc", alpha, g)


def attention_backward(
    gradient: ArrayLike, x: ArrayLike, W: ArrayLike, b: ArrayLike
) -> tuple[Array, Array, Array]:
    """Propagate a gradient through scores, weights and pooling together.

    `x` acts twice: its vectors are pooled, and they determine the weights. So its gradient has
    two terms, `∂L/∂x_p = α_p g + (∂L/∂e_p) Wᵀ`. The weight `α_p` alone gives only the first.

    Args:
        gradient: `g = ∂L/∂c`, (n, H, C).
        x: Inputs (n, P, C).
        W: Weights (C, H).
        b: Bias (H,).

    Returns:
        `∂L/∂x`, (n, P, C); `∂L/∂W`, (C, H); and `∂L/∂b`, (H,), which is zero: a bias raises
        all scores equally, and softmax ignores that.

    Raises:
        ValueError: If the shapes do not fit.
    """
    x, e = array("x", x), attention_scores(x, W, b)
    gradient_alpha, as_value = attention_pool_backward(gradient, attention_weights(e), x)
    gradient_e = attention_weights_backward(gradient_alpha, e)
    as_score = gradient_e @ array("W", W).T
    gradient_W = np.einsum("npc,nph->ch", x, gradient_e)
    return as_value + as_score, gradient_W, gradient_e.sum(axis=(0, 1))


def scaled_dot_product(Q: ArrayLike, K: ArrayLike, V: ArrayLike) -> tuple[Array, Array]:
    """Compute scaled dot-product attention, as in transformers: `softmax(Q Kᵀ / √d) V`.

    A dot product of `d` numbers of variance 1 has variance `d`. Divided by `√d` it has variance
    1, so the softmax does not saturate for large `d`.

    Args:
        Q: Queries (n, T, d).
        K: Keys (n, S, d).
        V: Values (n, S, C), one for each key.

    Returns:
        The output (n, T, C), and the weights `α`, (n, T, S), which sum to one over the keys.

    Raises:
        ValueError: If the shapes do not fit or there is no key.
    """
    Q = array("Q", Q, shape=(None, None, None))
    K = array("K", K, shape=(len(Q), None, Q.shape[2]))
    V = array("V", V, shape=(*K.shape[:2], None))
    if Q.shape[2] == 0:
        raise ValueError(f"Q: expected queries of at least one number; got shape {Q.shape}")
    alpha = softmax(Q @ np.swapaxes(K, 1, 2) / np.sqrt(Q.shape[2]))
    return alpha @ V, alpha


def _weights_and_values(alpha: ArrayLike, x: ArrayLike) -> tuple[Array, Array]:
    x = array("x", x, shape=(None, None, None))
    alpha = distribution("alpha", array("alpha", alpha, shape=(*x.shape[:2], None)), axis=1)
    return alpha, x
