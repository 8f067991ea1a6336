"""The stem: a linear first layer, applied once for a whole average of gradients.

A first convolution is linear up to its activation: `h = L x + b`. With `S(x) = T(h)`,

    ∂S/∂x = Lᵀ ∂T/∂h,    Σ_k w_k ∂S/∂x_k = Lᵀ Σ_k w_k ∂T/∂h_k,

so an average of gradients at many points needs `Lᵀ` once, and along a straight line
`x_k = x' + α_k (x - x')` the layer's outputs are `h' + α_k (h - h')`. For any other first layer
the stem is the identity, `h = x`, and the same code computes the plain average.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from mnist_xai.interpret.core.graph import Call, first_tensor, reads, without_activation
from mnist_xai.interpret.core.shortcuts import Shortcuts, is_only_relu


@dataclass(frozen=True, eq=False)
class LinearStem:
    """The linear first layer of a network.

    Attributes:
        name: Name of the layer; the stem is its part before the activation. None when the stem
            is the identity.
        before: Names of the layers before it, which scale the pixels and belong to the stem.
        pool: Name of the max-pooling that reads the stem's output, with at most a deferred ReLU
            in between; None without one.
        forward: Images `x` `(N, H, W, C)` to `h` `(N, …)`.
        transpose: Gradients with respect to `h` to gradients with respect to `x`.
        pool_forward: `h` to the pooled `h`; the identity without a pooling.
    """

    name: str | None
    before: tuple[str, ...]
    pool: str | None
    forward: Callable[[tf.Tensor], tf.Tensor]
    transpose: Callable[[tf.Tensor], tf.Tensor]
    pool_forward: Callable[[tf.Tensor], tf.Tensor]


NO_STEM = LinearStem(None, (), None, lambda x: x, lambda g: g, lambda h: h)
"""The identity, for a network whose first layer is not linear."""


def split_linear_stem(calls: dict[str, Call], images: Any, shortcuts: Shortcuts) -> LinearStem:
    """Return the stem of a network, given the calls of a run on these images."""
    calls = {name: call for name, call in calls.items() if name not in shortcuts.identities}
    names = _first_layers(calls, images)
    if not names or not is_plain_convolution(calls[names[-1]].layer):
        return NO_STEM
    *before, name = names
    layer, scalings = calls[name].layer, [calls[one].layer for one in before]
    linear = without_activation(layer)
    pool = _pooling_of(calls, name, shortcuts)

    def forward(x: tf.Tensor) -> tf.Tensor:
        for scaling in scalings:
            x = scaling(x)
        return linear(x)

    def transpose(g: tf.Tensor) -> tf.Tensor:
        slope = overlap_add(g, layer.kernel, layer.padding)
        for scaling in reversed(scalings):
            slope = slope * _factors(scaling, slope.shape[-1])
        return slope

    pool_forward = calls[pool].layer if pool else NO_STEM.pool_forward
    return LinearStem(name, tuple(before), pool, forward, transpose, pool_forward)


def _first_layers(calls: dict[str, Call], images: Any) -> list[str]:
    """Return the layers that scale the pixels, and the first layer that does something else.

    The list is empty if several layers read the same pixels.
    """
    names: list[str] = []
    while True:
        readers = [name for name, call in calls.items() if reads(call, images)]
        if len(readers) != 1:
            return []
        names += readers
        call = calls[readers[0]]
        if not isinstance(call.layer, _SCALING) or call.layer.compute_dtype != "float32":
            return names
        images = call.output


_SCALING = (keras.layers.Rescaling, keras.layers.Normalization)


def _factors(scaling: Any, channels: int) -> tf.Tensor:
    """Return the factor of each channel in a layer `a x + b`, `(1, 1, 1, channels)`."""
    x = tf.zeros([1, 1, 1, channels])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = scaling(x)
    return tape.gradient(y, x)


def _pooling_of(calls: dict[str, Call], name: str, shortcuts: Shortcuts) -> str | None:
    """Return the pooling that reads a layer's output, directly or through a deferred ReLU."""
    for pool in shortcuts.pools:
        before = first_tensor(calls[pool].args, calls[pool].kwargs)
        makers = [n for n, made in calls.items() if made.output is before]
        if makers[-1] != name and is_only_relu(calls[makers[-1]].layer):
            before = first_tensor(calls[makers[-1]].args, calls[makers[-1]].kwargs)
        readers = [other for other in calls.values() if reads(other, before)]
        if before is calls[name].output and len(readers) == 1:
            return pool
    return None


def overlap_add(gradient: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Apply the transpose of a convolution of stride 1: `x_(i+u, j+v, c) = Σ_d g_ijd w_uvcd`.

    TensorFlow's transposed convolution is slow for images of few channels, which here are its
    outputs. So the `s × s` pixels of a block become the channels of one output: a convolution of
    stride `s` with the flipped kernel, shifted `s²` ways, and then `depth_to_space`.

    Args:
        gradient: `(N, h, w, filters)`.
        kernel: `(rows, columns, C, filters)`.
        padding: The convolution's padding, `"valid"` or `"same"`.

    Returns:
        `(N, H, W, C)`.
    """
    rows, columns, channels, _ = kernel.shape
    s = 4 if channels == 1 else 2
    flipped = tf.transpose(tf.convert_to_tensor(kernel)[::-1, ::-1], [0, 1, 3, 2])
    shifts = [
        tf.pad(flipped, [[i, s - 1 - i], [j, s - 1 - j], [0, 0], [0, 0]])
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
    """Return the pixels along an axis, and the zeros that go before and after its outputs."""
    cropped = (taps - 1) // 2 if padding == "same" else 0
    pixels = outputs if padding == "same" else outputs + taps - 1
    before = taps - 1 - cropped
    return pixels, before, -(-pixels // s) * s + taps - 1 - outputs - before


def is_plain_convolution(layer: Any) -> bool:
    """Return whether a layer is a convolution that `overlap_add` can transpose."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.strides == layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.padding in ("valid", "same")
        and layer.data_format == "channels_last"
        and layer.compute_dtype == "float32"
        # For more channels TensorFlow's transposed convolution is as fast.
        and layer.kernel.shape[2] <= 4
    )
