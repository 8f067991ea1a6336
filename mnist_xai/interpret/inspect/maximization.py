"""Activation maximisation: images that excite a unit of the network."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.graph import (
    Call,
    UnsupportedLayerError,
    last_activation,
    without_activation,
)
from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import (
    check_at_least,
    check_counts,
    check_seed,
    check_shares,
)
from mnist_xai.interpret.core.passes import INDICES, Pass
from mnist_xai.interpret.inspect.neurons import flat_index

Progress = Callable[[int, int], None]

_LEAK = 0.1  # Slope below zero of the ReLU of a unit that is maximised.


def activation_maximization(
    model: keras.Model | Network,
    targets: int | Sequence[int] | None = None,
    *,
    layer: str | None = None,
    channel: int | Sequence[int] | None = None,
    neuron: Sequence[int] | Sequence[Sequence[int]] | None = None,
    steps: int = 512,
    learning_rate: float = 0.05,
    total_variation: float = 0.1,
    brightness: float = 0.2,
    jitter: int = 4,
    noise: float = 0.5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Array:
    """Make images that excite a unit: `argmax_x f(x) / s - λ_TV TV(x) - λ_b Σ x`.

    `f` is a class's logit, the mean of one channel of a layer over its positions, or one neuron
    of a layer; name exactly one of them. A ReLU at the end of this layer becomes a leaky ReLU of
    slope 0.1, because a closed ReLU has no gradient to start from. `s` is the typical slope at the
    start, `Σ g² / Σ |g|` with `g = ∂f/∂x`, so that the weights `λ` suit units of every size. Adam
    maximises, and each step ends with clipping to [0, 1]. In each step the network sees the image
    shifted by some random pixels, so that the result does not depend on single pixels.
    tf-keras-vis runs the optimisation.

    Args:
        model: A Keras classifier of images of one size, or a `Network` made of it.
        targets: A class, or several: an image for each.
        layer: Name of the layer of `channel` or `neuron`, `outer/inner` in a nested model.
        channel: A channel of the layer's last axis, or several: an image for each.
        neuron: An index `(y, x, k)` or `(unit,)` into the layer's output, or several.
        steps: Number of steps.
        learning_rate: Adam's learning rate, in units of a pixel from black to white.
        total_variation: `λ_TV`, the weight of a step from black to white between neighbours.
        brightness: `λ_b`, the weight of a white pixel.
        jitter: Largest random shift, in pixels.
        noise: Brightest pixel of the uniform noise at the start, in (0, 1].
        seed: Seed of the noise and of the shifts. A unit named several times gets another start
            each time; otherwise an image does not depend on the other units.
        progress: Called after each step with the number of finished steps and of all steps.

    Returns:
        float32 `(units, H, W, C)` in the model's range. Where layers before a unit stay closed, it
        has no gradient, and its image ends black.

    Raises:
        TypeError, ValueError: For arguments out of shape, type or range, or a model that takes
            images of any size.
        UnsupportedLayerError: When no gradient reaches the image.

    Source: Erhan, Bengio, Courville, Vincent 2009, section 3.1; Simonyan, Vedaldi, Zisserman
    2013, section 2; the random shifts are those of Mordvintsev, Olah, Tyka 2015.
    """
    check_counts(steps=steps)
    check_counts(0, jitter=jitter)
    check_at_least(
        0, learning_rate=learning_rate, total_variation=total_variation, brightness=brightness
    )
    check_shares(noise=noise)
    check_seed(seed)
    network = Network.of(model)
    shape = network.inputs.fixed_shape()
    kind, units = _objective(network, targets, layer, channel, neuron)
    ascent = network.passes.get(
        _ascent,
        *(layer, kind),
        signature=(network.runner.image_spec, INDICES, tf.TensorSpec([2], tf.int32)),
    )
    made = []
    starts = _noise(units, shape, seed) * np.float32(noise)
    shifts = np.random.default_rng([seed, 0]).integers(-jitter, jitter + 1, (steps, 2), np.int32)
    chunks = network.chunks(len(units))
    for chunk, rows in enumerate(chunks):
        score = _score_model(ascent, starts[rows], units[rows], shifts)
        made.append(
            _climb(
                score,
                starts[rows],
                steps=steps,
                learning_rate=learning_rate,
                total_variation=total_variation,
                brightness=brightness,
                progress=progress and _counted(progress, chunk * steps, len(chunks) * steps),
            )
        )
    return network.pixels.to_model(np.concatenate(made))


def _climb(
    score: keras.Model,
    starts: Array,
    *,
    steps: int,
    learning_rate: float,
    total_variation: float,
    brightness: float,
    progress: Callable[[int], None] | None,
) -> Array:
    # Imported here, because it takes a second; it warns of its own modules when first imported.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from tf_keras_vis.activation_maximization import ActivationMaximization
        from tf_keras_vis.activation_maximization.callbacks import Callback
        from tf_keras_vis.activation_maximization.regularizers import Regularizer, TotalVariation2D

    class Report(Callback):
        def __call__(self, i: int, *args: Any, **kwargs: Any) -> None:
            if progress:
                progress(i + 1)

    class Brightness(Regularizer):
        # Not tf-keras-vis's L1 norm, whose slope is zero at black: black pixels would flicker.
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            return brightness * tf.reduce_sum(images, axis=[1, 2, 3])

    made = ActivationMaximization(score, clone=False)(
        lambda scores: scores,
        seed_input=tf.constant(starts),
        input_range=(0.0, 1.0),
        # It clips only the result; without this the images would leave [0, 1] on the way.
        input_modifiers=[lambda images: tf.clip_by_value(images, 0.0, 1.0)],
        regularizers=[
            # It divides by the number of pixels.
            TotalVariation2D(weight=total_variation * starts[0].size),
            Brightness(name="brightness"),
        ],
        steps=steps,
        optimizer=keras.optimizers.Adam(learning_rate, name="adam"),
        callbacks=[Report()],
    )
    return np.asarray(made, np.float32)


class _Score(keras.layers.Layer):
    """A function of images as a layer that hides the function's weights and layers from Keras."""

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        super().__init__(name="score", dtype="float32")
        self.function = function

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.function(images)

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        # Given, so that Keras does not call the user's layers to find out.
        return keras.KerasTensor((images.shape[0],), "float32", name="scores")


