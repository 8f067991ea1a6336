"""Which pixels a unit can see, found by going back through the layers' geometry.

For every kind of layer that is known, a stand-in with the same geometry and no chance in it: all
weights one, all inputs one, a mean in place of a maximum, no activation. The transpose of the
stand-in takes the units that are asked for to all the units that can reach them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import activations, layers
from numpy.typing import NDArray

from mnist_xai.interpret.graph import Call, without_activation
from mnist_xai.interpret.network import Network, UnsupportedLayerError
from mnist_xai.interpret.neurons import flat_index

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The pixels that a unit can see.

    Attributes:
        mask: Which pixels, boolean `(H, W)`.
    """

    mask: Mask

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row, first column, height and width of the smallest box around the pixels."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return 0, 0, 0, 0
        return (
            int(rows[0]),
            int(columns[0]),
            int(rows[-1] - rows[0] + 1),
            int(columns[-1] - columns[0] + 1),
        )

    def __str__(self) -> str:
        top, left, height, width = self.box
        return (
            f"{self.mask.sum()} pixels in a box of {height} x {width} from row {top}, column {left}"
        )


def receptive_field(
    model: keras.Model | Network, layer: str, index: Sequence[int]
) -> ReceptiveField:
    """Find the pixels that a unit can see: those `x_i` that `a_l[index]` is a function of.

    It follows from the layers' geometry alone: kernels, strides, padding, pooling windows. No
    value of a weight or of an image enters, so neither a ReLU that happens to be closed nor a
    weight that happens to be zero hides a pixel. Changing every pixel outside the mask leaves
    the unit as it is, whatever the image; for every pixel inside there are weights with which
    the unit depends on it.

    Args:
        model: A Keras classifier of images of one size, or a `Network` made of it.
        layer: Name of the layer `l`, `outer/inner` in a nested model.
        index: The unit's place in the layer's output of one image, `(y, x, k)` or `(unit,)`.

    Returns:
        The mask `(H, W)`, and the box around it.

    Raises:
        TypeError, ValueError: For a layer that the model does not have, a unit that the layer
            does not have, or a model that takes images of any size.
        UnsupportedLayerError: For a layer on the way whose geometry is not known.

    Source: Araujo, Norris, Sim 2019, section 2; found here by the transposed layers, not by
    their recurrence, which knows one path only and no border.
    """
    network = Network.of(model)
    unit = flat_index(network, layer, index)
    if None in network.image_shape:
        raise ValueError(
            f"model: expected images of one size; {network.model.name!r} takes "
            f"{network.image_shape}"
        )
    image = tf.ones([1, *network.image_shape])
    calls, _ = network.run(image)
    start = np.zeros([1, *network.layer_shapes[layer]], bool)
    start.flat[unit] = True
    mask = _seen(calls, layer, start, image)
    return ReceptiveField(np.asarray(mask.any(axis=(0, 3))))


def _seen(calls: dict[str, Call], layer: str, start: Mask, image: Any) -> Mask:
    """Go back from some outputs of a layer to all the pixels that reach them."""
    masks: dict[int, Mask] = {id(calls[layer].output): start}
    known = {id(image), *(id(call.output) for call in calls.values())}
    names = list(calls)
    for name in reversed(names[: names.index(layer) + 1]):
        call = calls[name]
        mask = masks.pop(id(call.output), None)
        if mask is None:
            continue
        # A layer may put out the very tensor that it was given, so first popped, then added.
        for tensor, seen in _reached(name, call, mask):
            if id(tensor) in known:
                masks[id(tensor)] = masks.get(id(tensor), False) | seen
    return masks.get(id(image), np.zeros(image.shape, bool))


def _reached(name: str, call: Call, mask: Mask) -> list[tuple[Any, Mask]]:
    """The inputs of a call, each with the places that reach those of the mask."""
    layer, kind = call.layer, _kind(call.layer)
    tensors = [t for t in keras.tree.flatten((call.args, call.kwargs)) if tf.is_tensor(t)]
    if kind == "Activation":
        return [(tensors[0], _before_activation(name, layer.activation, mask))]
    if kind in _ELEMENTWISE and len(tensors) == 1:
        return [(tensors[0], mask)]
    if kind in _MIXING:
        return [(tensors[0], _spread(mask, layer.axis))]
    if kind in _WEIGHTED:
        mask = _before_activation(name, layer.activation, mask)
        twin, ones = without_activation(layer), [(w, tf.ones(w.shape)) for w in layer.weights]
        with keras.StatelessScope(state_mapping=ones):
            # Sums of ones are whole numbers; what a fast convolution adds to zero is less.
            return _transposed(name, twin, call, mask, least=0.5)
    if kind in _STAND_INS:
        return _transposed(name, _STAND_INS[kind](layer), call, mask)
    if kind in _LINEAR and not getattr(layer, "normalize", False):
        return _transposed(name, layer, call, mask)
    raise UnsupportedLayerError(
        f"{name}: what a {type(layer).__name__} lets a unit see is not known; ask for a unit of a "
        "layer before it"
    )


