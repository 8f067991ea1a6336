"""Images made by the network: what excites a unit, and what a layer remembers of an image."""

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

_LEAK = 0.1  # Slope of a closed ReLU whose unit an image is made for.


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
    of a layer; exactly one of them is named. Where the ReLU that ends this layer is closed, it
    leaks a tenth, for a start has to be made somewhere. `s` is the typical slope where the image
    begins, `Σ g² / Σ |g|` with `g = ∂f/∂x`, so that the prices suit units of every size. The
    images climb in steps of Adam, and are kept in [0, 1] after each; the network sees them moved
    about by some pixels, another way each step, so that no single pixel can decide. The climbing
    is tf-keras-vis's.

    Args:
        model: A Keras classifier of images of one size, or a `Network` made of it.
        targets: A class, or several: an image for each.
        layer: Name of the layer of `channel` or `neuron`, `outer/inner` in a nested model.
        channel: A channel of the layer's last axis, or several.
        neuron: A place `(y, x, k)` or `(unit,)` in the layer's output, or several.
        steps: Number of steps.
        learning_rate: Adam's, in units of a pixel from black to white.
        total_variation: `λ_TV`, the price of a step from black to white between neighbours.
        brightness: `λ_b`, the price of a white pixel.
        jitter: How far the network sees an image moved at most, in pixels.
        noise: Brightest pixel of the uniform noise that an image begins as, in (0, 1].
        seed: Seed of the noise and of the movements. Of a unit named several times the images
            begin differently; otherwise an image does not depend on what else is asked for.
        progress: Called after each step with the number of steps done and of all.

    Returns:
        float32 `(units, H, W, C)` in [0, 1]. A unit that nothing on the way excites, because
        layers before it stay closed, has no gradient, and its image ends black.

    Raises:
        TypeError, ValueError: For arguments out of shape, type or range, or a model that takes
            images of any size.
        UnsupportedLayerError: When no gradient reaches the image.

    Source: Erhan, Bengio, Courville, Vincent 2009, section 3.1; Simonyan, Vedaldi, Zisserman
    2013, section 2; the movements are those of Mordvintsev, Olah, Tyka 2015.
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
        score = _seen_by_tf_keras_vis(ascent, starts[rows], units[rows], shifts)
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
    return np.concatenate(made)


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
    # Here, because it takes a second; and it warns of its own modules when first imported.
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
        # Not the L1 norm there: that costs nothing at black, and would let black pixels tremble.
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            return brightness * tf.reduce_sum(images, axis=[1, 2, 3])

    made = ActivationMaximization(score, clone=False)(
        lambda scores: scores,
        seed_input=tf.constant(starts),
        input_range=(0.0, 1.0),
        # It clips only what it returns: without this the images would climb outside of [0, 1].
        input_modifiers=[lambda images: tf.clip_by_value(images, 0.0, 1.0)],
        regularizers=[
            # The number of pixels is what it divides by.
            TotalVariation2D(weight=total_variation * starts[0].size),
            Brightness(name="brightness"),
        ],
        steps=steps,
        optimizer=keras.optimizers.Adam(learning_rate, name="adam"),
        callbacks=[Report()],
    )
    return np.asarray(made, np.float32)


class _Score(keras.layers.Layer):
    """A function of images as a layer: neither weights nor layers are Keras's to see."""

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        super().__init__(name="score", dtype="float32")
        self.function = function

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.function(images)

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        # Known, so that Keras does not call the user's layers to find out.
        return keras.KerasTensor((images.shape[0],), "float32", name="scores")


def _seen_by_tf_keras_vis(
    ascent: Any, starts: Array, units: NDArray[np.int32], shifts: NDArray[np.int32]
) -> keras.Model:
    """A functional model of one layer that scores images, for tf-keras-vis to climb.

    tf-keras-vis asks a model for things that a Sequential, a nested or a reloaded one does not
    have. This one has them, and the user's model stays as it is.
    """
    _, slopes = ascent(starts, units, np.zeros(2, np.int32))
    size = tf.reduce_sum(tf.abs(slopes), axis=[1, 2, 3])
    scale = tf.math.divide_no_nan(size, tf.reduce_sum(slopes**2, axis=[1, 2, 3]))
    moves: Iterator[NDArray[np.int32]] = iter(shifts)

    def score(images: tf.Tensor) -> tf.Tensor:
        fixed = tf.stop_gradient(images)
        scores, slopes = ascent(fixed, units, next(moves))
        # The gradient is there already: a function with this value and this gradient.
        return scale * (scores + tf.reduce_sum(slopes * (images - fixed), axis=[1, 2, 3]))

    # Every name is given: one that Keras counts up would rename the user's next layers.
    image = keras.Input(starts.shape[1:], name="image", dtype="float32")
    model = keras.Model([image], _Score(score)(image), name="score_of_images")
    # Under a global policy of float16 the gradients would be divided by a scale that they lack.
    model.layers[0].dtype_policy = "float32"
    return model


def _ascent(network: Network, layer: str | None, kind: str) -> Pass:
    """The pass that scores moved images, and its gradient with respect to the images."""

    def values(x: tf.Tensor) -> tf.Tensor:
        if layer is None:
            return network.runner.logits(x)
        output = tf.cast(_not_quite_closed(network.runner.run(x)[0][layer]), tf.float32)
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


def _not_quite_closed(call: Call) -> tf.Tensor:
    """A layer's output, with a slope where its own ReLU is closed: else nothing could climb."""
    if last_activation(call.layer) is not keras.activations.relu:
        return call.output
    return tf.nn.leaky_relu(without_activation(call.layer)(*call.args, **call.kwargs), _LEAK)


def _objective(
    network: Network, targets: Any, layer: str | None, channel: Any, neuron: Any
) -> tuple[str, NDArray[np.int32]]:
    """Which of class, channel and neuron is meant, and its number for each image."""
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
    """Uniform noise `(units, H, W, C)`; how often a unit came before decides which."""
    repeats = [int(np.sum(units[:i] == unit)) for i, unit in enumerate(units)]
    return np.stack(
        [np.random.default_rng([seed, 1, repeat]).random(shape, np.float32) for repeat in repeats]
    )


def _counted(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total)
