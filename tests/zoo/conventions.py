"""One small network behind every convention of pixels; all of them compute the same function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tests.zoo.specimen import (
    CLASSES,
    Build,
    Range,
    Scores,
    Specimen,
    logits_of,
    random_pictures,
    without,
)

SIDE = 12
_CAFFE_MEAN = np.array([103.939, 116.779, 123.68], np.float32)  # Blue, green, red.
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_CAFFE = {"low": -_CAFFE_MEAN, "high": 255 - _CAFFE_MEAN, "blue_first": True}
_TORCH = {"low": -_TORCH_MEAN / _TORCH_DEVIATION, "high": (1 - _TORCH_MEAN) / _TORCH_DEVIATION}


@dataclass(frozen=True, eq=False)
class Convention:
    """How a model takes pictures.

    Attributes:
        low: What the model's input holds for black.
        high: What it holds for white.
        inside: What the model does with its input before the network, or None.
        inner_low: What the network gets for black.
        inner_high: What the network gets for white.
        blue_first: Whether the model's input has its channels in the order blue, green, red.
        inner_blue_first: Whether the network's input has.
        pixels: What the owner says when asked; None where the model shows it.
        dtype: Type of the model's input.
    """

    low: Range = 0.0
    high: Range = 1.0
    inside: Callable[[], Callable[[Any], Any]] | None = None
    inner_low: Range | None = None
    inner_high: Range | None = None
    blue_first: bool = False
    inner_blue_first: bool | None = None
    pixels: Any = None
    dtype: str = "float32"

    def values(self, pictures: np.ndarray) -> np.ndarray:
        """Return pictures, uint8 RGB, as the model takes them."""
        ordered = pictures[..., ::-1] if self.blue_first else pictures
        low, high = (np.asarray(bound, np.float32) for bound in (self.low, self.high))
        return (low + (high - low) * (ordered / np.float32(255))).astype(self.dtype)

    def model(self) -> keras.Model:
        """Return the network with weights for what it gets, so that all compute one function."""
        keras.utils.set_random_seed(7)
        image = keras.Input((SIDE, SIDE, 3), dtype=self.dtype, name="image")
        first = layers.Conv2D(6, 3, activation="relu", name="first")
        x = first(image if self.inside is None else self.inside()(image))
        x = layers.MaxPooling2D(name="pool")(x)
        x = layers.Conv2D(8, 3, activation="relu", name="second")(x)
        x = layers.GlobalAveragePooling2D(name="mean")(x)
        model = keras.Model(image, layers.Dense(CLASSES, "softmax", name="classes")(x))
        first.set_weights(self._weights(*first.get_weights()))
        return model

    def _weights(self, kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        """Return the first layer's weights for `v` instead of `u = (v - low) / (high - low)`."""
        low = self.low if self.inner_low is None else self.inner_low
        high = self.high if self.inner_high is None else self.inner_high
        low, high = (np.broadcast_to(np.asarray(b, np.float64), 3) for b in (low, high))
        swapped = self.blue_first if self.inner_blue_first is None else self.inner_blue_first
        kernel = 4 * kernel[:, :, ::-1] if swapped else 4 * kernel
        scaled = kernel / (high - low)[:, None]
        shift = np.einsum("hwck,c->k", scaled, low)
        return [scaled.astype(np.float32), (0.1 + bias - shift).astype(np.float32)]


def _normalization() -> keras.Layer:
    return layers.Normalization(mean=(110.0, 120.0, 130.0), variance=(3600.0, 4225.0, 4900.0))


_NORMAL_LOW = -np.array([110.0, 120.0, 130.0]) / np.array([60.0, 65.0, 70.0])
_NORMAL_HIGH = (255 - np.array([110.0, 120.0, 130.0])) / np.array([60.0, 65.0, 70.0])


def _resized() -> Callable[[Any], Any]:
    return lambda x: layers.Rescaling(1 / 255)(layers.Resizing(SIDE, SIDE)(x))


def _bytes(inside: Callable[[], Callable[[Any], Any]], **inner: Any) -> Convention:
    given = {"inner_low": 0.0, "inner_high": 1.0, **inner}
    return Convention(0.0, 255.0, inside, **given)


_inner_caffe = {
    "inner_low": _CAFFE["low"], "inner_high": _CAFFE["high"], "inner_blue_first": True,
}  # fmt: skip
_inner_torch = {"inner_low": _TORCH["low"], "inner_high": _TORCH["high"]}

