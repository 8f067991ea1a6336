"""Linear regression by gradient descent, the program of 001 §4.1 mended.

Against the article: the line has an intercept, as the data have; the gradient has its sign, its
factor `x` and its mean; `y` is a vector, and no (n, 1) that broadcasts against (n,) to n x n.

`X̃ = [1 X]` is the data with a column of ones, for which `θ_0` is the intercept.
"""

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.checks import Array, array, within
from mnist_xai.foundations.linear_algebra import inverse
from mnist_xai.foundations.losses import mse, mse_gradient


def noisy_line(n: int = 100, seed: int = 0) -> tuple[Array, Array]:
    """Draw the article's data: `y = 1 + 2 x + u` with `x` and `u` uniform in [0, 1).

    The noise `u` has the mean 1/2, so that the line behind the data is `1.5 + 2 x`.

    Args:
        n: Number of points.
        seed: The article's is 0; with it and 100 points the numbers are the article's.

    Returns:
        `X` (n, 1) and `y` (n,).
    """
    draw = np.random.RandomState(seed)
    X = draw.rand(n, 1)
    return X, 1 + 2 * X[:, 0] + draw.rand(n)


def with_intercept(X: ArrayLike) -> Array:
    """Put a column of ones before the data: `X̃ = [1 X]`, (n, d) to (n, 1 + d)."""
    X = array("X", X, shape=(None, None))
    return np.hstack([np.ones((len(X), 1)), X])


def predict(X: ArrayLike, theta: ArrayLike) -> Array:
    """Predict with a line: `ŷ = X̃ θ`, that is `ŷ_i = θ_0 + Σ_j x_ij θ_j`.

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
    """Mean squared error of the line, one number: `L(θ) = 1/n Σ_i (y_i - ŷ_i)²`."""
    y_hat = predict(X, theta)
    return mse(array("y", y, shape=y_hat.shape), y_hat)


def gradient(X: ArrayLike, y: ArrayLike, theta: ArrayLike) -> Array:
    """Gradient of the loss: `∇_θ L = X̃ᵀ ∂L/∂ŷ = 2/n X̃ᵀ (X̃ θ - y)`.

    Args:
        X: Examples (n, d).
        y: What is true of them (n,).
        theta: Intercept and slopes (1 + d,).

    Returns:
        The gradient (1 + d,).

    Raises:
        ValueError: If the shapes do not fit, as when `y` is (n, 1).
    """
    y_hat = predict(X, theta)
    return with_intercept(X).T @ mse_gradient(array("y", y, shape=y_hat.shape), y_hat)


def hessian(X: ArrayLike) -> Array:
    """Curvature of the loss, the same at every `θ`: `H = 2/n X̃ᵀ X̃`, (1 + d, 1 + d).

    Its eigenvalues `λ` say how gradient descent fares: a step multiplies the error along an
    eigenvector by `1 - α λ`. It converges for `α < 2 / λ_max`, along `λ_min` at last.
    """
    X = with_intercept(X)
    return 2 * X.T @ X / len(X)


def fit(X: ArrayLike, y: ArrayLike, *, alpha: float, steps: int) -> Array:
    """Learn the line by gradient descent from zero: `θ ← θ - α ∇_θ L(θ)`.

    Args:
        X: Examples (n, d).
        y: What is true of them (n,).
        alpha: Learning rate `α`, above 0.
        steps: Number of steps.

    Returns:
        The path of `θ`, (steps + 1, 1 + d): row `t` is after `t` steps.

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
    """The best line at once, where the gradient is zero: `θ = (X̃ᵀ X̃)⁻¹ X̃ᵀ y`.

    Args:
        X: Examples (n, d).
        y: What is true of them (n,).

    Returns:
        Intercept and slopes (1 + d,).

    Raises:
        ValueError: If the shapes do not fit, or if the columns of `X̃` depend on each other, so
            that many lines are equally good.
    """
    X = with_intercept(X)
    y = array("y", y, shape=(len(X),))
    try:
        return inverse(X.T @ X) @ (X.T @ y)
    except ValueError as error:
        raise ValueError(
            "X: expected examples that fix one line; got columns that depend on each other "
            "(as of points that all have one x)"
        ) from error
