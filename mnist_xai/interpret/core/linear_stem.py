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

from mnist_xai.interpret.core.graph import Call, reads, without_activation
from mnist_xai.interpret.core.shortcuts import Shortcuts, is_only_relu


@dataclass(frozen=True, eq=False)
class LinearStem:
    """What comes before the part of a network that has to be run for every point.

    Attributes:
        name: Name of the layer that is split off, its activation apart; None without one.
        pool: Name of the max-pooling that reads its output and before which the ReLU can wait;
            None without one.
        pool_forward: `h` to the pooled `h`; the identity without a pooling.
        forward: Images `x` `(N, H, W, C)` to `h` `(N, …)`.
        pull_back: Gradients with respect to `h` to gradients with respect to `x`.
    """

    name: str | None
    pool: str | None
    forward: Callable[[tf.Tensor], tf.Tensor]
    pull_back: Callable[[tf.Tensor], tf.Tensor]
    pool_forward: Callable[[tf.Tensor], tf.Tensor]


NO_STEM = LinearStem(None, None, lambda x: x, lambda g: g, lambda h: h)
"""The front of a network that is run whole for every point."""


def split_linear_stem(calls: dict[str, Call], images: Any, shortcuts: Shortcuts) -> LinearStem:
    """The front of a network whose calls on these images were written down."""
    readers = [name for name, call in calls.items() if reads(call, images)]
    if len(readers) != 1 or not is_plain_convolution(calls[readers[0]].layer):
        return NO_STEM
    (name,) = readers
    layer = calls[name].layer
    pool = _pooling_of(calls, name, shortcuts)
    return LinearStem(
        name,
        pool,
        without_activation(layer),
        lambda g: overlap_add(g, layer.kernel, layer.padding),
        calls[pool].layer if pool else NO_STEM.pool_forward,
    )


def _pooling_of(calls: dict[str, Call], name: str, shortcuts: Shortcuts) -> str | None:
    """The pooling that reads a layer's output directly, or through a ReLU that can wait."""
    for pool in shortcuts.pools:
        before = calls[pool].args[0]
        makers = [n for n, made in calls.items() if made.output is before]
        if makers[-1] != name and is_only_relu(calls[makers[-1]].layer):
            before = calls[makers[-1]].args[0]
        readers = [other for other in calls.values() if reads(other, before)]
        if before is calls[name].output and len(readers) == 1:
            return pool
    return None


def overlap_add(gradient: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Apply the transpose of a convolution of stride 1: `x_(i+u, j+v, c) = Σ_d g_ijd w_uvcd`.

    The library's own is slow where images have few channels, which here are the outputs. So a
    whole block of `s × s` pixels is made the channels of one output: a convolution of stride
    `s` with the turned kernel shifted `s²` ways, and the blocks are spread out after it.

    Args:
        gradient: `(N, h, w, filters)`.
        kernel: `(rows, columns, C, filters)`.
        padding: `"valid"` or `"same"`, as the convolution's.

    Returns:
        `(N, H, W, C)`.
    """
    rows, columns, channels, _ = kernel.shape
    s = 4 if channels == 1 else 2
    turned = tf.transpose(tf.convert_to_tensor(kernel)[::-1, ::-1], [0, 1, 3, 2])
    shifts = [
        tf.pad(turned, [[i, s - 1 - i], [j, s - 1 - j], [0, 0], [0, 0]])
        for i in range(s)
        for j in range(s)
    ]
    height, above, below = _extent(gradient.shape[1], rows, padding, s)
    width, left, right = _extent(gradient.shape[2], columns, padding, s)
    blocks = tf.nn.conv2d(
        gradient, tf.concat(shifts, -1), s, [[0, 0], [above, below], [left, right], [0, 0]]
    )
    return tf.nn.depth_to_space(blocks, s)[:, :height, :width]


def _extent(outputs: int, taps: int, padding: str, s: int) -> tuple[int, int, int]:
    """Pixels along an axis, and the zeros before and after its outputs that blocks need."""
    cropped = (taps - 1) // 2 if padding == "same" else 0
    pixels = outputs if padding == "same" else outputs + taps - 1
    before = taps - 1 - cropped
    return pixels, before, -(-pixels // s) * s + taps - 1 - outputs - before


def is_plain_convolution(layer: Any) -> bool:
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
