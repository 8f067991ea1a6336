"""Small models that differ in how they are built, and in the layers that they are built of."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.zoo.heads import SIDE, trunk
from tests.zoo.specimen import (
    CLASSES,
    Build,
    Scores,
    Specimen,
    logits_of,
    outputs_of,
    random_images,
    settle,
)


def _logits(x: Any) -> Any:
    return layers.Dense(CLASSES, name="classes")(x)


def between(block: Callable[[Any], Any]) -> Specimen:
    """Return a small model with `block` between two convolutions."""
    keras.utils.set_random_seed(5)
    image = keras.Input((SIDE, SIDE, 3))
    x = block(layers.Conv2D(8, 3, strides=2, name="first")(image))
    x = layers.Conv2D(8, 3, activation="relu", name="second")(x)
    model = keras.Model(image, _logits(layers.GlobalAveragePooling2D()(x)))
    images = random_images(side=SIDE)
    return Specimen(settle(model, images), images, outputs_of(model))


# --- How models are built ------------------------------------------------------------------


@keras.saving.register_keras_serializable("zoo")
class ConvBlock(layers.Layer):
    """A block of a user's own, made of Keras layers."""

    def __init__(self, filters: int, **more: Any) -> None:
        super().__init__(**more)
        self.conv = layers.Conv2D(filters, 3, padding="same")
        self.norm = layers.BatchNormalization()

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Convolve, normalise, and add the input."""
        return ops.relu(self.norm(self.conv(x), training=training)) + x


class Residual(keras.Model):
    """A subclassed network with blocks of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = layers.Conv2D(8, 3, activation="relu")
        self.blocks = [ConvBlock(8), ConvBlock(8)]
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(CLASSES, activation="softmax")

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Return the probabilities."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.pool(x))


def _subclassed() -> Specimen:
    keras.utils.set_random_seed(6)
    model, images = Residual(), random_images(side=SIDE)
    settle(model, images)
    return Specimen(model, images, _without_softmax(model))


def _without_softmax(model: Residual) -> Scores:
    def scores(x: tf.Tensor) -> tf.Tensor:
        x = model.stem(x)
        for block in model.blocks:
            x = block(x, training=False)
        return ops.matmul(model.pool(x), model.head.kernel) + model.head.bias

    return scores


def _unbuilt() -> Specimen:
    keras.utils.set_random_seed(6)
    model = keras.Sequential(
        [layers.Conv2D(6, 3, activation="relu"), layers.GlobalAveragePooling2D(),
         layers.Dense(CLASSES, "softmax")]
    )  # fmt: skip
    needs = {"image_shape": (SIDE, SIDE, 3)}
    return Specimen(model, random_images(side=SIDE), logits_of(model), needs=needs)


def _two_inputs() -> Specimen:
    keras.utils.set_random_seed(6)
    image, age = keras.Input((SIDE, SIDE, 3), name="image"), keras.Input((2,), name="facts")
    x = layers.Concatenate()([trunk(image), layers.Dense(4, "relu")(age)])
    model = keras.Model([image, age], _logits(x))
    images = random_images(side=SIDE)
    facts = np.random.default_rng(1).random((1, 2), np.float32)
    return Specimen(
        model,
        images,
        lambda x: model(
            [tf.convert_to_tensor(x), tf.repeat(facts, len(x), axis=0)], training=False
        ),
        needs={"context": {"facts": facts}},
    )


def _any_size() -> Specimen:
    keras.utils.set_random_seed(6)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, _logits(trunk(image)))
    return Specimen(model, random_images(side=SIDE), outputs_of(model))


def _channels_first() -> Specimen:
    keras.utils.set_random_seed(6)
    image = keras.Input((3, SIDE, SIDE))
    x = layers.Conv2D(6, 3, activation="relu", data_format="channels_first")(image)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = keras.Model(image, _logits(x))
    images = random_images(side=SIDE).transpose(0, 3, 1, 2)
    return Specimen(model, images, outputs_of(model))