CONVENTIONS: dict[str, Convention] = {
    "[0, 1]": Convention(),
    "Rescaling inside": _bytes(lambda: layers.Rescaling(1 / 255)),
    "Resizing, Rescaling inside": _bytes(_resized),
    "x / 255 in the graph": _bytes(lambda: lambda x: x / 255.0),
    "Lambda inside": _bytes(lambda: layers.Lambda(lambda x: x / 255.0)),
    "Normalization inside": _bytes(_normalization, inner_low=_NORMAL_LOW, inner_high=_NORMAL_HIGH),
    "Rescaling to [-1, 1] inside": _bytes(
        lambda: layers.Rescaling(1 / 127.5, -1.0), inner_low=-1.0
    ),
    "tf mode in the graph": _bytes(
        lambda: keras.applications.mobilenet_v2.preprocess_input, inner_low=-1.0
    ),
    "caffe mode in the graph": _bytes(
        lambda: keras.applications.resnet50.preprocess_input, **_inner_caffe
    ),
    "torch mode in the graph": _bytes(
        lambda: keras.applications.densenet.preprocess_input, **_inner_torch
    ),
    "[-1, 1]": Convention(-1.0, 1.0, pixels="tf"),
    "caffe mode": Convention(**_CAFFE, pixels="caffe"),
    "torch mode": Convention(**_TORCH, pixels="torch"),
    "bounds of the owner": Convention(-3.0, 5.0, pixels=(-3.0, 5.0)),
    "bounds of each channel": Convention(
        (-1.0, 0.0, -2.0), (1.0, 4.0, 2.0), pixels=((-1.0, 0.0, -2.0), (1.0, 4.0, 2.0))
    ),
    "uint8 input": Convention(
        0.0, 255.0, lambda: layers.Rescaling(1 / 255), 0.0, 1.0, dtype="uint8"
    ),
}


def pictures() -> np.ndarray:
    """Return the same pictures for every convention, uint8 RGB."""
    return random_pictures(3, SIDE)


def specimen(name: str) -> Specimen:
    """Return the network behind a convention, with pictures as it takes them."""
    convention = CONVENTIONS[name]
    model = convention.model()
    logits = logits_of(model)
    if convention.dtype == "uint8":  # The model would cast a tape's floats: call its layers.
        logits = without(model.layers[-1], partial(_in_turn, model.layers[1:]))
    return Specimen(
        model,
        convention.values(pictures()),
        logits,
        convention.low,
        convention.high,
        pixels=convention.pixels,
    )


def _in_turn(chain: Sequence[keras.Layer], x: tf.Tensor) -> tf.Tensor:
    for layer in chain:
        x = layer(x)
    return x


def raw_pictures(name: str, preprocess: Any, function: Scores) -> Specimen:
    """Return the network behind a convention with raw pictures and what prepares them.

    Args:
        name: The convention of what `preprocess` returns.
        preprocess: As `Network` takes it.
        function: The same, as a function of tensors.
    """
    model = CONVENTIONS[name].model()
    logits = logits_of(model)
    return Specimen(
        model,
        pictures(),
        lambda x: logits(function(x)),
        0.0,
        255.0,
        needs={"preprocess": preprocess},
        pixels="bytes",
    )


def _with_a_name() -> Specimen:
    return raw_pictures("caffe mode", "resnet50", keras.applications.resnet50.preprocess_input)


def _with_a_function() -> Specimen:
    function = keras.applications.densenet.preprocess_input
    return raw_pictures("torch mode", function, function)


def _with_a_layer() -> Specimen:
    layer = layers.Rescaling(1 / 127.5, -1.0)
    return raw_pictures("[-1, 1]", layer, layer)


def _by_hand(x: Any) -> Any:
    return np.asarray(x) / 255.0


def _with_numpy() -> Specimen:
    return raw_pictures("[0, 1]", _by_hand, lambda x: x / 255.0)


SPECIMENS: dict[str, Build] = {
    **{name: partial(specimen, name) for name in CONVENTIONS},
    "preprocess=, a name": _with_a_name,
    "preprocess=, a function": _with_a_function,
    "preprocess=, a layer": _with_a_layer,
    "preprocess=, a function of NumPy": _with_numpy,
}
