"""Loss functions, each followed by its gradient: 001 §3.3.1, 002 §4.2, 003 §3.2 and §3.4, 004 §4.2.

`n` is the number of examples, along the first axis. A loss takes the true values first and the
prediction second, as in the articles. The gradients are with respect to the prediction.
"""

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.activations import softmax
from mnist_xai.foundations.checks import Array, array, distribution, same_shape, within


def mse(y: ArrayLike, y_hat: ArrayLike) -> float:
    """Compute the mean squared error of all entries: `MSE = 1/n Σ_i (y_i - ŷ_i)²`.

    Args:
        y: True values, any shape.
        y_hat: Predicted values, same shape.

    Returns:
        The loss, at least 0.

    Raises:
        ValueError: If the arrays are empty or their shapes differ. (n, 1) and (n,) would
            broadcast to n x n, which happens in the program of document 001.
    """
    y, y_hat = _validated_pair(y, y_hat)
    return float(np.mean((y - y_hat) ** 2))


def mse_gradient(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """Compute the gradient of the mean squared error: `∂MSE/∂ŷ_i = 2/n (ŷ_i - y_i)`."""
    y, y_hat = _validated_pair(y, y_hat)
    return 2 * (y_hat - y) / y.size


def cross_entropy(y: ArrayLike, p: ArrayLike) -> float:
    """Compute the mean cross-entropy of the examples in nats: `L = -1/n Σ_i Σ_k y_ik ln p_ik`.

    Document 002 omits the sum over the classes `k`.

    Args:
        y: True distribution of every example (n, K), often one-hot.
        p: Predicted distribution (n, K).

    Returns:
        The loss; infinite if `p_ik = 0` for a class with `y_ik > 0`.

    Raises:
        ValueError: If the shapes differ or a row is not a distribution.
    """
    y, p = _validated_pair(distribution("y", y), distribution("p", p), "p", 2)
    possible = y > 0  # 0 ln p is 0 for every p.
    with np.errstate(divide="ignore"):
        return float(-np.sum(y[possible] * np.log(p[possible])) / len(y))


def cross_entropy_gradient(y: ArrayLike, p: ArrayLike) -> Array:
    """Compute the gradient of the cross-entropy by `p`: `∂L/∂p_ik = -y_ik / (n p_ik)`.

    Raises:
        ValueError: As `cross_entropy` does, and if `p_ik = 0` for a class with `y_ik > 0`, where
            the gradient is infinite.
    """
    y, p = _validated_pair(distribution("y", y), distribution("p", p), "p", 2)
    if (p[y > 0] == 0).any():
        raise ValueError("p: expected a positive probability for every class with y > 0; got 0")
    return -np.divide(y, p, out=np.zeros_like(y), where=y > 0) / len(y)


def softmax_cross_entropy(y: ArrayLike, z: ArrayLike) -> float:
    """Compute the cross-entropy from logits: `L = 1/n Σ_i (ln Σ_k e^(z_ik) - Σ_k y_ik z_ik)`.

    Softmax and logarithm are one step, so no probability is rounded to 0 before the logarithm.

    Args:
        y: True distributions (n, K).
        z: Logits (n, K).

    Returns:
        The loss in nats, finite.

    Raises:
        ValueError: If the shapes differ or a row of `y` is not a distribution.
    """
    y, z = _validated_pair(distribution("y", y), z, "z", 2)
    top = z.max(axis=1, keepdims=True)
    log_sum = top + np.log(np.exp(z - top).sum(axis=1, keepdims=True))
    return float(np.sum(y * (log_sum - z)) / len(y))


def softmax_cross_entropy_gradient(y: ArrayLike, z: ArrayLike) -> Array:
    """Compute the gradient of the cross-entropy by the logits: `∂L/∂z = (softmax(z) - y) / n`.

    The gradient is so simple because the Jacobian of softmax cancels the derivative of the
    logarithm. 000 §6.5 multiplies by `σ'(z)` too, which belongs to the squared error.
    """
    y, z = _validated_pair(distribution("y", y), z, "z", 2)
    return (softmax(z) - y) / len(y)


def l2_penalty(w: ArrayLike, lam: float) -> float:
    """Compute the L2 penalty: `R = λ Σ_j w_j²`, over weights and not over biases.

    Args:
        w: Weights, any shape.
        lam: `λ`, at least 0.

    Returns:
        The penalty to add to the loss.

    Raises:
        ValueError: If `λ` is negative.
    """
    return within("lam", lam, 0) * float(np.sum(array("w", w) ** 2))


def l2_penalty_gradient(w: ArrayLike, lam: float) -> Array:
    """Compute the gradient of the L2 penalty: `∂R/∂w_j = 2 λ w_j`."""
    return 2 * within("lam", lam, 0) * array("w", w)


def _validated_pair(
    y: ArrayLike, other: ArrayLike, name: str = "y_hat", ndim: int | None = None
) -> tuple[Array, Array]:
    y, other = array("y", y), array(name, other)
    if y.size == 0 or ndim not in (None, y.ndim):
        wanted = "at least one example" if ndim is None else "(examples, classes)"
        raise ValueError(f"y: expected {wanted}; got shape {y.shape}")
    same_shape(("y", name), y, other)
    return y, other
