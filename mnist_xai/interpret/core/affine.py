"""Layers with weights as what they are, `z = W x + b`, for rules that change W, b or x.

The one place that knows which Keras layers are of this form, and where they keep their weights.
Weights are read when a pass runs, never copied: an explanation is of the weights there are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from mnist_xai.interpret.core.graph import Call
from mnist_xai.interpret.core.linear_stem import is_plain_convolution, overlap_add


@dataclass(frozen=True, eq=False)
class Affine:
    """`z = W x + b`.

    Attributes:
        product: `x` and a kernel to `W x`, linear in both.
        kernel: The numbers of which `W` is made.
        bias: `b`, as it is added to `z`.
        diagonal: Whether each output depends on the input of its own place alone.
        convolution: Whether the same weights are at every position.
        overlap_padding: Padding of a plain convolution with few input channels, whose transpose is
            computed by `overlap_add`; None for every other layer.
    """

    product: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    kernel: tf.Tensor
    bias: tf.Tensor
    diagonal: bool = False
    convolution: bool = False
    overlap_padding: str | None = None

    def transpose(
        self, slope: tf.Tensor, like: tf.Tensor, kernel: tf.Tensor | None = None
    ) -> tf.Tensor:
        """`Wᵀ g`, of the shape of `like`, with another kernel if one is given."""
        kernel = self.kernel if kernel is None else kernel
        slope = tf.cast(slope, tf.float32)
        if self.overlap_padding and None not in slope.shape[1:3]:
            return overlap_add(slope, kernel, self.overlap_padding)
        x = tf.cast(like, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = self.product(x, kernel)
        return tape.gradient(z, x, slope)


def affine_parts(layer: Any) -> list[Affine]:
    """The steps of this form that a layer consists of, its activation apart; empty for none."""
    for kind, parts in _PARTS.items():
        if type(layer) is kind:
            return parts(layer)
    return []


def as_calls(call: Call) -> list[tuple[Affine, tf.Tensor, tf.Tensor]]:
    """A call as steps `(affine, input, output)`; empty when it is not of this form."""
    parts, made = affine_parts(call.layer), []
    x = call.args[0] if call.args else None
    for i, affine in enumerate(parts):
        last = i == len(parts) - 1
        z = call.output if last else affine.product(tf.cast(x, tf.float32), affine.kernel)
        made.append((affine, x, z))
        x = z
    return made


def normalised(affine: Affine, norm: Affine, layer: Any) -> Affine:
    """One step for a linear layer and the normalisation of its outputs' last axis.

    `s (W x + b) + t = (s W) x + (s b + t)`.
    """
    scale = tf.reshape(norm.kernel, [-1])
    if isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        spread = tf.reshape(scale, affine.kernel.shape[-2:])
    elif isinstance(layer, layers.Conv1DTranspose | layers.Conv2DTranspose):
        spread = scale[:, tf.newaxis]
    else:
        spread = scale
    kernel = affine.kernel * spread
    bias = affine.bias * scale + tf.reshape(norm.bias, [-1])
    return Affine(affine.product, kernel, bias, False, affine.convolution, affine.overlap_padding)


def _tensor(variable: Any) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(variable), tf.float32)


def _bias(layer: Any) -> tf.Tensor:
    return _tensor(layer.bias) if layer.use_bias else tf.zeros(())


def _dense(layer: Any) -> list[Affine]:
    return [Affine(keras.ops.matmul, _tensor(layer.kernel), _bias(layer))]


def _spatial(operation: Any, layer: Any, **more: Any) -> Callable[..., tf.Tensor]:
    """An operation of `keras.ops` with a layer's geometry."""
    return partial(
        operation,
        strides=layer.strides,
        padding=layer.padding,
        data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
        **more,
    )


def _convolution(layer: Any) -> list[Affine]:
    if layer.padding == "causal" or layer.data_format != "channels_last":
        return []
    overlap_padding = layer.padding if is_plain_convolution(layer) else None
    product = _spatial(keras.ops.conv, layer)
    return [Affine(product, _tensor(layer.kernel), _bias(layer), False, True, overlap_padding)]


def _depthwise(layer: Any) -> list[Affine]:
    if layer.data_format != "channels_last":
        return []
    product = _spatial(keras.ops.depthwise_conv, layer)
    return [Affine(product, _tensor(layer.kernel), _bias(layer), convolution=True)]


def _separable(layer: Any) -> list[Affine]:
    if layer.data_format != "channels_last":
        return []
    depthwise = _spatial(keras.ops.depthwise_conv, layer)
    pointwise = partial(keras.ops.conv, padding="valid", data_format="channels_last")
    return [
        Affine(depthwise, _tensor(layer.depthwise_kernel), tf.zeros(()), convolution=True),
        Affine(pointwise, _tensor(layer.pointwise_kernel), _bias(layer), convolution=True),
    ]


def _transposed(layer: Any) -> list[Affine]:
    if layer.data_format != "channels_last":
        return []
    product = _spatial(keras.ops.conv_transpose, layer, output_padding=layer.output_padding)
    return [Affine(product, _tensor(layer.kernel), _bias(layer), convolution=True)]


def _normalisation(layer: Any) -> list[Affine]:
    scale = keras.ops.rsqrt(_tensor(layer.moving_variance) + layer.epsilon)
    scale = scale * _tensor(layer.gamma) if layer.scale else scale
    shift = -_tensor(layer.moving_mean) * scale
    shift = shift + _tensor(layer.beta) if layer.center else shift
    rank = layer.input_spec.ndim
    shape = [1] * rank
    shape[layer.axis] = -1
    kernel, bias = tf.reshape(scale, shape), tf.reshape(shift, shape)
    return [Affine(tf.multiply, kernel, bias, diagonal=True)]


def _rescaling(layer: Any) -> list[Affine]:
    return [Affine(tf.multiply, _tensor(layer.scale), _tensor(layer.offset), diagonal=True)]


def _standardisation(layer: Any) -> list[Affine]:
    if layer.invert:
        return []
    # As Keras: a pixel that never varied has a variance of zero.
    scale = 1 / tf.maximum(tf.sqrt(_tensor(layer.variance)), keras.config.epsilon())
    return [Affine(tf.multiply, scale, -_tensor(layer.mean) * scale, diagonal=True)]


_PARTS: dict[Any, Callable[[Any], list[Affine]]] = {
    layers.Dense: _dense,
    layers.Conv1D: _convolution,
    layers.Conv2D: _convolution,
    layers.Conv3D: _convolution,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
    layers.Conv1DTranspose: _transposed,
    layers.Conv2DTranspose: _transposed,
    layers.BatchNormalization: _normalisation,
    layers.Rescaling: _rescaling,
    layers.Normalization: _standardisation,
}
