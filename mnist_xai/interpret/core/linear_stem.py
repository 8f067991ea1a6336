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
        before: Names of the layers before it, which scale or pad the pixels and belong to the stem.
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
    layer, firsts = calls[name].layer, [calls[one].layer for one in before]
    sizes = [tuple(_input_of(calls[one]).shape[1:3]) for one in names]
    linear = without_activation(layer)
    pool = _pooling_of(calls, name, shortcuts)

    def forward(x: tf.Tensor) -> tf.Tensor:
        for first in firsts:
            x = first(x)
        return linear(x)

    def transpose(g: tf.Tensor) -> tf.Tensor:
        slope = overlap_add(g, layer.kernel, layer.padding, layer.strides, size=sizes[-1])
        for first, size in zip(reversed(firsts), reversed(sizes[:-1]), strict=True):
            if isinstance(first, keras.layers.ZeroPadding2D):
                (above, _), (left, _) = first.padding
                slope = slope[:, above : above + size[0], left : left + size[1]]
            else:
                slope = slope * _factors(first, slope.shape[-1])
        return slope

    pool_forward = calls[pool].layer if pool else NO_STEM.pool_forward
    return LinearStem(name, tuple(before), pool, forward, transpose, pool_forward)


def _first_layers(calls: dict[str, Call], images: Any) -> list[str]:
    """Return the layers that scale or pad, and the first layer that does something else.

    The list is empty if several layers read the same pixels.
    """
    names: list[str] = []
    while True:
        readers = [name for name, call in calls.items() if reads(call, images)]
        if len(readers) != 1:
            return []
        names += readers
        call = calls[readers[0]]
        if not isinstance(call.layer, _FIRST) or call.layer.compute_dtype != "float32":
            return names
        if getattr(call.layer, "data_format", "channels_last") != "channels_last":
            return names
        images = call.output


_FIRST = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.ZeroPadding2D)


def _input_of(call: Call) -> Any:
    return first_tensor(call.args, call.kwargs)


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


def overlap_add(
    gradient: tf.Tensor,
    kernel: tf.Tensor,
    padding: str,
    strides: tuple[int, int] = (1, 1),
    *,
    size: tuple[int, ...] | None = None,
) -> tf.Tensor:
    """Apply the transpose of a convolution: `x_(ti+u, tj+v, c) = Σ_d g_ijd w_uvcd`, stride `t`.

    TensorFlow's transposed convolution is slow for images of few channels, which here are its
    outputs. So the pixels of a block become the channels of one output.

    Args:
        gradient: `(N, h, w, filters)`.
        kernel: `(rows, columns, C, filters)`.
        padding: The convolution's padding, `"valid"` or `"same"`.
        strides: The convolution's strides.
        size: Height and width of the convolution's input; not needed for strides of 1.

    Returns:
        `(N, H, W, C)`.
    """
    if strides == (1, 1):
        return _overlap_add_in_blocks(gradient, kernel, padding)
    rows, columns, channels, filters = kernel.shape
    (t, u), (height, width) = strides, size or (0, 0)
    # The pixels at `t i + a` are a convolution of stride 1 with every t-th row of the kernel, from
    # row `a`. All `t u` of them are computed at once.
    j, k = -(-rows // t), -(-columns // u)
    padded = tf.pad(kernel, [[0, j * t - rows], [0, k * u - columns], [0, 0], [0, 0]])
    phases = tf.transpose(tf.reshape(padded, [j, t, k, u, channels, filters]), [0, 2, 5, 1, 3, 4])[
        ::-1, ::-1
    ]
    y = tf.nn.conv2d(
        gradient,
        tf.reshape(phases, [j, k, filters, t * u * channels]),
        1,
        [[0, 0], [j - 1, j - 1], [k - 1, k - 1], [0, 0]],
    )
    h, w = gradient.shape[1] + j - 1, gradient.shape[2] + k - 1
    pixels = tf.transpose(tf.reshape(y, [-1, h, w, t, u, channels]), [0, 1, 3, 2, 4, 5])
    x = tf.reshape(pixels, [-1, h * t, w * u, channels])
    above = _zeros_before(gradient.shape[1], rows, t, height) if padding == "same" else 0
    left = _zeros_before(gradient.shape[2], columns, u, width) if padding == "same" else 0
    x = x[:, above : above + height, left : left + width]
    # The last pixels may be read by no output.
    return tf.pad(x, [[0, 0], [0, height - x.shape[1]], [0, width - x.shape[2]], [0, 0]])


def _zeros_before(outputs: int, taps: int, stride: int, pixels: int) -> int:
    """Return the zeros that "same" padding puts before the pixels along an axis."""
    return max((outputs - 1) * stride + taps - pixels, 0) // 2


def _overlap_add_in_blocks(gradient: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Apply the transpose of a convolution of stride 1.

    The `s × s` pixels of a block become the channels of one output: a convolution of stride `s`
    with the flipped kernel, shifted `s²` ways, and then `depth_to_space`.
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
        and layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.padding in ("valid", "same")
        and layer.data_format == "channels_last"
        and layer.compute_dtype == "float32"
        # For more channels TensorFlow's transposed convolution is as fast.
        and layer.kernel.shape[2] <= 4
    )
