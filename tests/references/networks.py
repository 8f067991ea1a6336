"""Networks, images and targets for which other libraries computed reference values.

Everything is drawn from a seed with NumPy, so that PyTorch twins can be equal:

    python -m tests.references.networks inputs.npz

writes weights, images, targets and baselines for `benchmarks/peers/references.py`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

SAVED = Path(__file__).parents[2] / "saved_models" / "cnn.keras"


class Case(NamedTuple):
    """A classifier, images and targets: the logits of `targets` are explained."""

    model: keras.Model
    images: np.ndarray  # float32 (3, H, W, C) in [0, 1], with an exactly black background
    targets: np.ndarray  # int64 (3,), all different
    baselines: np.ndarray  # float32 (4, H, W, C) in [0, 1], for DeepSHAP and GradientSHAP


def cnn():
    """Return the case study's trained network; ReLU and softmax are fused into the layers."""
    return keras.models.load_model(SAVED, compile=False)


def residual():
    """Return a network with an addition, BatchNorm, both poolings, zero padding and logits."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="conv1")(image)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="bn1")(x))
    y = layers.Conv2D(8, 3, padding="same", name="conv2")(x)
    y = layers.ReLU(name="relu2")(layers.BatchNormalization(name="bn2")(y))
    y = layers.Conv2D(8, 3, padding="same", name="conv3")(y)
    x = layers.Add(name="add")([x, layers.BatchNormalization(name="bn3")(y)])
    x = layers.AveragePooling2D(2, name="mean_pool")(layers.ReLU(name="relu3")(x))
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool")(x))
    x = layers.Dense(10, name="logits")(layers.Dense(16, activation="relu", name="dense")(x))
    return _drawn(keras.Model(image, x, name="residual"), seed=1)


def colour():
    """Return a network of three channels without padding, with a softmax layer."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(6, 3, activation="relu", name="conv1")(image)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="conv2")(x)
    x = layers.Dense(12, activation="relu", name="dense")(layers.Flatten(name="flatten")(x))
    x = layers.Softmax(name="softmax")(layers.Dense(5, name="logits")(x))
    return _drawn(keras.Model(image, x, name="colour"), seed=2)


def edges():
    """Return a max pool over differences of neighbours, which are exactly 0 on flat areas.

    There DeepLIFT's multiplier is 0 / 0, and Captum uses the first image's gradient instead.
    """
    image = keras.Input((8, 9, 1), name="image")
    x = layers.MaxPooling2D(2, name="pool")(layers.Conv2D(2, (1, 2), name="conv")(image))
    x = layers.Dense(3, name="logits")(layers.Flatten(name="flatten")(x))
    model = _drawn(keras.Model(image, x, name="edges"), seed=3)
    kernel = np.array([[1, -1], [-1, 1]]).reshape(1, 2, 1, 2)
    model.get_layer("conv").set_weights([kernel, np.zeros(2)])
    return model


# The network, its targets, and the seed of its images and baselines.
CASES: dict[str, tuple[Callable[[], keras.Model], list[int], int]] = {
    "cnn": (cnn, [3, 8, 2], 10),
    "residual": (residual, [7, 0, 4], 11),
    "colour": (colour, [4, 1, 2], 12),
}
# This network shows one mistake of Captum; it has references for DeepLIFT only.
EDGES = {"edges": (edges, [0, 1, 2], 13)}


def case(name: str) -> Case:
    """Build a network of `CASES` or `EDGES`, its images, targets and baselines."""
    build, targets, seed = (CASES | EDGES)[name]
    model = build()
    shape = tuple(model.inputs[0].shape[1:])
    baselines = np.random.default_rng(seed).random((4, *shape), np.float32)
    images = blobs(3, shape, seed)
    if name in EDGES:  # With few grey levels many neighbours are equal.
        images = np.ceil(images * 4) / 4
    return Case(model, images, np.array(targets), baselines)


def blobs(count: int, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Draw soft blobs on exact black, `(count, H, W, C)`, each channel's brightest pixel 1."""
    height, width, channels = shape
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    centres = rng.uniform(0.25, 0.75, (count, channels, 4, 2))
    widths = rng.uniform(0.05, 0.12, (count, channels, 4))
    row, column = (centres[..., axis, None, None] for axis in (0, 1))
    squares = (rows - row) ** 2 + (columns - column) ** 2
    light = np.exp(-squares / (2 * widths[..., None, None] ** 2)).sum(axis=2)
    light = np.maximum(light - 0.2, 0)
    light /= light.max(axis=(2, 3), keepdims=True)
    return light.transpose(0, 2, 3, 1).astype(np.float32)


def _drawn(model: keras.Model, seed: int) -> keras.Model:
    """Draw every weight from one seed; no bias is zero, no statistic is trivial."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([_weight(rng, v.name, v.shape) for v in layer.weights])
    return model


def _weight(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    scale = np.sqrt(2 / np.prod(shape[:-1])) if name == "kernel" else 0.1
    return rng.normal(0, scale, shape)


def main(path: str) -> None:
    """Write `network/layer/weight`, and `network/images`, `/targets`, `/baselines`."""
    arrays = {}
    for name in CASES | EDGES:
        model, *inputs = case(name)
        arrays |= {f"{name}/{k}": v for k, v in zip(Case._fields[1:], inputs, strict=True)}
        for layer in model.layers:
            for variable, value in zip(layer.weights, layer.get_weights(), strict=True):
                arrays[f"{name}/{layer.name}/{variable.name}"] = value
    np.savez(path, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
