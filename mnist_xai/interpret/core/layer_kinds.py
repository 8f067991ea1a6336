"""What kind of step a Keras layer or operation is, as far as a propagation rule needs to know."""

from typing import Any, Literal

import keras
import tensorflow as tf
from keras import layers

from mnist_xai.interpret.core.graph import Call

Kind = Literal[
    "affine", "sum", "rearrange", "elementwise", "max", "relu_max", "product", "softmax", "other"
]
"""What a step does.

affine: `z = W x + b` with weights; sum: linear in its inputs, nothing in it was learnt;
rearrange: every number comes out as it went in, or not at all; elementwise: `a_i = f(z_i)`;
max: the largest of several numbers; relu_max: the largest of their ReLUs;
product: linear in each of two inputs; softmax; other.
"""


def kind_of(call: Call, inputs: int) -> Kind:
    """The kind of a call of which so many inputs depend on the image, weighted layers apart.

    One that is read twice is counted twice.
    """
    layer = call.layer
    if isinstance(layer, layers.Activation):
        return _ACTIVATIONS.get(getattr(layer.activation, "__name__", ""), "other")
    if isinstance(layer, layers.UpSampling2D) and layer.interpolation != "nearest":
        return "sum"
    if type(layer).__name__ == "Maximum" and inputs == 1:
        return _of_maximum(call)
    for kind, types in _LAYERS.items():
        if type(layer) in types:
            return "sum" if kind == "product" and inputs == 1 else kind
    if type(layer).__module__.startswith("keras.src.ops"):
        return _operation(type(layer).__name__, inputs, call)
    return "other"


def _of_maximum(call: Call) -> Kind:
    """The larger of an input and a constant: a ReLU's kin, where nothing is broadcast."""
    x = next(t for t in keras.tree.flatten((call.args, call.kwargs)) if tf.is_tensor(t))
    return "elementwise" if x.shape == call.output.shape else "other"


def _operation(name: str, inputs: int, call: Call) -> Kind:
    if name == "Pad" and call.kwargs.get("constant_values") not in (None, 0):
        return "other"
    if name in {"Divide", "TrueDivide"}:
        # A constant divided by the image is not linear in it.
        by_constant = len(call.args) == 2 and not tf.is_tensor(call.args[1])
        return "sum" if inputs == 1 and by_constant else "other"
    kind = _OPERATIONS.get(name, "other")
    return "sum" if kind == "product" and inputs == 1 else kind


_ELEMENTWISE = (
    "relu relu6 leaky_relu elu selu celu gelu silu swish sigmoid hard_sigmoid hard_silu hard_swish "
    "tanh hard_tanh softplus softsign mish log_sigmoid tanh_shrink soft_shrink hard_shrink "
    "squareplus sparse_plus sparse_sigmoid exponential"
)
_ACTIVATIONS: dict[str, Kind] = {
    **dict.fromkeys(_ELEMENTWISE.split(), "elementwise"),
    "linear": "rearrange",
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
        layers.ActivityRegularization,
        layers.AlphaDropout,
        layers.Concatenate,
        layers.Cropping1D,
        layers.Cropping2D,
        layers.Cropping3D,
        layers.Dropout,
        layers.Flatten,
        layers.GaussianDropout,
        layers.GaussianNoise,
        layers.Identity,
        layers.Permute,
        layers.RandomBrightness,
        layers.RandomContrast,
        layers.RandomFlip,
        layers.RandomRotation,
        layers.RandomTranslation,
        layers.RandomZoom,
        layers.RepeatVector,
        layers.Reshape,
        layers.SpatialDropout1D,
        layers.SpatialDropout2D,
        layers.SpatialDropout3D,
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
            "Copy",
            "ExpandDims",
            "Flip",
            "GetItem",
            "Identity",
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
    **dict.fromkeys(("Softmax",), "softmax"),
}
