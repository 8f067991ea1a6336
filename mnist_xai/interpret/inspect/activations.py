"""Outputs of intermediate layers, and the attention maps computed from them."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from mnist_xai.interpret.core.head import sums_to_one
from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import check_at_least
from mnist_xai.interpret.core.spatial import last_spatial_layer


def layer_outputs(
    model: keras.Model | Network, images: ArrayLike, layers: Sequence[str] | None = None
) -> dict[str, Array]:
    """Compute the outputs of intermediate layers: `a_l = sigma(theta_l · a_{l-1} + b_l)`.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: `(N, H, W, C)`, as the model takes them.
        layers: Names of layers, `outer/inner` in a nested model; all of them by default.

    Returns:
        The outputs by name, in the order asked for, each `(N, …)`.

    Raises:
        TypeError, ValueError: For images out of shape or range, or an unknown layer.

    Source: document 000, sections 6.2 and 7.3.
    """
    network = Network.of(model)
    return network.activations(images, network.layer_names if layers is None else layers)


def attention_map(
    model: keras.Model | Network, images: ArrayLike, layer: str | None = None, *, p: int = 2
) -> Array:
    """Compute where a convolution is active: `A = Σ_k |a_k|^p` over its channels `k`.

    Document 000, section 8.3, calls this the "attention weights" of a convolution. Activations
    are not weights, but their powers, summed over the channels, form a map.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: `(N, H, W, C)`, as the model takes them.
        layer: Name of a layer with a spatial output; the last one by default.
        p: The power, at least 1; the larger, the more the strongest channel counts.

    Returns:
        `(N, h, w, 1)`, in the layer's own resolution, at least 0.

    Raises:
        ValueError: For `p` below 1, or a layer without a spatial output.

    Source: Zagoruyko and Komodakis 2017, section 3.1.
    """
    check_at_least(1, p=p)
    network = Network.of(model)
    name = layer or last_spatial_layer(network)
    activation = layer_outputs(network, images, [name])[name]
    if activation.ndim != 4:
        raise ValueError(
            f"layer: expected one with outputs (N, h, w, channels); {name!r} gives "
            f"{activation.shape}"
        )
    return np.sum(np.abs(activation) ** p, axis=-1, keepdims=True)


def learned_attention(
    model: keras.Model | Network, images: ArrayLike, layer: str = "attention"
) -> Array:
    """Return the weights with which an attention network pools: `alpha = softmax(e)`.

    Args:
        model: A network with attention over positions, such as `attention_cnn`.
        images: `(N, H, W, C)`, as the model takes them.
        layer: Name of the layer whose output is `alpha`, `(N, positions, 1)`.

    Returns:
        `(N, h, w, 1)`, at least 0, summing to one over the positions of each image.

    Raises:
        ValueError: For an unknown layer, or outputs that do not sum to one.

    Source: document 000, section 7.2.
    """
    network = Network.of(model)
    alpha = layer_outputs(network, images, [layer])[layer]
    alpha = alpha.reshape(len(alpha), -1)
    # In the layer's own precision, which says how exactly its weights can sum to one.
    if not sums_to_one(tf.cast(alpha, network.runner.layer_dtypes[layer])):
        raise ValueError(f"layer: expected weights that sum to one; those of {layer!r} do not")
    return alpha.reshape(len(alpha), *_grid(network, alpha.shape[1], layer), 1)


def _grid(network: Network, positions: int, before: str) -> tuple[int, int]:
    """Return height and width of the last feature map of this size before a layer."""
    grid: tuple[int, int] | None = None
    for name, shape in network.layer_shapes.items():
        if name == before:
            break
        if len(shape) == 3 and shape[0] * shape[1] == positions:
            grid = (shape[0], shape[1])
    if grid is None:
        raise ValueError(f"layer: no feature map before {before!r} has its {positions} positions")
    return grid
