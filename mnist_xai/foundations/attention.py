"""Attention: weights over positions that sum to one, and the sum they weigh: 000 §7.2.

Arrays are `(n, P, C)`: examples, positions, channels. A score is computed for every position,
softmax turns the scores of one example into weights, and the weighted positions are added up.
The article's code stops before that sum, and does not say along which axis softmax runs.
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
    """Share out attention among the positions: `α_p = e^(e_p) / Σ_q e^(e_q)`.

    The softmax runs over the positions, the second axis. Along the last axis, the default of
    most libraries, the one score of a position would compete with nothing and give `α = 1`.

    Args:
        e: Scores (n, P, H).

    Returns:
        Weights `α`, (n, P, H), which sum to one over the positions.

    Raises:
        ValueError: If `e` has another number of axes, or no position.
    """
    return softmax(array("e", e, shape=(None, None, None)), axis=1)


def attention_weights_backward(gradient: ArrayLike, e: ArrayLike) -> Array:
    """Carry a gradient through the weights: `∂L/∂e_p = α_p (g_p - Σ_q g_q α_q)`, `g = ∂L/∂α`."""
    e = array("e", e, shape=(None, None, None))
    g = array("gradient", gradient, shape=e.shape)
    return np.swapaxes(softmax_backward(np.swapaxes(g, 1, 2), np.swapaxes(e, 1, 2)), 1, 2)


def attention_pool(alpha: ArrayLike, x: ArrayLike) -> Array:
    """Add up the weighted positions: `c = Σ_p α_p x_p`, a mean with weights.

    `α_p x_p` without the sum, the article's output, is no pooling: it has as many positions
    as before.

    Args:
        alpha: Weights (n, P, H) that sum to one over the positions.
        x: What is pooled, (n, P, C).

    Returns:
        The pooled vectors `c`, (n, H, C), one for each head.

    Raises:
        ValueError: If the shapes do not fit or the weights are no distribution.
    """
    alpha, x = _weights_and_values(alpha, x)
    return np.einsum("nph,npc->nhc", alpha, x)


def attention_pool_backward(
    gradient: ArrayLike, alpha: ArrayLike, x: ArrayLike
) -> tuple[Array, Array]:
    """Carry a gradient through the pooling: `∂L/∂α_p = g · x_p`, `∂L/∂x_p = α_p g`.

    Args:
        gradient: `g = ∂L/∂c`, (n, H, C).
        alpha: Weights (n, P, H) of the forward pass.
        x: What was pooled, (n, P, C).

    Returns:
        `∂L/∂α`, (n, P, H), and `∂L/∂x`, (n, P, C), the latter with `α` held fixed: what `x`
        does to the scores comes on top of it, see `attention_backward`.

    Raises:
        ValueError: If the shapes do not fit or the weights are no distribution.
    """
    alpha, x = _weights_and_values(alpha, x)
    g = array("gradient", gradient, shape=(len(x), alpha.shape[2], x.shape[2]))
    return np.einsum("nhc,npc->nph", g, x), np.einsum("nph,nhc->npc", alpha, g)


def attention_backward(
    gradient: ArrayLike, x: ArrayLike, W: ArrayLike, b: ArrayLike
) -> tuple[Array, Array, Array]:
    """Carry a gradient through scores, weights and pooling together.

    `x` acts twice: it is what is pooled, and it decides by how much. So its gradient has two
    terms, `∂L/∂x_p = α_p g + (∂L/∂e_p) Wᵀ`; the weight `α_p` alone knows of one.

    Args:
        gradient: `g = ∂L/∂c`, (n, H, C).
        x: Inputs (n, P, C).
        W: Weights (C, H).
        b: Bias (H,).

    Returns:
        `∂L/∂x`, (n, P, C); `∂L/∂W`, (C, H); and `∂L/∂b`, (H,), which is zero: a bias raises
        all scores alike, and softmax takes no notice.

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
    """Let every query ask every key: `softmax(Q Kᵀ / √d) V`, the attention of transformers.

    A dot product of `d` numbers of variance 1 has variance `d`. Divided by `√d` it has 1,
    and the softmax does not saturate, whatever `d`.

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
