"""A neuron, a dense layer and its backward pass: 000 §1.2 and §6.2, 003 §3.1, 004 §4.1.

The articles write one example as a column, `z = θ a + b`. Here examples are rows, `z = a W + b`
with `W = θᵀ`, so that the same line works for one example and for a batch.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.checks import Array, array


def neuron(
    x: ArrayLike, w: ArrayLike, b: float, f: Callable[[ArrayLike], Array] | None = None
) -> float:
    """Compute the output of one neuron: `y = f(Σ_i w_i x_i + b)`.

    000 §1.2 leaves `f` out. Without it, a network of any depth is a single linear map.

    Args:
        x: Inputs (n,).
        w: Weights (n,).
        b: Bias.
        f: Activation function; None to return the weighted input.

    Returns:
        The neuron's output.

    Raises:
        ValueError: If `x` and `w` differ in length.
    """
    x = array("x", x, shape=(None,))
    w = array("w", w, shape=x.shape)
    z = sum(w_i * x_i for w_i, x_i in zip(w, x, strict=True)) + b
    return float(z if f is None else f(z))


def dense(x: ArrayLike, W: ArrayLike, b: ArrayLike) -> Array:
    """Compute a dense layer: `z_nj = Σ_i x_ni W_ij + b_j`, in matrices `z = x W + b`.

    Args:
        x: Inputs (n, inputs), one example in each row.
        W: Weights (inputs, units), the transpose of the articles' `θ`.
        b: Biases (units,).

    Returns:
        Weighted inputs `z` (n, units), before the activation function.

    Raises:
        ValueError: If the shapes do not fit.
    """
    x = array("x", x, shape=(None, None))
    W = array("W", W, shape=(x.shape[1], None))
    b = array("b", b, shape=W.shape[1:])
    return x @ W + b


def dense_backward(delta: ArrayLike, x: ArrayLike, W: ArrayLike) -> tuple[Array, Array, Array]:
    """Propagate the gradient `δ = ∂L/∂z` through a dense layer.

    `∂L/∂x = δ Wᵀ`, `∂L/∂W = xᵀ δ`, `∂L/∂b = Σ_n δ_n`. `W` is the matrix of the forward pass. All
    examples share the bias, so its gradient is the sum over the examples.

    Args:
        delta: `∂L/∂z` (n, units).
        x: Inputs of the forward pass (n, inputs).
        W: Weights of the forward pass (inputs, units).

    Returns:
        Gradients of the loss by `x`, `W` and `b`, in the shapes of these arrays.

    Raises:
        ValueError: If the shapes do not fit.
    """
    x = array("x", x, shape=(None, None))
    W = array("W", W, shape=(x.shape[1], None))
    delta = array("delta", delta, shape=(len(x), W.shape[1]))
    return delta @ W.T, x.T @ delta, np.sum(delta, axis=0)
