"""What maps must be, computed by plain calls of the owner's model; nothing here uses the package's.

`scores` is a function of images to `(N, classes)`, in eager TensorFlow, images are as the model
takes them, and `low` is what the model gets for black.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.zoo.specimen import Range, Scores


def target_scores(scores: Scores, images: Any, targets: np.ndarray) -> tf.Tensor:
    """Return `S_c(x)`, `(N,)`."""
    return tf.gather(tf.cast(scores(images), tf.float32), targets, batch_dims=1)


def gradient(scores: Scores, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return `∂S_c/∂x` by a tape."""
    x = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        s = target_scores(scores, x, targets)
    return tape.gradient(s, x).numpy()


def integrated_gradients(
    scores: Scores, images: np.ndarray, targets: np.ndarray, low: Range, steps: int
) -> np.ndarray:
    """Return `(x - x') ⊙ Σ_k w_k ∂S_c/∂x(x' + t_k (x - x'))` with Gauss-Legendre nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    move = images - black(images, low)
    mean = sum(
        weight / 2 * gradient(scores, images - (1 - (node + 1) / 2) * move, targets)
        for node, weight in zip(nodes, weights, strict=True)
    )
    return move * mean


def black(images: np.ndarray, low: Range) -> np.ndarray:
    """Return a black image for each image."""
    return np.broadcast_to(np.asarray(low, np.float32), images.shape)


def difference_from_black(
    scores: Scores, images: np.ndarray, targets: np.ndarray, low: Range
) -> np.ndarray:
    """Return `S_c(x) - S_c(x')`, `(N,)`."""
    without_image = black(images, low).astype(images.dtype)
    whole, none = (target_scores(scores, x, targets).numpy() for x in (images, without_image))
    return whole - none


def feature_ablation(
    scores: Scores, images: np.ndarray, targets: np.ndarray, low: Range, cells: int
) -> np.ndarray:
    """Return `S_c(x) - S_c(x without the cell)` at each place of each cell of a grid."""
    whole = target_scores(scores, images, targets).numpy()
    rows, columns = (np.arange(side) * cells // side for side in images.shape[1:3])
    maps = np.zeros(images.shape[:3], np.float32)
    for i in range(cells):
        for j in range(cells):
            cell = (rows[:, None] == i) & (columns == j)
            changed = images.copy()
            changed[:, cell] = np.asarray(low, np.float32).astype(images.dtype)
            fallen = whole - target_scores(scores, changed, targets).numpy()
            maps[:, cell] = fallen[:, None]
    return maps if images.ndim == 3 else maps[..., None]


def gradcam(
    scores: Scores, images: np.ndarray, targets: np.ndarray, layer: keras.Layer
) -> np.ndarray:
    """Return `ReLU(Σ_k mean(∂S_c/∂A_k) A_k)` of a layer, stretched over the image.

    Tokens `(N, t, K)`, without a class token, are folded to a square.
    """
    x = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape, _recorded(layer) as outputs:
        tape.watch(x)
        s = target_scores(scores, x, targets)
    a = outputs[-1]
    slope = tf.cast(tape.gradient(s, a), tf.float32)
    if len(a.shape) == 3:
        side = round(a.shape[1] ** 0.5)
        slope, a = (tf.reshape(x, (-1, side, side, x.shape[-1])) for x in (slope, a))
    weights = tf.reduce_mean(slope, axis=(1, 2), keepdims=True)
    found = tf.nn.relu(tf.reduce_sum(weights * tf.cast(a, tf.float32), -1, keepdims=True))
    stretched = tf.image.resize(found, images.shape[1:3]).numpy()
    return stretched if images.ndim == 4 else stretched[..., 0]


@contextmanager
def _recorded(layer: keras.Layer) -> Iterator[list[tf.Tensor]]:
    """Record the layer's outputs during eager calls."""
    outputs: list[tf.Tensor] = []
    call = layer.call

    def recording(*args: Any, **kwargs: Any) -> Any:
        outputs.append(call(*args, **kwargs))
        return outputs[-1]

    object.__setattr__(layer, "call", recording)
    try:
        yield outputs
    finally:
        object.__delattr__(layer, "call")


def layer_named(model: Any, name: str) -> keras.Layer | None:
    """Return the inner layer that the package calls `outer/inner` or `name:2`; None if unknown."""
    if not isinstance(model, keras.Model):
        return None
    last = name.split("/")[-1].split(":")[0]
    layers = model._flatten_layers(include_self=False, recursive=True)
    found = [layer for layer in layers if layer.name == last]
    return found[0] if len(found) == 1 else None


def rectified(
    scores: Scores, images: np.ndarray, targets: np.ndarray, rule: str
) -> np.ndarray | None:
    """Return the gradient with another rule at each activation, put into Keras's own functions.

    Args:
        scores: The scores.
        images: The images.
        targets: The classes.
        rule: `"guided_backprop"`, `g ↦ max(f'(z), 0) max(g, 0)`, or `"deconvnet"`, `max(g, 0)`.

    Returns:
        `(N, H, W, C)`; None where the network has no activation.
    """
    with _rule_at_activations(rule) as met:
        found = gradient(scores, images, targets)
    return found if met else None


@contextmanager
def _rule_at_activations(rule: str) -> Iterator[list[str]]:
    """Replace the derivatives of Keras's activations, and list the ones that are called."""
    met: list[str] = []
    backend = keras.src.backend.nn
    own = {name: getattr(backend, name) for name in _ACTIVATIONS}
    inside = [False]  # An activation may call another one, which is no step of its own.

    def replaced(name: str) -> Callable[..., tf.Tensor]:
        def activation(x: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
            if inside[0]:
                return own[name](x, *args, **kwargs)
            met.append(name)
            return _with_rule(lambda z: own[name](z, *args, **kwargs), x)

        return activation

    def _with_rule(function: Scores, x: Any) -> tf.Tensor:
        @tf.custom_gradient
        def run(z: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            inside[0] = True
            with tf.GradientTape() as tape:
                tape.watch(z)
                a = function(z)
            inside[0] = False
            slope = tf.ones_like(z) if rule == "deconvnet" else tape.gradient(a, z)
            return a, lambda g: tf.nn.relu(slope) * tf.nn.relu(g)

        return run(tf.convert_to_tensor(x))

    for name in own:
        setattr(backend, name, replaced(name))
    try:
        yield met
    finally:
        for name, function in own.items():
            setattr(backend, name, function)


_ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh",
    "hard_sigmoid", "hard_silu",
)  # fmt: skip
