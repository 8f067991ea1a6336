"""The case study's network in NumPy, line by line, and its training: 000 §8.2.

    x (28, 28, 1) → conv1 → z1 → ReLU → a1 (24, 24, 32) → pool1 (12, 12, 32)
                  → conv2 → z2 → ReLU → a2 (8, 8, 64) → pool2 (4, 4, 64) → flat (1024)
                  → dense → z3 → ReLU → a3 (128) → probabilities → z4 → softmax → a4 (10)

Weights are kept by layer, as `{layer.name: layer.get_weights() for layer in model.layers}` of
the Keras model gives them; layers without weights are passed over.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from mnist_xai.foundations import losses
from mnist_xai.foundations.activations import relu, relu_derivative, softmax
from mnist_xai.foundations.checks import Array, array
from mnist_xai.foundations.convolution import (
    conv2d,
    conv2d_backward,
    flatten,
    flatten_backward,
    max_pool,
    max_pool_backward,
)
from mnist_xai.foundations.dense import dense, dense_backward
from mnist_xai.foundations.optimisers import State, Step, adam

LAYERS = ("conv1", "conv2", "dense", "probabilities")
"""The layers that have weights, in the order of the forward pass."""

KERAS_ADAM: Step = partial(adam, alpha=0.001, epsilon=1e-7, epsilon_hat=True)
"""Adam as `model.compile(optimizer="adam")` sets it."""

Weights = Mapping[str, Sequence[Any]]
Gradients = dict[str, tuple[Array, Array]]
States = dict[str, tuple[State, State]]


def forward(weights: Weights, x: ArrayLike) -> dict[str, Array]:
    """Run the network and keep every array on the way.

    Args:
        weights: `(W, b)` of each of `LAYERS`.
        x: Images (n, H, W, C) in [0, 1], of the size that the weights are for.

    Returns:
        The arrays by the names above, from `x` to the probabilities `a4` (n, classes).

    Raises:
        ValueError: If a layer is missing or a shape does not fit.
    """
    _check(weights)
    arrays = {"x": array("x", x)}
    arrays["z1"] = conv2d(arrays["x"], *weights["conv1"])
    arrays["a1"] = relu(arrays["z1"])
    arrays["pool1"] = max_pool(arrays["a1"])
    arrays["z2"] = conv2d(arrays["pool1"], *weights["conv2"])
    arrays["a2"] = relu(arrays["z2"])
    arrays["pool2"] = max_pool(arrays["a2"])
    arrays["flat"] = flatten(arrays["pool2"])
    arrays["z3"] = dense(arrays["flat"], *weights["dense"])
    arrays["a3"] = relu(arrays["z3"])
    arrays["z4"] = dense(arrays["a3"], *weights["probabilities"])
    arrays["a4"] = softmax(arrays["z4"])
    return arrays


def loss(weights: Weights, x: ArrayLike, y: ArrayLike) -> float:
    """Cross-entropy in nats, the mean over images: `L = -1/n Σ_i Σ_k y_ik ln a4_ik`."""
    return losses.softmax_cross_entropy(y, forward(weights, x)["z4"])


def backward(weights: Weights, arrays: Mapping[str, Array], y: ArrayLike) -> Gradients:
    """Gradients of the loss by all weights: `propagate` from `δ4 = (a4 - y) / n`.

    Args:
        weights: The weights of the forward pass.
        arrays: What `forward` returned.
        y: True distributions (n, classes), often one-hot.

    Returns:
        `(∂L/∂W, ∂L/∂b)` of each layer, under its name.

    Raises:
        ValueError: If a layer is missing or a shape does not fit.
    """
    delta4 = losses.softmax_cross_entropy_gradient(y, arrays["z4"])
    return propagate(weights, arrays, delta4)[0]


def propagate(
    weights: Weights, arrays: Mapping[str, Array], delta4: ArrayLike
) -> tuple[Gradients, dict[str, Array]]:
    """Carry the gradient of any score `S` from the logits to the weights and to the image.

    Args:
        weights: The weights of the forward pass.
        arrays: What `forward` returned.
        delta4: `∂S/∂z4` (n, classes): `(a4 - y) / n` for the loss; one-hot for a class's
            logit, and then the gradient by `x` is its gradient map.

    Returns:
        The gradients by the weights, under the layers' names, and those by the arrays (but
        `a4`, which comes after the logits), under the arrays' names.

    Raises:
        ValueError: If a layer is missing or a shape does not fit.
    """
    _check(weights)
    a, d, gradients = arrays, {"z4": array("delta4", delta4)}, {}
    # Each layer's first gradient is handed on, the other two are those of its W and b.
    d["a3"], *gradients["probabilities"] = dense_backward(
        d["z4"], a["a3"], weights["probabilities"][0]
    )
    d["z3"] = d["a3"] * relu_derivative(a["z3"])
    d["flat"], *gradients["dense"] = dense_backward(d["z3"], a["flat"], weights["dense"][0])
    d["pool2"] = flatten_backward(d["flat"], a["pool2"])
    d["a2"] = max_pool_backward(d["pool2"], a["a2"])
    d["z2"] = d["a2"] * relu_derivative(a["z2"])
    d["pool1"], *gradients["conv2"] = conv2d_backward(d["z2"], a["pool1"], weights["conv2"][0])
    d["a1"] = max_pool_backward(d["pool1"], a["a1"])
    d["z1"] = d["a1"] * relu_derivative(a["z1"])
    d["x"], *gradients["conv1"] = conv2d_backward(d["z1"], a["x"], weights["conv1"][0])
    return {name: (gradients[name][0], gradients[name][1]) for name in LAYERS}, d


def train_step(
    weights: Weights,
    states: States | None,
    x: ArrayLike,
    y: ArrayLike,
    *,
    step: Step = KERAS_ADAM,
) -> tuple[Gradients, States, float]:
    """Make one step down the gradient of a batch: 000 §6.4, by default with Adam.

    Args:
        weights: `(W, b)` of each of `LAYERS`; they stay as they are.
        states: What the last step returned, None before the first.
        x: Images (n, H, W, C) in [0, 1].
        y: True distributions (n, classes).
        step: One of the rules of `optimisers`.

    Returns:
        New weights, new states, and the loss before the step.

    Raises:
        ValueError: If a layer is missing or a shape does not fit.
    """
    arrays = forward(weights, x)
    gradients = backward(weights, arrays, y)
    states = states or dict.fromkeys(LAYERS, ((), ()))
    new_weights, new_states = {}, {}
    for name in LAYERS:
        (W, b), (W_gradient, b_gradient) = weights[name], gradients[name]
        W, W_state = step(W, W_gradient, states[name][0])
        b, b_state = step(b, b_gradient, states[name][1])
        new_weights[name], new_states[name] = (W, b), (W_state, b_state)
    return new_weights, new_states, losses.softmax_cross_entropy(y, arrays["z4"])


def _check(weights: Weights) -> None:
    for name in LAYERS:
        if len(weights.get(name, ())) != 2:
            raise ValueError(
                f"weights: expected (W, b) of the layers {', '.join(LAYERS)}; "
                f"got {name!r} with {len(weights.get(name, ()))} arrays"
            )
