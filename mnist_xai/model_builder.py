"""The networks of the articles, for images of any shape and any number of classes."""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

Shape = tuple[int, int, int]


def build_model(
    name: str = "cnn",
    *,
    input_shape: Shape = (28, 28, 1),
    classes: int = 10,
    seed: int | None = None,
    dtype: str = "float32",
) -> keras.Model:
    """Build one of the articles' networks, untrained.

    Every network maps an image `x` to class probabilities `softmax(z)`, `z` the logits.

    Args:
        name: One of `MODELS`.
        input_shape: Height, width and channels of an image.
        classes: Number of classes, at least 2.
        seed: Seed of the initial weights: Glorot-uniform kernels, zero biases. None draws
            different weights in every call.
        dtype: Keras dtype policy of the hidden layers, e.g. `"mixed_bfloat16"`. The
            probabilities are always float32.

    Returns:
        A functional Keras model from `(N, H, W, C)` in [0, 1] to `(N, classes)`.

    Raises:
        ValueError: For an unknown name, a shape that is not (H, W, C), an image too small
            for the network, or fewer than two classes.
    """
    if name not in MODELS:
        raise ValueError(f"name: expected one of {', '.join(MODELS)}; got {name!r}")
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"input_shape: expected (height, width, channels); got {input_shape}")
    if classes < 2:
        raise ValueError(f"classes: expected at least 2; got {classes}")
    smallest = _SMALLEST_SIDE.get(name, 1)
    if min(input_shape[:2]) < smallest:
        raise ValueError(
            f"input_shape: network {name!r} needs images of at least {smallest} x {smallest} "
            f"pixels; got {input_shape[0]} x {input_shape[1]}"
        )
    image = keras.Input(input_shape, name="image")
    layer = _Layers(seed, dtype)
    features = MODELS[name](image, layer)
    # Probabilities in float32 under every policy: bfloat16 has only three decimal digits.
    probabilities = layer.dense(classes, "softmax", "probabilities", dtype="float32")(features)
    return keras.Model(image, probabilities, name=name)


class _Layers:
    """Creates layers with one dtype policy, their kernels drawn from one seed."""

    def __init__(self, seed: int | None, dtype: str) -> None:
        self.seed, self.dtype, self._drawn = seed, dtype, 0

    def conv(self, filters: int, side: int, name: str) -> layers.Layer:
        return layers.Conv2D(
            filters,
            side,
            activation="relu",
            kernel_initializer=self._initializer(),
            dtype=self.dtype,
            name=name,
        )

    def dense(
        self, units: int, activation: str | None, name: str, dtype: str | None = None
    ) -> layers.Layer:
        return layers.Dense(
            units,
            activation=activation,
            kernel_initializer=self._initializer(),
            dtype=dtype or self.dtype,
            name=name,
        )

    def pool(self, name: str) -> layers.Layer:
        return layers.MaxPooling2D(2, dtype=self.dtype, name=name)

    def flatten(self) -> layers.Layer:
        return layers.Flatten(dtype=self.dtype, name="flatten")

    def _initializer(self) -> keras.initializers.Initializer:
        # A seed for each layer: with the same seed, two kernels would begin with the same numbers.
        self._drawn += 1
        if self.seed is None:
            return keras.initializers.GlorotUniform()
        state = np.random.SeedSequence([self.seed, self._drawn]).generate_state(1)
        return keras.initializers.GlorotUniform(seed=int(state[0]))


def _cnn(x: keras.KerasTensor, layer: _Layers) -> keras.KerasTensor:
    """Build the case study's network: document 000, section 8.2, as its code builds it."""
    x = layer.pool("pool1")(layer.conv(32, 5, "conv1")(x))
    x = layer.pool("pool2")(layer.conv(64, 5, "conv2")(x))
    return layer.dense(128, "relu", "dense")(layer.flatten()(x))


def _cnn_3x3(x: keras.KerasTensor, layer: _Layers) -> keras.KerasTensor:
    """Build the network of document 002, section 5.2, which has no hidden dense layer."""
    x = layer.pool("pool1")(layer.conv(32, 3, "conv1")(x))
    x = layer.pool("pool2")(layer.conv(64, 3, "conv2")(x))
    return layer.flatten()(x)


def _dense(x: keras.KerasTensor, layer: _Layers) -> keras.KerasTensor:
    """Build the network of document 004, section 5.1, with the Flatten that it omits."""
    return layer.dense(128, "relu", "dense")(layer.flatten()(x))


def _attention_cnn(x: keras.KerasTensor, layer: _Layers) -> keras.KerasTensor:
    """Build convolutions with attention pooling over positions: document 000, section 7.2.

    `e_p = w · a_p + b`, `alpha = softmax(e)` over the positions `p`, and the next layer gets
    `Σ_p alpha_p a_p`. The article's `alpha * inputs` omits the sum.
    """
    x = layer.pool("pool1")(layer.conv(32, 5, "conv1")(x))
    x = layer.conv(64, 5, "conv2")(x)
    height, width, channels = x.shape[1:]
    values = layers.Reshape((height * width, channels), dtype=layer.dtype, name="positions")(x)
    scores = layer.dense(1, None, "attention_scores")(values)
    # float32, because users read these weights and they must sum to one.
    alpha = layers.Softmax(axis=1, dtype="float32", name=ATTENTION_LAYER)(scores)
    pooled = layers.Dot(axes=1, dtype=layer.dtype, name="attention_pool")([alpha, values])
    return layer.dense(128, "relu", "dense")(layer.flatten()(pooled))


ATTENTION_LAYER = "attention"
"""Name of the layer whose output is alpha, (N, positions, 1), in the attention CNN."""

MODELS: dict[str, Callable[[keras.KerasTensor, _Layers], keras.KerasTensor]] = {
    "cnn": _cnn,
    "cnn_3x3": _cnn_3x3,
    "dense": _dense,
    "attention_cnn": _attention_cnn,
}
"""The networks by name; the first is the case study's."""

# In smaller images, a convolution or a pooling would have no output position.
_SMALLEST_SIDE = {"cnn": 16, "cnn_3x3": 10, "dense": 1, "attention_cnn": 14}
