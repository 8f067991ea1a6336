"""Feature inversion: another image for which a layer has almost the same outputs."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from mnist_xai.interpret.core.graph import UnsupportedLayerError
from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import (
    check_at_least,
    check_counts,
    check_seed,
    check_shares,
)
from mnist_xai.interpret.core.passes import NUMBER, Pass
from mnist_xai.interpret.inspect.maximization import Progress


def feature_inversion(
    model: keras.Model | Network,
    images: ArrayLike,
    layer: str,
    *,
    steps: int = 400,
    learning_rate: float = 0.05,
    norm: float = 1e-4,
    total_variation: float = 1e-3,
    alpha: float = 6.0,
    noise: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Array, Array]:
    """Find images for which a layer has the same outputs as for the given ones.

    `argmin_x ‖Φ(x) - Φ0‖² / ‖Φ0‖² + λ_α ‖x‖_α^α + λ_TV Σ_yx |∇x|²`, with `Φ` the layer's output
    and `Φ0` its output for the given image. The image starts as noise. Adam minimises with a
    learning rate that falls along a quarter of a cosine; each step ends with clipping to [0, 1].

    Args:
        model: A Keras classifier of images of one size, or a `Network` made of it.
        images: `(N, H, W, C)`, as the model takes them.
        layer: Name of the layer, `outer/inner` in a nested model.
        steps: Number of steps.
        learning_rate: Adam's first learning rate, in units of a pixel from black to white.
        norm: `λ_α`, the weight of the norm.
        total_variation: `λ_TV`, the weight of the squared differences of neighbours.
        alpha: `α`, at least 1.
        noise: Brightest pixel of the uniform noise at the start, in (0, 1].
        seed: Seed of the noise, which is the same for every image.
        progress: Called after each step with the number of finished steps and of all steps.

    Returns:
        The images found, float32 `(N, H, W, C)` in the model's range, and the relative distance of
        the layer's outputs for them from those for the given ones: `‖Φ(x) - Φ0‖ / ‖Φ0‖`, `(N,)`.

    Raises:
        TypeError, ValueError: For arguments out of shape, type or range, a model that takes
            images of any size, or an image for which all outputs of the layer are zero.
        UnsupportedLayerError: When no gradient reaches the image from the layer.

    Source: Mahendran and Vedaldi 2015, section 3, with Adam in place of momentum.
    """
    check_counts(steps=steps)
    check_at_least(0, learning_rate=learning_rate, norm=norm, total_variation=total_variation)
    check_at_least(1, alpha=alpha)
    check_shares(noise=noise)
    check_seed(seed)
    network = Network.of(model)
    network.check_layer(layer)
    shape = network.inputs.fixed_shape()
    images = network.inputs.check_images(images)
    features = network.activations_at(images, [layer])[layer]
    _check_not_all_zero(features, layer)
    image = network.runner.image_spec
    features_spec = tf.TensorSpec([None, *features.shape[1:]])
    step = network.passes.get(
        _descent, layer, signature=(image, image, image, features_spec, *[NUMBER] * 5)
    )
    start = np.random.default_rng(seed).random(shape, np.float32) * np.float32(noise)
    rates = learning_rate * np.cos(np.linspace(0, np.pi / 2, steps, endpoint=False))
    chunks, found = network.chunks(len(images)), []
    for chunk, rows in enumerate(chunks):
        wanted = features[rows]
        x = tf.constant(np.broadcast_to(start, (len(wanted), *shape)))
        m = v = tf.zeros_like(x)
        for k, rate in enumerate(rates):
            x, m, v = step(x, m, v, wanted, k + 1, rate, norm, total_variation, alpha)
            if progress:
                progress(chunk * steps + k + 1, len(chunks) * steps)
        found.append(x.numpy())
    inverted = np.concatenate(found)
    distances = _distances(network.activations_at(inverted, [layer])[layer], features)
    return network.pixels.to_model(inverted), distances


def _descent(network: Network, layer: str) -> Pass:
    """Build the pass that takes one step of Adam and clips to [0, 1]."""

    def step(
        x: tf.Tensor,
        m: tf.Tensor,
        v: tf.Tensor,
        wanted: tf.Tensor,
        count: tf.Tensor,
        rate: tf.Tensor,
        norm: tf.Tensor,
        total_variation: tf.Tensor,
        alpha: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            phi = tf.cast(network.runner.run(x)[0][layer].output, tf.float32)
            axes = range(1, len(phi.shape))
            size = tf.reduce_sum(wanted**2, axis=axes)
            distance = tf.reduce_sum((phi - wanted) ** 2, axis=axes) / size
        slope = tape.gradient(distance, x)
        if slope is None:
            raise UnsupportedLayerError(
                f"{layer}: no gradient reaches the image from it; it, or a layer before it, is "
                "not differentiable"
            )
        # At x = 0 the tape's gradient of x^alpha would be NaN for alpha = 1.
        slope += norm * alpha * x ** (alpha - 1) + total_variation * _tv_slope(x)
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        change = (m / (1 - 0.9**count)) / (tf.sqrt(v / (1 - 0.999**count)) + 1e-8)
        return tf.clip_by_value(x - rate * change, 0.0, 1.0), m, v

    return step


def _tv_slope(x: tf.Tensor) -> tf.Tensor:
    """Return the gradient of the sum of squared differences of neighbours, `2 ∇ᵀ∇ x`."""
    down, right = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    vertical = tf.pad(down, [[0, 0], [1, 0], [0, 0], [0, 0]]) - tf.pad(
        down, [[0, 0], [0, 1], [0, 0], [0, 0]]
    )
    horizontal = tf.pad(right, [[0, 0], [0, 0], [1, 0], [0, 0]]) - tf.pad(
        right, [[0, 0], [0, 0], [0, 1], [0, 0]]
    )
    return 2 * (vertical + horizontal)


def _check_not_all_zero(features: Array, layer: str) -> None:
    silent = np.flatnonzero(~features.reshape(len(features), -1).any(axis=1))
    if len(silent):
        raise ValueError(
            f"images: expected outputs of {layer!r} that are not all zero; those of image "
            f"{silent[0]} are, and any dark image would do"
        )


def _distances(found: Array, wanted: Array) -> Array:
    """Return `‖Φ(x) - Φ0‖ / ‖Φ0‖`, `(N,)`."""
    rows = (len(wanted), -1)
    return np.linalg.norm((found - wanted).reshape(rows), axis=1) / np.linalg.norm(
        wanted.reshape(rows), axis=1
    )
