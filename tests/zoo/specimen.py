"""One model of the zoo, with what its owner knows about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

CLASSES = 4

Scores = Callable[[tf.Tensor], tf.Tensor]
Range = float | Sequence[float]


@dataclass(frozen=True, eq=False)
class Specimen:
    """A model with images as it takes them, and what is known of it from outside the package.

    Attributes:
        model: A Keras model, or any function of a batch.
        images: A batch as the model takes it.
        scores: Images to the scores `(N, classes)` that an explanation is about, by plain calls of
            the owner's model.
        low: What the model gets for black, in each channel.
        high: What the model gets for white.
        needs: Arguments of `Network` without which the question has no answer.
        pixels: What the owner says when the package asks for the range of the pixels.
        score: The score to explain.
        inside: The Keras model that a function calls, to name its layers.
    """

    model: Any
    images: np.ndarray
    scores: Scores
    low: Range = 0.0
    high: Range = 1.0
    needs: Mapping[str, Any] = field(default_factory=dict)
    pixels: Any = None
    score: str = "logit"
    inside: keras.Model | None = None


Build = Callable[[], Specimen]


def random_images(count: int = 3, side: int = 16, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return pictures with structure in [0, 1]: a bright blob on noise, float32."""
    draw = np.random.default_rng(seed)
    noise = draw.random((count, side, side, channels), np.float32)
    place = np.linspace(-1, 1, side)
    centres = draw.uniform(-0.6, 0.6, (count, 2))
    distance = [(place[:, None] - y) ** 2 + (place - x) ** 2 for y, x in centres]
    blobs = np.exp(-6 * np.stack(distance))[..., None] * draw.random((count, 1, 1, channels))
    return (0.5 * noise + 0.5 * blobs).astype(np.float32)


def random_pictures(count: int = 3, side: int = 16, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return the same pictures as bytes, uint8."""
    return np.round(255 * random_images(count, side, channels, seed)).astype(np.uint8)


def without(layer: keras.Layer, model: Callable[[tf.Tensor], Any]) -> Scores:
    """Return the model as a function whose named layer has no activation, for eager calls."""

    def scores(x: tf.Tensor) -> tf.Tensor:
        activation = layer.activation
        layer.activation = keras.activations.linear
        try:
            return model(x)
        finally:
            layer.activation = activation

    return scores


def logits_of(model: keras.Model) -> Scores:
    """Return the logits of a model that ends in a layer with softmax as its activation."""
    return without(model.layers[-1], lambda x: model(x, training=False))


def outputs_of(model: Callable[..., Any]) -> Scores:
    """Return the outputs of a model as they are."""
    return lambda x: model(x, training=False)


def two_classes(unit: Scores) -> Scores:
    """Return the logits of both classes, `-z` and `z`, of a unit with the logit `z`."""
    return lambda x: tf.concat([-unit(x), unit(x)], axis=-1)


def settle(model: keras.Model, images: np.ndarray) -> keras.Model:
    """Set each BatchNormalization's statistics to those of a batch, as a training would.

    Random weights with the statistics of a fresh layer make activations vanish or overflow.
    """
    norms = [layer for layer in _all_layers(model) if _is_batch_norm(layer)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return model


def _all_layers(model: keras.Model) -> list[keras.Layer]:
    return list(model._flatten_layers(include_self=False, recursive=True))


def _is_batch_norm(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)
