"""The forward pass, backward pass and training of the case study's network in NumPy: 000 §8.2.

    x (28, 28, 1) → conv1 → z1 → ReLU → a1 (24, 24, 32) → pool1 (12, 12, 32)
                  → conv2 → z2 → ReLU → a2 (8, 8, 64) → pool2 (4, 4, 64) → flat (1024)
                  → dense → z3 → ReLU → a3 (128) → probabilities → z4 → softmax → a4 (10)

Weights are stored by layer, as in `{layer.name: layer.get_weights() for layer in model.layers}`
for the Keras model. Layers without weights are ignored.
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
"""Names of the layers that have weights, in the order of the forward pass."""

KERAS_ADAM: Step = partial(adam, alpha=0.001, epsilon=1e-7, epsilon_hat=True)
"""Adam with the settings of `model.compile(optimizer="adam")`."""

Weights = Mapping[str, Sequence[Any]]
Gradients = dict[str, tuple[Array, Array]]
States = dict[str, tuple[State, State]]


def forward(weights: Weights, x: ArrayLike) -> dict[str, Array]:
    """Run the network and return every intermediate array.

    Args:
        weights: `(W, b)` of each of `LAYERS`.
        x: Images (n, H, W, C) in [0, 1], of the size that the weights are made for.

    Returns:
        The arrays under the names in the module's docstring, from `x` to the probabilities `a4`
        (n, classes).

    Raises:
        ValueError: If a layer is missing or a shape does not fit.
    """
    _check_weights(weights)
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
    """Compute the mean cross-entropy of the images in nats: `L = -1/n Σ_i Σ_k y_ik ln a4_ik`."""
    return losses.softmax_cross_entropy(y, forward(weights, x)["z4"])


def backward(weights: Weights, arrays: Mapping[str, Array], y: ArrayLike) -> Gradients:
    """Compute the gradients of the loss by all weights: `propagate` from `δ4 = (a4 - y) / n`.

    Args:
        weights: The weights of the forward pass.
        arrays: The arrays that `forward` returned.
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
    """Propagate the gradient of any score `S` from the logits to the weights and to the image.

    Args:
        weights: The weights of the forward pass.
        arrays: The arrays that `forward` returned.
        delta4: `∂S/∂z4` (n, classes): `(a4 - y) / n` for the loss; one-hot for the logit of a
            class, and then the gradient by `x` is the gradient map of that class.

    Returns:
        The gradients by the weights, under the layers' names, and the gradients by the arrays,
        under the arrays' names. `a4` has none, because it comes after the logits.

    Raises:
        ValueError: If a layer is missing or a shape does not fit.
    """
    _check_weights(weights)
    a, d, gradients = arrays, {"z4": array("delta4", delta4)}, {}
    # A layer's first gradient, by its input, goes to the layer before; the rest is for its W and b.
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
    """Train on one batch: make one step down its gradient, by default with Adam (000 §6.4).

    Args:
        weights: `(W, b)` of each of `LAYERS`; not changed.
        states: The states that the last step returned; None before the first step.
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


def _check_weights(weights: Weights) -> None:
    for name in LAYERS:
        if len(weights.get(name, ())) != 2:
            raise ValueError(
                f"weights: expected (W, b) of the layers {', '.join(LAYERS)}; "
                f"got {name!r} with {len(weights.get(name, ()))} arrays"
            )
