"""Linear regression by gradient descent: the corrected program of 001 §4.1.

Differences from the article: the line has an intercept, as the data do; the gradient has the right
sign, the factor `x` and the mean; `y` is a vector (n,), because (n, 1) minus (n,) broadcasts to
n x n.

`X̃ = [1 X]` is the data with a column of ones in front, so that `θ_0` is the intercept.
"""

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.checks import Array, array, within
from mnist_xai.foundations.linear_algebra import inverse
from mnist_xai.foundations.losses import mse, mse_gradient


def noisy_line(n: int = 100, seed: int = 0) -> tuple[Array, Array]:
    """Draw the article's data: `y = 1 + 2 x + u` with `x` and `u` uniform in [0, 1).

    The noise `u` has the mean 1/2, so the true line is `1.5 + 2 x`.

    Args:
        n: Number of points.
        seed: Seed of the numbers. 0 and 100 points give the article's numbers.

    Returns:
        `X` (n, 1) and `y` (n,).
    """
    draw = np.random.RandomState(seed)
    X = draw.rand(n, 1)
    return X, 1 + 2 * X[:, 0] + draw.rand(n)


def with_intercept(X: ArrayLike) -> Array:
    """Prepend a column of ones to the data: `X̃ = [1 X]`, (n, d) to (n, 1 + d)."""
    X = array("X", X, shape=(None, None))
    return np.hstack([np.ones((len(X), 1)), X])


def predict(X: ArrayLike, theta: ArrayLike) -> Array:
    """Predict with a line: `ŷ = X̃ θ`, or `ŷ_i = θ_0 + Σ_j x_ij θ_j`.

    Args:
        X: Examples (n, d).
        theta: Intercept and slopes (1 + d,).

    Returns:
        `ŷ` (n,).

    Raises:
        ValueError: If the shapes do not fit.
    """
    X = with_intercept(X)
    return X @ array("theta", theta, shape=(X.shape[1],))


def loss(X: ArrayLike, y: ArrayLike, theta: ArrayLike) -> float:
    """Compute the mean squared error of the line: `L(θ) = 1/n Σ_i (y_i - ŷ_i)²`."""
    y_hat = predict(X, theta)
    return mse(array("y", y, shape=y_hat.shape), y_hat)


def gradient(X: ArrayLike, y: ArrayLike, theta: ArrayLike) -> Array:
    """Compute the gradient of the loss: `∇_θ L = X̃ᵀ ∂L/∂ŷ = 2/n X̃ᵀ (X̃ θ - y)`.

    Args:
        X: Examples (n, d).
        y: True values (n,).
        theta: Intercept and slopes (1 + d,).

    Returns:
        The gradient (1 + d,).

    Raises:
        ValueError: If the shapes do not fit, for example if `y` is (n, 1).
    """
    y_hat = predict(X, theta)
    return with_intercept(X).T @ mse_gradient(array("y", y, shape=y_hat.shape), y_hat)


def hessian(X: ArrayLike) -> Array:
    """Compute the Hessian of the loss, the same at every `θ`: `H = 2/n X̃ᵀ X̃`, (1 + d, 1 + d).

    Its eigenvalues `λ` determine how fast gradient descent converges: a step multiplies the error
    along an eigenvector by `1 - α λ`. It converges for `α < 2 / λ_max`; for small `α`, the error
    along the eigenvector of `λ_min` shrinks most slowly.
    """
    X = with_intercept(X)
    return 2 * X.T @ X / len(X)


def fit(X: ArrayLike, y: ArrayLike, *, alpha: float, steps: int) -> Array:
    """Fit the line by gradient descent from `θ = 0`: `θ ← θ - α ∇_θ L(θ)`.

    Args:
        X: Examples (n, d).
        y: True values (n,).
        alpha: Learning rate `α`, above 0.
        steps: Number of steps.

    Returns:
        The path of `θ`, (steps + 1, 1 + d): row `t` is `θ` after `t` steps.

    Raises:
        ValueError: If the shapes do not fit, or if `α` is so large that `θ` overflows.
    """
    alpha = within("alpha", alpha, 0, open_low=True)
    path = [np.zeros(with_intercept(X).shape[1])]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            path.append(path[-1] - alpha * gradient(X, y, path[-1]))
            if not np.isfinite(path[-1]).all():
                raise ValueError(
                    f"alpha: expected a smaller learning rate; got {alpha:g}, "
                    f"with which theta overflows after {len(path) - 1} steps"
                )
    return np.stack(path)


def least_squares(X: ArrayLike, y: ArrayLike) -> Array:
    """Compute the least-squares line in closed form: `θ = (X̃ᵀ X̃)⁻¹ X̃ᵀ y`.

    The gradient of the loss is zero there.

    Args:
        X: Examples (n, d).
        y: True values (n,).

    Returns:
        Intercept and slopes (1 + d,).

    Raises:
        ValueError: If the shapes do not fit, or if the columns of `X̃` are linearly dependent, so
            that many lines are equally good.
    """
    X = with_intercept(X)
    y = array("y", y, shape=(len(X),))
    try:
        return inverse(X.T @ X) @ (X.T @ y)
    except ValueError as error:
        raise ValueError(
            "X: expected examples that determine one line; got linearly dependent columns, "
            "for example because all examples have the same x"
        ) from error
