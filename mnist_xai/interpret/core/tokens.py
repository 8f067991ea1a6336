"""Tokens of a transformer, folded back to the grid of patches that they come from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.graph import UnsupportedLayerError
from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network

_MOST_EXTRA = 16
"""The largest number of class and register tokens."""


@dataclass(frozen=True)
class TokenGrid:
    """Which tokens are patches, and where each patch is.

    Attributes:
        height: Rows of patches.
        width: Patches in a row.
        places: The tokens that are patches, row by row; the others are class or register tokens.
    """

    height: int
    width: int
    places: tuple[int, ...]

    def fold(self, tokens: Array) -> Array:
        """Return the patches of tokens `(N, t, K)` as `(N, height, width, K)`."""
        patches = tokens[:, list(self.places)]
        return patches.reshape(len(tokens), self.height, self.width, tokens.shape[-1])


def token_grid(network: Network, layer: str) -> TokenGrid | None:
    """Return the grid of a layer's tokens; None for a layer with outputs `(N, h, w, channels)`.

    The grid is that of the last layer before it with outputs `(N, h, w, channels)`, such as the
    patch embedding, that has as many places as there are tokens, or up to 16 fewer. Without such a
    layer it is found by changing rows and columns of an image's patches.

    Raises:
        ValueError: For a layer with outputs of another shape, or without a grid.
        UnsupportedLayerError: If it is not known which tokens are patches.
    """
    network.check_layer(layer)
    shape = network.layer_shapes[layer]
    if len(shape) == 3:
        return None
    sides = _sides_of_grid(network, layer) if len(shape) == 2 else None
    if sides:
        return TokenGrid(*sides, _patches(network, shape[0], sides[0] * sides[1]))
    found = _grid_of_changes(network, shape[0]) if len(shape) == 2 else None
    if found is None:
        gives = ", ".join(map(str, ("N", *shape)))
        raise ValueError(
            "layer: expected one with outputs (N, h, w, channels), or with tokens (N, t, channels) "
            f"that come from a grid of patches; {layer!r} gives ({gives})"
        )
    return found


def _sides_of_grid(network: Network, layer: str) -> tuple[int, int] | None:
    """Return rows and columns of the patches that a layer's tokens come from, or None."""
    names = network.layer_names
    before = [network.layer_shapes[name] for name in names[: names.index(layer)]]
    tokens, whole = network.layer_shapes[layer][0], network.inputs.typical_shape
    fitting = [
        (rows, columns)
        for rows, columns, *rest in reversed([shape for shape in before if len(shape) == 3])
        if rows * columns > 1 and 0 <= tokens - rows * columns <= _MOST_EXTRA and rest
    ]
    # Heads and windows of attention also have three axes; patches are as wide as the image.
    alike = [(h, w) for h, w in fitting if has_shape_of_image((h, w), whole)]
    return next(iter(alike or fitting), None)


def has_shape_of_image(sides: tuple[int, ...], image: tuple[int, ...]) -> bool:
    """Return whether a grid is about as wide for its height as the image is."""
    return 0.7 < sides[0] * image[1] / (sides[1] * image[0]) < 1.4


def _patches(network: Network, tokens: int, count: int) -> tuple[int, ...]:
    """Return the `count` of some tokens that depend on the image where they first occur."""
    if tokens == count:
        return tuple(range(count))
    layer = _first_with(network, tokens)
    shape = network.inputs.typical_shape
    noise = np.random.default_rng(0).random((2, *shape), np.float32)
    # One after the other: in one batch the last digits may depend on the row.
    first, second = (
        np.asarray(network.runner.run(tf.constant(image[np.newaxis]))[0][layer].output)[0]
        for image in noise
    )
    changing = np.flatnonzero((first != second).any(axis=-1))
    if len(changing) != count:
        raise UnsupportedLayerError(
            f"{layer}: it is not known which of its {tokens} tokens are the {count} patches"
        )
    return tuple(map(int, changing))


def _first_with(network: Network, tokens: int) -> str:
    """Return the first layer with a number of tokens."""
    shapes = network.layer_shapes.items()
    return next(name for name, shape in shapes if len(shape) == 2 and shape[0] == tokens)


def _grid_of_changes(network: Network, tokens: int) -> TokenGrid | None:
    """Return the grid of patches without overlap, found by changing the image; None without one.

    A band of an image, as high as a patch or as wide, is changed at a time. The token of a patch
    changes with one row and one column of patches, where it first occurs.
    """
    height, width, _ = shape = network.inputs.typical_shape
    layer, image = _first_with(network, tokens), np.random.default_rng(0).random(shape, np.float32)
    for count in range(tokens, max(tokens - _MOST_EXTRA, 2) - 1, -1):
        rows = round((count * height / width) ** 0.5)
        columns = count // max(rows, 1)
        if rows * columns != count or height % rows or width % columns:
            continue
        bands = [image.copy() for _ in range(rows + columns + 1)]
        for k, band in enumerate(bands[:-1]):
            part = np.split(band, rows)[k] if k < rows else np.split(band, columns, 1)[k - rows]
            part[...] = 1 - part
        outputs = np.asarray(network.runner.run(tf.constant(np.stack(bands)))[0][layer].output)
        least = 1e-4 * np.abs(outputs).max()
        changes = (np.abs(outputs[:-1] - outputs[-1]) > least).any(axis=-1)
        patches = np.flatnonzero(changes.any(axis=0))
        by_row, by_column = changes[:rows, patches], changes[rows:, patches]
        once = (by_row.sum(axis=0) == 1).all() and (by_column.sum(axis=0) == 1).all()
        places = by_row.argmax(axis=0) * columns + by_column.argmax(axis=0)
        if once and len(set(places)) == len(places) == count:
            return TokenGrid(rows, columns, tuple(map(int, patches[np.argsort(places)])))
    return None


def reached_layers(network: Network, layers: list[str]) -> dict[str, Array]:
    """Return the gradients of a sum of the logits with respect to layers, for noise as images."""
    shape = network.inputs.typical_shape
    images = tf.constant(np.random.default_rng(0).random((1, *shape)), tf.float32)
    outputs: dict[str, Any] = {}

    def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outputs[name] = layer(*args, **kwargs)
        return outputs[name]

    with tf.GradientTape() as tape:
        tape.watch(images)
        z = network.runner.logits(images, call)
        total = tf.reduce_sum(z * np.random.default_rng(1).normal(size=z.shape).astype(np.float32))
    slopes = tape.gradient(total, [outputs[name] for name in layers], unconnected_gradients="zero")
    return {name: np.asarray(g, np.float32) for name, g in zip(layers, slopes, strict=True)}


def token_layers(network: Network) -> list[str]:
    """Return the layers whose tokens may make a residual stream: additions and normalisations."""
    found: list[str] = []

    def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if type(layer).__name__ in _STREAM and len(network.layer_shapes.get(name, ())) == 2:
            found.append(name)
        return layer(*args, **kwargs)

    network.runner.run(tf.zeros((1, *network.inputs.typical_shape)), call)
    return found


_STREAM = {
    *("Add", "BatchNormalization", "GroupNormalization", "LayerNormalization"),
    *("RMSNormalization", "LayerNorm", "RMSNorm"),
}
