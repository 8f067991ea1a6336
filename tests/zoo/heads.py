"""Small models that differ in what they end in; all take pixels in [0, 1]."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from tests.zoo.specimen import (
    CLASSES,
    Build,
    Scores,
    Specimen,
    logits_of,
    outputs_of,
    random_images,
    two_classes,
    without,
)

SIDE = 16


def trunk(image: Any) -> Any:
    """Return the features of an image, as every small model has them."""
    x = layers.Conv2D(6, 3, activation="relu", name="first")(image)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="second")(x)
    return layers.GlobalAveragePooling2D(name="mean")(x)


def model_with(head: Callable[[Any], Any]) -> keras.Model:
    """Return a small model that ends in `head`."""
    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 3))
    return keras.Model(image, head(trunk(image)))


def specimen(
    head: Callable[[Any], Any], scores: Callable[[keras.Model], Scores], **more: Any
) -> Specimen:
    """Return a model with this head; `scores` makes the scores of the model."""
    model = model_with(head)
    return Specimen(model, random_images(side=SIDE), scores(model), **more)


def _unit_logits(model: keras.Model) -> Scores:
    return two_classes(logits_of(model))


def _before_last(model: keras.Model) -> Scores:
    return outputs_of(keras.Model(model.inputs[0], model.layers[-1].input))


def _of_last_layer(model: keras.Model) -> Scores:
    return outputs_of(keras.Model(model.inputs[0], model.layers[-1].output))


def _log_of(model: keras.Model) -> Scores:
    return lambda x: tf.math.log(model(x, training=False))


def _served(x: Any) -> Any:
    """Return the output of a saved model in its own format, which ends in a softmax."""
    keras.utils.set_random_seed(4)
    head = keras.Sequential([keras.Input((8,)), layers.Dense(CLASSES, "softmax")])
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "served")
        head.export(path, verbose=False)
        layer = layers.TFSMLayer(path, call_endpoint="serve")
    return layer(x)


def _outputs(model: keras.Model, key: Any) -> Scores:
    return lambda x: model(x, training=False)[key]


def _several(key: str | int, named: bool) -> Specimen:
    def head(x: Any) -> Any:
        kind, place = layers.Dense(CLASSES, name="kind")(x), layers.Dense(2, name="place")(x)
        return {"kind": kind, "place": place} if named else [kind, place]

    return specimen(head, lambda model: _outputs(model, key), needs={"output": key})


def _multi_label_layer(x: Any) -> Any:
    return layers.Activation("sigmoid")(layers.Dense(CLASSES)(x))


def _dense(units: int, activation: str | None = None) -> Callable[[], Specimen]:
    scores = {"softmax": logits_of, "sigmoid": logits_of, None: outputs_of}[activation]
    return lambda: specimen(layers.Dense(units, activation), scores)


def _unit(activation: str | None) -> Callable[[], Specimen]:
    return lambda: specimen(layers.Dense(1, activation), _unit_logits)


def _softmax_with(last: Callable[[], Callable[[Any], Any]]) -> Callable[[], Specimen]:
    return lambda: specimen(lambda x: last()(layers.Dense(CLASSES)(x)), _before_last)


def _cast(x: Any) -> Any:
    return layers.Activation("softmax", dtype="float32")(layers.Dense(CLASSES)(x))


SPECIMENS: dict[str, Build] = {
    "softmax": _dense(CLASSES, "softmax"),
    "two softmax units": _dense(2, "softmax"),
    "logits": _dense(CLASSES),
    "one sigmoid unit": _unit("sigmoid"),
    "one logit unit": _unit(None),
    "sigmoid layer on one unit": lambda: specimen(
        lambda x: layers.Activation("sigmoid")(layers.Dense(1)(x)),
        lambda model: two_classes(_before_last(model)),
    ),
    "multi-label sigmoids": _dense(CLASSES, "sigmoid"),
    "multi-label, a sigmoid layer": lambda: specimen(_multi_label_layer, _before_last),
    "Softmax layer": _softmax_with(layers.Softmax),
    "Activation('softmax')": lambda: specimen(_cast, _before_last),
    "softmax operation": lambda: specimen(
        lambda x: ops.softmax(layers.Dense(CLASSES)(x)), _of_last_layer
    ),
    "Lambda with a softmax": lambda: specimen(
        lambda x: layers.Lambda(lambda z: ops.softmax(z))(layers.Dense(CLASSES)(x)), _before_last
    ),
    "TFSMLayer with a softmax": lambda: specimen(_served, _log_of),
    "regression": lambda: specimen(layers.Dense(1), outputs_of, score="output"),
    "embedding": lambda: specimen(layers.Dense(8), outputs_of, score="output"),
    "several outputs, a list": lambda: _several(0, named=False),
    "several outputs, a dict": lambda: _several("kind", named=True),
}

__all__ = ["SIDE", "SPECIMENS", "model_with", "specimen", "trunk", "without"]
