"""A network of two dense layers with its gradients and its training: 000 §6, 003 §3 and §4.

`z1 = x W1 + b1`, `a1 = σ(z1)`, `z2 = a1 W2 + b2`, `a2 = σ(z2)`, and the loss is

    L = MSE(y, a2) + λ Σ w²    over the weights of both layers, not over their biases.

Weights are stored by layer, `{"hidden": (W1, b1), "output": (W2, b2)}`, the arrays of a forward
pass under the names above.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations import losses
from mnist_xai.foundations.activations import sigmoid, sigmoid_derivative
from mnist_xai.foundations.checks import Array, array, within
from mnist_xai.foundations.dense import dense, dense_backward
from mnist_xai.foundations.optimisers import gradient_descent

Weights = Mapping[str, tuple[Any, Any]]
Gradients = dict[str, tuple[Array, Array]]


def initialise(inputs: int, hidden: int, outputs: int, *, seed: int = 0) -> Gradients:
    """Draw weights from the standard normal distribution, as 003 does; set biases to zero.

    If all weights were equal, all hidden units would stay equal during training.

    Args:
        inputs: Number of inputs, at least 1.
        hidden: Number of hidden units, at least 1.
        outputs: Number of outputs, at least 1.
        seed: Seed of the random weights.

    Returns:
        `(W, b)` of the layers `hidden` and `output`.

    Raises:
        ValueError: If a layer would have no unit.
    """
    for name, units in [("inputs", inputs), ("hidden", hidden), ("outputs", outputs)]:
        within(name, units, 1)
    rng = np.random.default_rng(seed)
    return {
        "hidden": (rng.standard_normal((inputs, hidden)), np.zeros(hidden)),
        "output": (rng.standard_normal((hidden, outputs)), np.zeros(outputs)),
    }


def forward(weights: Weights, x: ArrayLike) -> dict[str, Array]:
    """Run the network and return every intermediate array; `backward` needs them.

    Args:
        weights: `(W, b)` of the layers `hidden` and `output`.
        x: Examples (n, inputs).

    Returns:
        `x`, `z1`, `a1`, `z2` and the prediction `a2` (n, outputs).

    Raises:
        ValueError: If the shapes do not fit.
    """
    x = array("x", x)
    z1 = dense(x, *weights["hidden"])
    a1 = sigmoid(z1)
    z2 = dense(a1, *weights["output"])
    a2 = sigmoid(z2)
    return {"x": x, "z1": z1, "a1": a1, "z2": z2, "a2": a2}


def loss(weights: Weights, x: ArrayLike, y: ArrayLike, lam: float = 0.0) -> float:
    """Compute the loss that training minimises: `L = MSE(y, a2) + λ (Σ W1² + Σ W2²)`."""
    penalty = sum(losses.l2_penalty(W, lam) for W, _ in weights.values())
    return losses.mse(y, forward(weights, x)["a2"]) + penalty


def backward(
    weights: Weights, arrays: Mapping[str, Array], y: ArrayLike, lam: float = 0.0
) -> Gradients:
    """Compute all gradients, with `δ_l = ∂L/∂z_l` and N the number of entries of `y`.

    `δ2 = 2/N (a2 - y) ⊙ σ'(z2)`, `δ1 = (δ2 W2ᵀ) ⊙ σ'(z1)`, `∂L/∂W_l = a_(l-1)ᵀ δ_l + 2λ W_l`,
    `∂L/∂b_l = Σ_n δ_l`. No weight changes before all gradients are known, because `δ1` needs the
    `W2` of the forward pass.

    Args:
        weights: The weights of the forward pass.
        arrays: The arrays that `forward` returned.
        y: True values (n, outputs).
        lam: `λ`, at least 0.

    Returns:
        The gradient of each weight and bias, under its layer's name.

    Raises:
        ValueError: If the shapes do not fit or `λ` is negative.
    """
    (W1, _), (W2, _) = weights["hidden"], weights["output"]
    delta2 = losses.mse_gradient(y, arrays["a2"]) * sigmoid_derivative(arrays["z2"])
    a1_gradient, W2_gradient, b2_gradient = dense_backward(delta2, arrays["a1"], W2)
    delta1 = a1_gradient * sigmoid_derivative(arrays["z1"])
    _, W1_gradient, b1_gradient = dense_backward(delta1, arrays["x"], W1)
    return {
        "hidden": (W1_gradient + losses.l2_penalty_gradient(W1, lam), b1_gradient),
        "output": (W2_gradient + losses.l2_penalty_gradient(W2, lam), b2_gradient),
    }


def train(
    weights: Weights,
    x: ArrayLike,
    y: ArrayLike,
    *,
    eta: float = 1.0,
    lam: float = 0.0,
    epochs: int = 1000,
) -> tuple[Gradients, list[float]]:
    """Train by gradient descent on all examples at once: `w ← w - η ∂L/∂w`, also for biases.

    The function does not change the given weights. It returns the trained ones; 003 forgets that.

    Args:
        weights: The initial weights.
        x: Examples (n, inputs).
        y: True values (n, outputs).
        eta: Learning rate `η`, above 0.
        lam: `λ`, at least 0.
        epochs: Number of steps, at least 0.

    Returns:
        The trained weights, and the loss before each step and after the last.

    Raises:
        ValueError: If the shapes do not fit or a number is out of its range.
    """
    within("epochs", epochs, 0)
    theta = {name: (array("W", W), array("b", b)) for name, (W, b) in weights.items()}
    history = [loss(theta, x, y, lam)]
    for _ in range(epochs):
        gradients = backward(theta, forward(theta, x), y, lam)
        theta = {
            name: (
                gradient_descent(W, gradients[name][0], alpha=eta)[0],
                gradient_descent(b, gradients[name][1], alpha=eta)[0],
            )
            for name, (W, b) in theta.items()
        }
        history.append(loss(theta, x, y, lam))
    return theta, history
