"""Activation functions and their derivatives: 000 §1.2, 001 §3.3.2.

Every function takes the weighted input `z` of any shape and returns an array of that shape.
Only `softmax` combines several entries, so its derivative is a matrix.
"""

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.checks import Array, array, same_shape


def sigmoid(z: ArrayLike) -> Array:
    """Compute the sigmoid: `σ(z) = 1 / (1 + e^-z)`.

    The code uses `(1 + tanh(z/2)) / 2`, which is the same function and never overflows. The
    articles' form overflows below z = -709.

    Args:
        z: Weighted inputs, any shape.

    Returns:
        `σ(z)`, same shape, in [0, 1].

    Raises:
        ValueError: If `z` is not finite.
    """
    return (1 + np.tanh(array("z", z) / 2)) / 2


def sigmoid_derivative(z: ArrayLike) -> Array:
    """Compute the derivative of the sigmoid: `σ'(z) = σ(z) (1 - σ(z))`, at most 1/4."""
    return sigmoid(z) * sigmoid(-array("z", z))


def tanh(z: ArrayLike) -> Array:
    """Compute the hyperbolic tangent: `tanh(z) = (e^z - e^-z) / (e^z + e^-z) = 2 σ(2z) - 1`."""
    return np.tanh(array("z", z))


def tanh_derivative(z: ArrayLike) -> Array:
    """Compute the derivative of the hyperbolic tangent: `tanh'(z) = 1 - tanh²(z)`."""
    return 1 - tanh(z) ** 2


def relu(z: ArrayLike) -> Array:
    """Replace negative entries by 0: `ReLU(z) = max(0, z)`."""
    return np.maximum(0, array("z", z))


def relu_derivative(z: ArrayLike) -> Array:
    """Compute the derivative of ReLU: 1 where `z > 0`, else 0 (also at `z = 0`, as TensorFlow)."""
    return (array("z", z) > 0).astype(np.float64)


def softmax(z: ArrayLike, axis: int = -1) -> Array:
    """Turn scores into probabilities: `p_i = e^(z_i) / Σ_k e^(z_k)` along `axis`.

    The largest score is subtracted first. It cancels in the fraction and prevents overflow.

    Args:
        z: Scores (logits), any shape with at least one axis.
        axis: Axis along which the probabilities sum to one.

    Returns:
        Probabilities, same shape.

    Raises:
        ValueError: If `z` is a single number, empty along the axis, or not finite.
    """
    z = array("z", z)
    if z.ndim == 0 or z.shape[axis] == 0:
        raise ValueError(f"z: expected at least one score along axis {axis}; got shape {z.shape}")
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_jacobian(z: ArrayLike) -> Array:
    """Compute the Jacobian of softmax, outputs by inputs: `∂p_i/∂z_j = p_i (δ_ij - p_j)`.

    Each row sums to zero, because raising all scores together changes no probability. Each
    column sums to zero too, because the probabilities always sum to one. So the gradient of the
    *sum* of a softmax, which 000 §8.3 computes, is zero everywhere.

    Args:
        z: Scores (..., K).

    Returns:
        Jacobian (..., K, K), outputs before inputs.
    """
    p = softmax(z)
    return p[..., :, None] * (np.eye(p.shape[-1]) - p[..., None, :])


def softmax_backward(gradient: ArrayLike, z: ArrayLike) -> Array:
    """Propagate a gradient through softmax: `∂L/∂z_j = p_j (g_j - Σ_i g_i p_i)`, `g = ∂L/∂p`.

    Args:
        gradient: `∂L/∂p`, (..., K).
        z: Scores (..., K) of the forward pass.

    Returns:
        `∂L/∂z`, same shape.

    Raises:
        ValueError: If the shapes differ.
    """
    z, g = array("z", z), array("gradient", gradient)
    same_shape(("z", "gradient"), z, g)
    p = softmax(z)
    return p * (g - (g * p).sum(axis=-1, keepdims=True))
