"""Layers with weights as `z = W x + b`, for rules that change `W`, `b` or `x`.

The only module that knows which Keras layers have this form and where they keep their weights.
Weights are read when a pass runs, never copied, so an explanation is of the current weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from mnist_xai.interpret.core.graph import Call
from mnist_xai.interpret.core.layer_kinds import is_of_applications
from mnist_xai.interpret.core.linear_stem import is_plain_convolution, overlap_add


@dataclass(frozen=True, eq=False)
class Affine:
    """`z = W x + b`.

    Attributes:
        product: `product(x, kernel)` is `W x`, linear in both.
        kernel: The weights that `W` consists of.
        bias: `b`, of a shape that broadcasts to `z`.
        diagonal: Whether each output depends on the input at the same place only.
        convolution: Whether all positions share their weights.
        overlap: Padding and strides of a convolution whose transpose `overlap_add` computes; None
            for every other layer.
        folds: Whether a normalisation of the outputs' last axis can be multiplied into the kernel.
        input_axis: The axis of the kernel along which the inputs' last axis lies; None where a
            change of the inputs cannot be multiplied into the kernel.
    """

    product: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    kernel: tf.Tensor
    bias: tf.Tensor
    diagonal: bool = False
    convolution: bool = False
    overlap: tuple[str, tuple[int, int]] | None = None
    folds: bool = True
    input_axis: int | None = -2

    def transpose(
        self, g: tf.Tensor, like: tf.Tensor, kernel: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return `Wᵀ g`, of the shape of `like`; with `kernel`, that of another `W`."""
        kernel = self.kernel if kernel is None else kernel
        g = tf.cast(g, tf.float32)
        if self.overlap and None not in (*g.shape[1:3], *like.shape[1:3]):
            return overlap_add(g, kernel, *self.overlap, size=tuple(like.shape[1:3]))
        x = tf.cast(like, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = self.product(x, kernel)
        return tape.gradient(z, x, g)

    def of_scaled_inputs(self, scale: tf.Tensor, shift: tf.Tensor) -> "Affine":
        """Return the map of `x` for inputs `s x + t`: `W (s x + t) + b = (W s) x + (W t + b)`.

        Args:
            scale: `s`, one number for each entry of the inputs' last axis.
            shift: `t`, of the shape of the inputs of one image, `(1, …)`.
        """
        shape = [1] * len(self.kernel.shape)
        if self.input_axis is not None:
            shape[self.input_axis] = -1
        kernel = self.kernel * tf.reshape(scale, shape)
        return replace(self, kernel=kernel, bias=self.product(shift, self.kernel) + self.bias)


def affine_parts(layer: Any) -> list[Affine]:
    """Return the affine maps that a layer applies before its activation, in order, or `[]`."""
    for kind, parts in _PARTS.items():
        if type(layer) is kind:
            return parts(layer)
    return _layer_scale(layer) if is_of_applications(layer, "LayerScale") else []


def affine_calls(
    call: Call, depends: Callable[[Any], bool]
) -> list[tuple[Affine, tf.Tensor, tf.Tensor]]:
    """Return a call as `(affine, input, output)` for each of its affine maps, or `[]`.

    Args:
        call: The call.
        depends: Whether an argument depends on the image.
    """
    parts, found = affine_parts(call.layer) or _operation(call, depends), []
    x = next(filter(depends, keras.tree.flatten((call.args, call.kwargs))), None)
    for i, affine in enumerate(parts):
        last = i == len(parts) - 1
        z = call.output if last else affine.product(tf.cast(x, tf.float32), affine.kernel)
        found.append((affine, x, z))
        x = z
    return found


def _operation(call: Call, depends: Callable[[Any], bool]) -> list[Affine]:
    """Return a product of the image with constant weights, such as `ops.matmul(x, w)`."""
    name = type(call.layer).__name__
    known = name in _PRODUCTS and type(call.layer).__module__.startswith("keras.src.ops")
    if not known or call.kwargs or len(call.args) != 2 or isinstance(call.args[0], list | tuple):
        return []
    places = [i for i, argument in enumerate(call.args) if depends(argument)]
    if len(places) != 1:
        return []

    def product(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        return call.layer(*((w, x) if places == [1] else (x, w)))

    kernel = _tensor(call.args[1 - places[0]])
    convolution = "Conv" in name
    return [Affine(product, kernel, tf.zeros(()), False, convolution, None, False, None)]


_PRODUCTS = {"Conv", "DepthwiseConv", "Dot", "Einsum", "Matmul", "Tensordot"}


def normalised(affine: Affine, norm: Affine, layer: Any) -> Affine:
    """Return a linear layer and the normalisation of its last axis as one affine map.

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
    return replace(affine, kernel=kernel, bias=bias)


def _tensor(variable: Any) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(variable), tf.float32)


def _bias(layer: Any) -> tf.Tensor:
    return _tensor(layer.bias) if layer.use_bias else tf.zeros(())


def _dense(layer: Any) -> list[Affine]:
    return [Affine(keras.ops.matmul, _tensor(layer.kernel), _bias(layer))]


def _einsum_dense(layer: Any) -> list[Affine]:
    product = partial(keras.ops.einsum, layer.equation)
    bias = tf.zeros(()) if layer.bias is None else _tensor(layer.bias)
    return [Affine(product, _tensor(layer.kernel), bias, folds=False, input_axis=None)]


def _spatial(operation: Any, layer: Any, **more: Any) -> Callable[..., tf.Tensor]:
    """Return an operation of `keras.ops` with a layer's strides, padding and dilation."""
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
    overlap = (layer.padding, layer.strides) if is_plain_convolution(layer) else None
    product = _spatial(keras.ops.conv, layer)
    axis = -2 if layer.groups == 1 else None
    affine = Affine(product, _tensor(layer.kernel), _bias(layer), convolution=True, input_axis=axis)
    return [replace(affine, overlap=overlap)]


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
    kernel = _tensor(layer.kernel)
    return [Affine(product, kernel, _bias(layer), convolution=True, input_axis=-1)]


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


def _layer_scale(layer: Any) -> list[Affine]:
    return [Affine(tf.multiply, _tensor(layer.gamma), tf.zeros(()), diagonal=True)]


def _rescaling(layer: Any) -> list[Affine]:
    return [Affine(tf.multiply, _tensor(layer.scale), _tensor(layer.offset), diagonal=True)]


def _standardisation(layer: Any) -> list[Affine]:
    if layer.invert:
        return []
    # As Keras does, because a pixel that never varies has a variance of zero.
    scale = 1 / tf.maximum(tf.sqrt(_tensor(layer.variance)), keras.config.epsilon())
    return [Affine(tf.multiply, scale, -_tensor(layer.mean) * scale, diagonal=True)]


_PARTS: dict[Any, Callable[[Any], list[Affine]]] = {
    layers.Dense: _dense,
    layers.EinsumDense: _einsum_dense,
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