def _score_model(
    ascent: Any, starts: Array, units: NDArray[np.int32], shifts: NDArray[np.int32]
) -> keras.Model:
    """Return a functional model of one layer that scores images, for tf-keras-vis.

    tf-keras-vis needs attributes that Sequential, nested and reloaded models do not have. This
    model has them, and the user's model stays as it is.
    """
    _, slopes = ascent(starts, units, np.zeros(2, np.int32))
    size = tf.reduce_sum(tf.abs(slopes), axis=[1, 2, 3])
    scale = tf.math.divide_no_nan(size, tf.reduce_sum(slopes**2, axis=[1, 2, 3]))
    remaining: Iterator[NDArray[np.int32]] = iter(shifts)

    def score(images: tf.Tensor) -> tf.Tensor:
        fixed = tf.stop_gradient(images)
        scores, slopes = ascent(fixed, units, next(remaining))
        # The gradient is known, so return a linear function with this value and this gradient.
        return scale * (scores + tf.reduce_sum(slopes * (images - fixed), axis=[1, 2, 3]))

    # Give every name, because Keras would count the names it makes and rename the user's layers.
    image = keras.Input(starts.shape[1:], name="image", dtype="float32")
    model = keras.Model([image], _Score(score)(image), name="score_of_images")
    # Under a global float16 policy Keras would divide the gradients by a loss scale.
    model.layers[0].dtype_policy = "float32"
    return model


def _ascent(network: Network, layer: str | None, kind: str) -> Pass:
    """Build the pass that returns the scores of shifted images and their gradients."""

    def values(x: tf.Tensor) -> tf.Tensor:
        if layer is None:
            return network.runner.logits(x)
        output = tf.cast(_with_leaky_relu(network.runner.run(x)[0][layer]), tf.float32)
        if kind == "channel":
            return tf.reduce_mean(output, axis=range(1, len(output.shape) - 1))
        return tf.reshape(output, [tf.shape(x)[0], -1])

    def ascent(x: tf.Tensor, units: tf.Tensor, shift: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            moved = tf.roll(x, shift, axis=[1, 2])
            scores = tf.gather(values(moved), units, batch_dims=1)
        slopes = tape.gradient(scores, x)
        if slopes is None:
            raise UnsupportedLayerError(
                f"{layer or network.model.name}: no gradient reaches the image from it; it, or a "
                "layer before it, is not differentiable"
            )
        return scores, slopes

    return ascent


def _with_leaky_relu(call: Call) -> tf.Tensor:
    """Return a layer's output with a leaky ReLU for its own: a closed ReLU has no gradient."""
    if last_activation(call.layer) is not keras.activations.relu:
        return call.output
    return tf.nn.leaky_relu(without_activation(call.layer)(*call.args, **call.kwargs), _LEAK)


def _objective(
    network: Network, targets: Any, layer: str | None, channel: Any, neuron: Any
) -> tuple[str, NDArray[np.int32]]:
    """Return which of class, channel and neuron is named, and its index for each image."""
    given = {"targets": targets, "channel": channel, "neuron": neuron}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError(f"expected one of targets, channel, neuron; got {named or 'none'}")
    if (named == ["targets"]) != (layer is None):
        raise ValueError("layer: expected with channel or neuron, and not with targets")
    if layer is None:
        classes = np.atleast_1d(targets)
        return "class", network.inputs.check_targets(classes, max(len(classes), 1))
    network.check_layer(layer)
    shape = network.layer_shapes[layer]
    if channel is not None:
        channels = np.atleast_1d(channel)
        if channels.ndim != 1 or not len(channels) or channels.dtype.kind not in "iu":
            raise TypeError(f"channel: expected an integer or several; got {channel!r}")
        if not shape or channels.min() < 0 or channels.max() >= shape[-1]:
            raise ValueError(
                f"channel: expected from 0 to {shape[-1] - 1 if shape else 0}; got {channel!r}"
            )
        return "channel", channels.astype(np.int32)
    places = [neuron] if not len(neuron) or np.ndim(neuron[0]) == 0 else neuron
    return "neuron", np.array([flat_index(network, layer, place) for place in places], np.int32)


def _noise(units: NDArray[np.int32], shape: tuple[int, ...], seed: int) -> Array:
    """Return uniform noise `(units, H, W, C)`, another one for each repetition of a unit."""
    repeats = [int(np.sum(units[:i] == unit)) for i, unit in enumerate(units)]
    return np.stack(
        [np.random.default_rng([seed, 1, repeat]).random(shape, np.float32) for repeat in repeats]
    )


def _counted(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total)
