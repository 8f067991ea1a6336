"""Deep networks with values of other libraries: ResNet50, VGG16 and a vision transformer.

Everything is drawn from a seed with NumPy, so that PyTorch twins can be equal:

    python -m tests.references.deep_networks deep.npz

writes architecture, weights, images and targets for `benchmarks/peers/deep_references.py`.
"""

import json
import sys
from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from tests.references.networks import blobs

SIDE = 32
TARGETS = np.array([3, 1])


def resnet50() -> keras.Model:
    """Return ResNet50 without its top, with ten classes."""
    return _classifier(keras.applications.ResNet50)


def vgg16() -> keras.Model:
    """Return VGG16 without its top, with ten classes."""
    return _classifier(keras.applications.VGG16)


def _classifier(build: Callable[..., keras.Model]) -> keras.Model:
    body = build(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3), pooling="avg")
    return keras.Model(body.inputs, layers.Dense(10, name="logits")(body.outputs[0]))


def vit(width: int = 24, heads: int = 3, blocks: int = 3) -> keras.Model:
    """Return a vision transformer whose class token is what is added to its empty place."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(width, 8, 8, name="patches")(image)
    x = layers.Reshape((16, width), name="tokens")(x)
    x = layers.ZeroPadding1D((1, 0), name="class")(x)
    x = x + places(width)
    for k in range(blocks):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{k}a")(x)
        y = layers.MultiHeadAttention(heads, width // heads, name=f"attention{k}")(y, y)
        x = layers.Add(name=f"add{k}a")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{k}b")(x)
        y = layers.Dense(2 * width, activation="gelu", name=f"dense{k}a")(y)
        y = layers.Dense(width, name=f"dense{k}b")(y)
        x = layers.Add(name=f"add{k}b")([x, y])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x[:, 0]))


def places(width: int = 24) -> np.ndarray:
    """Return what the transformer adds to its 17 tokens, `(1, 17, width)`."""
    return np.random.default_rng(5).normal(0, 0.5, (1, 17, width)).astype(np.float32)


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "resnet50": resnet50,
    "vgg16": vgg16,
    "vit": vit,
}


def case(name: str) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """Return a network with drawn weights, images `(2, 32, 32, 3)` in [0, 1] and targets."""
    model = NETWORKS[name]()
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(_weight(rng, variable.path, tuple(variable.shape)))
    return model, blobs(2, (SIDE, SIDE, 3), seed=20), TARGETS


def _weight(rng: np.random.Generator, path: str, shape: tuple[int, ...]) -> np.ndarray:
    name = path.rpartition("/")[2]
    if name in ("gamma", "moving_variance"):
        # The last BatchNorm of a residual block is small, or the sums would grow with the depth.
        return rng.uniform(0.5, 1.5, shape) * (0.2 if "_3_bn/gamma" in path else 1.0)
    outputs = shape[1:] if any(part in path for part in ("query", "key", "value")) else shape[-1:]
    inputs = np.prod(shape) / np.prod(outputs)
    scale = np.sqrt(2 / inputs) if name == "kernel" else 0.1
    return rng.normal(0, scale, shape)


def main(path: str) -> None:
    """Write `network/weight path`, and `network/config`, `/images`, `/targets`."""
    arrays: dict[str, np.ndarray] = {}
    for name in NETWORKS:
        model, images, targets = case(name)
        arrays |= {f"{name}/images": images, f"{name}/targets": targets}
        arrays[f"{name}/config"] = np.array(json.dumps(model.get_config()["layers"], default=str))
        arrays |= {f"{name}/{v.path}": np.asarray(v) for v in model.variables}
    np.savez(path, **arrays, **{"vit/places": places()})


if __name__ == "__main__":
    main(sys.argv[1])
