"""What kind of step a Keras layer or operation is, as far as a propagation rule has to know."""

from typing import Any, Literal

import tensorflow as tf
from keras import layers

from mnist_xai.interpret.core.graph import Call, first_tensor, is_cast

Kind = Literal[
    "affine", "sum", "rearrange", "elementwise", "max", "relu_max", "product", "softmax", "other"
]
"""What a step does.

affine: `z = W x + b` with weights; sum: affine in its inputs, without weights;
rearrange: moves, repeats or drops numbers, and changes none; elementwise: `a_i = f(z_i)`;
max: the largest of several numbers; relu_max: the largest of their ReLUs;
product: linear in each of two inputs; softmax; other.
"""


def kind_of(call: Call, inputs: int) -> Kind:
    """Return the kind of a call without weights.

    Args:
        call: The call.
        inputs: How many of its arguments depend on the image; a tensor read twice counts twice.
    """
    layer = call.layer
    if isinstance(layer, layers.Activation):
        kind = _ACTIVATIONS.get(getattr(layer.activation, "__name__", ""))
    elif isinstance(layer, layers.UpSampling2D) and layer.interpolation != "nearest":
        kind = "sum"
    elif type(layer).__name__ == "Maximum" and inputs == 1:
        kind = _maximum_with_constant(call)
    elif type(layer).__module__.startswith("keras.src.ops"):
        kind = _kind_of_operation(type(layer).__name__, inputs, call)
    else:
        kind = next((kind for kind, types in _LAYERS.items() if type(layer) in types), None)
    if kind == "product" and inputs == 1:
        return "sum"
    return kind or ("rearrange" if is_cast(call) else "other")


def _maximum_with_constant(call: Call) -> Kind | None:
    """Return "elementwise", as for a ReLU, unless the input is broadcast to the constant."""
    x = first_tensor(call.args, call.kwargs)
    return "elementwise" if x.shape == call.output.shape else None


def _kind_of_operation(name: str, inputs: int, call: Call) -> Kind | None:
    if name == "Pad" and call.kwargs.get("constant_values") not in (None, 0):
        return None
    if name in {"Divide", "TrueDivide"}:
        # The image divided by a constant is linear in it; a constant divided by it is not.
        by_constant = len(call.args) == 2 and not tf.is_tensor(call.args[1])
        return "sum" if inputs == 1 and by_constant else None
    return _OPERATIONS.get(name)


_ELEMENTWISE = (
    "relu relu6 leaky_relu elu selu celu gelu silu swish sigmoid hard_sigmoid hard_silu hard_swish "
    "tanh hard_tanh softplus softsign mish log_sigmoid tanh_shrink soft_shrink hard_shrink "
    "squareplus sparse_plus sparse_sigmoid exponential"
)
_ACTIVATIONS: dict[str, Kind] = {
    **dict.fromkeys(_ELEMENTWISE.split(), "elementwise"),
    "softmax": "softmax",
}
_LAYERS: dict[Kind, set[Any]] = {
    "sum": {
        layers.Add,
        layers.Subtract,
        layers.Average,
        layers.AveragePooling1D,
        layers.AveragePooling2D,
        layers.AveragePooling3D,
        layers.GlobalAveragePooling1D,
        layers.GlobalAveragePooling2D,
        layers.GlobalAveragePooling3D,
    },
    "rearrange": {
        layers.Concatenate,
        layers.Cropping1D,
        layers.Cropping2D,
        layers.Cropping3D,
        layers.Flatten,
        layers.Permute,
        layers.RepeatVector,
        layers.Reshape,
        layers.UpSampling1D,
        layers.UpSampling2D,
        layers.UpSampling3D,
        layers.ZeroPadding1D,
        layers.ZeroPadding2D,
        layers.ZeroPadding3D,
    },
    "elementwise": {layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU},
    "max": {
        layers.MaxPooling1D,
        layers.MaxPooling2D,
        layers.MaxPooling3D,
        layers.GlobalMaxPooling1D,
        layers.GlobalMaxPooling2D,
        layers.GlobalMaxPooling3D,
        layers.Maximum,
    },
    "product": {layers.Multiply, layers.Dot},
    "softmax": {layers.Softmax},
}
_OPERATIONS: dict[str, Kind] = {
    **dict.fromkeys(("Add", "Subtract", "Mean", "Sum", "AveragePool", "Negative"), "sum"),
    **dict.fromkeys(
        (
            "Concatenate",
            "ExpandDims",
            "Flip",
            "GetItem",
            "Moveaxis",
            "Pad",
            "Ravel",
            "Repeat",
            "Reshape",
            "Squeeze",
            "Stack",
            "Swapaxes",
            "Tile",
            "Transpose",
        ),
        "rearrange",
    ),
    **dict.fromkeys(
        (
            "Celu",
            "Elu",
            "Gelu",
            "HardSigmoid",
            "HardSilu",
            "HardTanh",
            "LeakyRelu",
            "LogSigmoid",
            "Relu",
            "Relu6",
            "Selu",
            "Sigmoid",
            "Silu",
            "Softplus",
            "Softsign",
            "Tanh",
            "Exp",
            "Square",
            "Absolute",
        ),
        "elementwise",
    ),
    **dict.fromkeys(("MaxPool", "Maximum", "Max", "Amax"), "max"),
    **dict.fromkeys(("Multiply", "Matmul", "Dot"), "product"),
    "Softmax": "softmax",
}
