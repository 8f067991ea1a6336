"""The linear first layer of a network, split off so that an average of gradients needs it once.

A first convolution is linear up to its activation: `h = L x + b`. With `S(x) = T(h)`,

    ∂S/∂x = Lᵀ ∂T/∂h,    Σ_k w_k ∂S/∂x_k = Lᵀ Σ_k w_k ∂T/∂h_k,

so an average over many points is pulled back through the layer once, and along a straight line
`x_k = x' + α_k (x - x')` the layer's outputs are `h' + α_k (h - h')`. Where the first layer is not
of this kind, `h = x` and both maps are the identity: the same code then is the plain way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from mnist_xai.interpret.graph import Call, without_activation


@dataclass(frozen=True, eq=False)
class Front:
    """What comes before the part of a network that has to be run for every point.

    Attributes:
        forward: Images `x` `(N, H, W, C)` to `h` `(N, …)`.
        pull_back: Gradients with respect to `h` to gradients with respect to `x`.
        replaced: From `h`, the outputs of layers that are not to be called any more.
    """

    forward: Callable[[tf.Tensor], tf.Tensor]
    pull_back: Callable[[tf.Tensor], tf.Tensor]
    replaced: Callable[[tf.Tensor], dict[str, tf.Tensor]] | None


NO_FRONT = Front(forward=lambda x: x, pull_back=lambda g: g, replaced=None)
"""The front of a network that is run whole for every point."""


def split_off(calls: dict[str, Call], images: Any) -> Front:
    """The front of a network whose calls on these images were written down."""
    readers = [name for name, call in calls.items() if _reads(call, images)]
    if len(readers) != 1 or not _is_plain_convolution(calls[readers[0]].layer):
        return NO_FRONT
    (name,) = readers
    layer = calls[name].layer
    return Front(
        forward=without_activation(layer),
        pull_back=lambda g: fold(g, layer.kernel, layer.padding),
        replaced=lambda h: {name: layer.activation(h)},
    )


def fold(gradient: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Apply the transpose of a convolution of stride 1: `x_(i+u, j+v, c) = Σ_d g_ijd w_uvcd`.

    One matrix product, then sums of shifted planes: with few image channels this is several
    times faster than the library's transposed convolution, whose output channels they are.

    Args:
        gradient: `(N, h, w, filters)`.
        kernel: `(rows, columns, C, filters)`.
        padding: `"valid"` or `"same"`, as the convolution's.

    Returns:
        `(N, H, W, C)`.
    """
    rows, columns, channels, filters = kernel.shape
    height, width = gradient.shape[1:3]
    weights = tf.reshape(tf.convert_to_tensor(kernel), [rows * columns * channels, filters])
    patches = tf.matmul(tf.reshape(gradient, [-1, filters]), weights, transpose_b=True)
    patches = tf.reshape(patches, [-1, height, width, rows, columns * channels])
    # First the rows of every patch to their place, then the columns.
    lines = tf.add_n(
        [
            tf.pad(patches[:, :, :, u], [[0, 0], [u, rows - 1 - u], [0, 0], [0, 0]])
            for u in range(rows)
        ]
    )
    lines = tf.reshape(lines, [-1, height + rows - 1, width, columns, channels])
    image = tf.add_n(
        [
            tf.pad(lines[:, :, :, v], [[0, 0], [0, 0], [v, columns - 1 - v], [0, 0]])
            for v in range(columns)
        ]
    )
    if padding == "same":
        top, left = (rows - 1) // 2, (columns - 1) // 2
        return image[:, top : top + height, left : left + width]
    return image


def _reads(call: Call, images: Any) -> bool:
    return any(tensor is images for tensor in keras.tree.flatten((call.args, call.kwargs)))


def _is_plain_convolution(layer: Any) -> bool:
    """Whether a layer is a convolution that `fold` can transpose, then an activation."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.strides == layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.padding in ("valid", "same")
        and layer.data_format == "channels_last"
        and layer.compute_dtype == "float32"
        # With many channels the library's transposed convolution is no slower.
        and layer.kernel.shape[2] <= 4
    )
