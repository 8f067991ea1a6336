"""What maps must be, computed by plain calls of the owner's model; nothing here uses the package's.

`scores` is a function of images to `(N, classes)`, in eager TensorFlow, images are as the model
takes them, and `low` is what the model gets for black.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.zoo.specimen import Range, Scores

_SMOOTH_OPERATIONS = {"Elu", "Erf", "Erfc", "LeakyRelu", "Selu", "Sigmoid", "Softplus", "Tanh"}


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
    """Return `ReLU(Σ_k mean(∂S_c/∂A_k) A_k)` of a layer, stretched over the image."""
    x = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape, _recorded(layer) as outputs:
        tape.watch(x)
        s = target_scores(scores, x, targets)
    a = outputs[-1]
    slope = tf.cast(tape.gradient(s, a), tf.float32)
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


def layer_named(model: keras.Model, name: str) -> keras.Layer | None:
    """Return the inner layer that the package calls `outer/inner` or `name:2`; None if unknown."""
    last = name.split("/")[-1].split(":")[0]
    layers = model._flatten_layers(include_self=False, recursive=True)
    found = [layer for layer in layers if layer.name == last]
    return found[0] if len(found) == 1 else None


@tf.RegisterGradient("ZooGuided")
def _guided(operation: tf.Operation, g: tf.Tensor) -> tf.Tensor:
    return tf.where(operation.outputs[0] > 0, tf.nn.relu(g), 0.0)


@tf.RegisterGradient("ZooDeconvnet")
def _deconvnet(_: tf.Operation, g: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(g)


def rectified(
    scores: Scores, images: np.ndarray, targets: np.ndarray, rule: str
) -> np.ndarray | None:
    """Return the gradient with TensorFlow's own gradient of ReLU replaced.

    Args:
        scores: The scores.
        images: The images.
        targets: The classes.
        rule: `"ZooGuided"` or `"ZooDeconvnet"`.

    Returns:
        `(N, H, W, C)`; None where the network has other activations than ReLU.
    """
    kinds: set[str] = set()

    @tf.function(autograph=False, reduce_retracing=True)
    def run(x: tf.Tensor) -> tf.Tensor:
        graph = tf.compat.v1.get_default_graph()
        with graph.gradient_override_map({"Relu": rule}):
            s = target_scores(scores, x, targets)
        kinds.update(operation.type for operation in graph.get_operations())
        return tf.compat.v1.gradients(s, x)[0]

    found = run(tf.constant(images, tf.float32))
    if "Relu" not in kinds or kinds & (_SMOOTH_OPERATIONS | {"Relu6"}):
        return None
    return found.numpy()