def _transposed(
    name: str, stand_in: Callable[..., Any], call: Call, mask: Mask, *, least: float = 0.0
) -> list[tuple[Any, Mask]]:
    """Apply the transpose of a stand-in to a mask, for each of its inputs."""
    args, kwargs = keras.tree.map_structure(_ones_like, (call.args, call.kwargs))
    tensors = keras.tree.flatten((call.args, call.kwargs))
    ones = keras.tree.flatten((args, kwargs))
    pairs = [(t, one) for t, one in zip(tensors, ones, strict=True) if tf.is_tensor(t)]
    with tf.GradientTape() as tape:
        tape.watch([one for _, one in pairs])
        output = stand_in(*args, **kwargs)
    slopes = tape.gradient(
        output, [one for _, one in pairs], output_gradients=tf.cast(mask, output.dtype)
    )
    if any(slope is None for slope in slopes):
        raise UnsupportedLayerError(f"{name}: its output does not depend on all of its inputs")
    return [
        (tensor, np.abs(tf.cast(slope, tf.float32).numpy()) > least)
        for (tensor, _), slope in zip(pairs, slopes, strict=True)
    ]


def _ones_like(leaf: Any) -> Any:
    """Ones in place of an array: its values must neither vanish nor cancel."""
    if tf.is_tensor(leaf):
        return tf.ones_like(leaf)
    if isinstance(leaf, np.ndarray) or keras.ops.is_tensor(leaf):
        return tf.ones(leaf.shape, tf.as_dtype(leaf.dtype))
    return leaf


def _before_activation(name: str, activation: Any, mask: Mask) -> Mask:
    if activation in _OVER_CHANNELS:
        return _spread(mask, -1)
    if activation is None or activation in _BY_UNIT:
        return mask
    raise UnsupportedLayerError(
        f"{name}: which units its activation {activation!r} mixes is not known; ask for a unit "
        "of a layer before it"
    )


def _spread(mask: Mask, axis: int | Sequence[int]) -> Mask:
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    return np.broadcast_to(mask.any(axis=axes, keepdims=True), mask.shape)


def _kind(layer: Any) -> str:
    """Name of a layer or operation of Keras itself; of others nothing is known."""
    return type(layer).__name__ if type(layer).__module__.startswith("keras.src.") else ""


def _mean_pooling(layer: Any) -> Callable[..., Any]:
    config = layer.get_config()
    return layers.AveragePooling2D(
        config["pool_size"], config["strides"], config["padding"], layer.data_format, name="mean"
    )


def _sum(*inputs: Any) -> Any:
    return sum(keras.tree.flatten(inputs))


def _mean(layer: Any) -> Callable[..., Any]:
    return lambda x: keras.ops.mean(x, axis=layer.axis, keepdims=layer.keepdims)


# fmt: off
_OVER_CHANNELS = (activations.softmax, activations.log_softmax)
_BY_UNIT = (
    activations.linear, activations.relu, activations.leaky_relu, activations.relu6,
    activations.elu, activations.selu, activations.celu, activations.gelu, activations.silu,
    activations.mish, activations.sigmoid, activations.hard_sigmoid, activations.hard_silu,
    activations.hard_tanh, activations.tanh, activations.softplus, activations.softsign,
    activations.exponential, activations.log_sigmoid,
)

_ELEMENTWISE = frozenset([
    "ReLU", "LeakyReLU", "PReLU", "ELU", "BatchNormalization", "Dropout", "SpatialDropout2D",
    "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "Identity",
    "Rescaling", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu", "Sigmoid", "Tanh",
    "Softplus", "Exp", "Log", "Sqrt", "Square", "Power", "Negative", "Absolute", "Abs", "Clip",
    "Cast",
])
"""One input, and each unit reads the one in its place."""

_MIXING = frozenset(["Softmax", "LogSoftmax", "LayerNormalization", "UnitNormalization"])
"""One input, and each unit reads all along an axis."""

_WEIGHTED = frozenset([
    "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D", "Dense", "EinsumDense",
])
"""Linear in the input and in the weights up to an activation."""

_LINEAR = frozenset([
    "Flatten", "Reshape", "Permute", "RepeatVector", "ZeroPadding2D", "Cropping2D",
    "UpSampling2D", "AveragePooling2D", "GlobalAveragePooling2D", "Concatenate", "Add",
    "Average", "Subtract", "Multiply", "Dot", "Divide", "TrueDivide", "Matmul", "Transpose",
    "Mean", "Sum", "GetItem", "ExpandDims", "Squeeze", "Pad",
])
"""Linear in each input with coefficients that vanish nowhere, once the other inputs are ones."""
# fmt: on

_STAND_INS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "MaxPooling2D": _mean_pooling,
    "GlobalMaxPooling2D": lambda layer: layers.GlobalAveragePooling2D(
        layer.data_format, layer.keepdims, name="mean"
    ),
    "Max": _mean,
    "Min": _mean,
    "Maximum": lambda _: _sum,
    "Minimum": lambda _: _sum,
}
"""What stands in for layers that pass on only one of the units that they can see."""