def _no_channel() -> Specimen:
    keras.utils.set_random_seed(6)
    image = keras.Input((SIDE, SIDE))
    model = keras.Model(image, _logits(trunk(layers.Reshape((SIDE, SIDE, 1))(image))))
    return Specimen(model, random_images(side=SIDE, channels=1)[..., 0], outputs_of(model))


def _mixed_precision() -> Specimen:
    keras.utils.set_random_seed(6)
    policy = keras.DTypePolicy("mixed_bfloat16")
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(6, 3, activation="relu", dtype=policy),
            layers.GlobalAveragePooling2D(dtype=policy),
            layers.Dense(CLASSES, dtype="float32"),
        ]
    )
    return Specimen(model, random_images(side=SIDE), outputs_of(model))


def _nested() -> Specimen:
    keras.utils.set_random_seed(6)
    inner = keras.Input((SIDE, SIDE, 3))
    backbone = keras.Model(inner, trunk(inner), name="backbone")
    image = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(image, _logits(backbone(image)))
    return Specimen(model, random_images(side=SIDE), outputs_of(model))


def _callable() -> Specimen:
    specimen = _nested()
    needs = {"image_shape": (SIDE, SIDE, 3), "classes": CLASSES}
    return Specimen(
        lambda x: specimen.model(x), specimen.images, specimen.scores, needs=needs,
        inside=specimen.model,
    )  # fmt: skip


def _callable_on_numpy() -> Specimen:
    specimen = _callable()
    predict = specimen.model
    return Specimen(
        lambda x: np.asarray(predict(np.asarray(x))), specimen.images, specimen.scores,
        needs=specimen.needs,
    )  # fmt: skip


def _shared(x: Any) -> Any:
    conv = layers.Conv2D(8, 3, padding="same", activation="relu", name="shared")
    return conv(conv(x))


# --- Layers --------------------------------------------------------------------------------


def _squeeze_and_excitation(x: Any) -> Any:
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="relu")(gate)
    return layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])


def _attention(x: Any) -> Any:
    side = x.shape[1]
    tokens = layers.LayerNormalization()(layers.Reshape((side * side, 8))(x))
    tokens = tokens + layers.MultiHeadAttention(2, 4)(tokens, tokens)
    return layers.Reshape((side, side, 8))(tokens)


def _hard(x: Any) -> Any:
    return layers.Activation("hard_silu")(layers.ReLU(6.0)(x + 3.0) * (1 / 6))


def _layer(make: Callable[[], Callable[[Any], Any]]) -> Build:
    return lambda: between(make())


KINDS: dict[str, Build] = {
    "nested backbone": _nested,
    "shared layer": lambda: between(_shared),
    "unbuilt Sequential": _unbuilt,
    "subclassed model with custom layers": _subclassed,
    "custom layer": _layer(lambda: ConvBlock(8)),
    "Lambda in the middle": _layer(lambda: layers.Lambda(lambda x: ops.relu(x) * 0.5)),
    "two inputs": _two_inputs,
    "any size": _any_size,
    "channels first": _channels_first,
    "(H, W) input": _no_channel,
    "mixed precision": _mixed_precision,
    "function of tensors": _callable,
    "function of NumPy arrays": _callable_on_numpy,
}

LAYERS: dict[str, Build] = {
    "ReLU": _layer(layers.ReLU),
    "LeakyReLU": _layer(layers.LeakyReLU),
    "GELU": _layer(lambda: layers.Activation("gelu")),
    "SiLU": _layer(lambda: layers.Activation("silu")),
    "ELU": _layer(layers.ELU),
    "ReLU6 and hard SiLU": _layer(lambda: _hard),
    "BatchNormalization": _layer(layers.BatchNormalization),
    "LayerNormalization": _layer(layers.LayerNormalization),
    "GroupNormalization": _layer(lambda: layers.GroupNormalization(4)),
    "squeeze and excitation": _layer(lambda: _squeeze_and_excitation),
    "attention": _layer(lambda: _attention),
}
