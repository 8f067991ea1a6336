"""What kind of step a Keras layer or operation is, as far as a propagation rule has to know."""

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers

from mnist_xai.interpret.core.graph import Call, first_tensor, is_cast

Kind = Literal[
    "affine",
    "scale",
    "resample",
    "sum",
    "rearrange",
    "elementwise",
    "max",
    "relu_max",
    "product",
    "quotient",
    "normalise",
    "softmax",
    "other",
]
"""What a step does.

affine: `z = W x + b` with weights; scale: arithmetic of one input with constants, place by place;
resample: means of neighbours, as in resizing; sum: any other step that is affine in its inputs and
has no weights; rearrange: moves, repeats or drops numbers, and changes none; elementwise:
`a_i = f(z_i)`; max: the largest of several numbers; relu_max: the largest of their ReLUs; product:
linear in each of its inputs; quotient: one input divided by another; normalise: divides by a
deviation; softmax; other.
"""

WEIGHTLESS = frozenset({"scale", "resample", "sum"})
"""The kinds that are affine, have no weights and compute new numbers."""


def kind_of(call: Call, depends: Callable[[Any], bool]) -> Kind:
    """Return the kind of a call without weights.

    Args:
        call: The call.
        depends: Whether an argument depends on the image.
    """
    layer = call.layer
    # Count a tensor each time it is read: `x * x` is not linear in its one input.
    reads = [depends(t) for t in keras.tree.flatten((call.args, call.kwargs))]
    kind: Kind | None
    if isinstance(layer, Operation):
        kind = layer.kind
    elif isinstance(layer, layers.Activation):
        kind = _ACTIVATIONS.get(getattr(layer.activation, "__name__", ""))
    elif isinstance(layer, layers.UpSampling2D) and layer.interpolation != "nearest":
        kind = "resample"
    elif type(layer).__name__ in {"Maximum", "Minimum"} and sum(reads) == 1:
        kind = _elementwise_unless_broadcast(call)
    elif is_of_applications(layer, "CustomScaleLayer"):
        kind = "sum"  # Of InceptionResNetV2: one input, plus the other one times a constant.
    elif type(layer).__module__.startswith(_MODULES):
        kind = _kind_of_operation(type(layer).__name__, reads, call)
    else:
        kind = next((kind for kind, types in _LAYERS.items() if type(layer) in types), None)
    if kind in {"product", "sum"} and sum(reads) == 1 and type(layer).__name__ in _ARITHMETIC:
        return "scale"
    if kind == "product" and sum(reads) == 1:
        return "sum"
    return kind or ("rearrange" if is_cast(call) else "other")


class Operation:
    """A function of tensors whose kind is known, as a part of a layer.

    Args:
        kind: What it does.
        function: What it computes.
        name: Name of its type in messages.
    """

    def __init__(self, kind: Kind, function: Callable[..., Any], name: str) -> None:
        self.kind, self.name, self._function = kind, name, function

    def __call__(self, *inputs: Any) -> Any:
        """Compute the output."""
        return self._function(*inputs)


def is_of_applications(layer: Any, name: str) -> bool:
    """Return whether a layer is of a type that `keras.applications` defines for its own models."""
    module = type(layer).__module__
    return type(layer).__name__ == name and module.startswith("keras.src.applications")


def reads_shape_only(layer: Any) -> bool:
    """Return whether an operation takes nothing from its input but the shape."""
    return type(layer).__name__ in {"EmptyLike", "FullLike", "OnesLike", "ZerosLike"}


def function_name(layer: Any) -> str:
    """Return the name of the function that a layer or operation applies, such as `"hardsigmoid"`.

    It is the activation's name for a layer that applies nothing else, in small letters, without
    underscores.
    """
    activation = (
        getattr(layer, "activation", None) if isinstance(layer, layers.Activation) else None
    )
    name = getattr(activation, "__name__", "") or type(layer).__name__
    name = layer.name if isinstance(layer, Operation) else name
    return str(name).lower().replace("_", "")


def _elementwise_unless_broadcast(call: Call) -> Kind | None:
    """Return "elementwise", as for a ReLU, unless the input is broadcast to the constant."""
    x = first_tensor(call.args, call.kwargs)
    return "elementwise" if x.shape == call.output.shape else None


def _kind_of_operation(name: str, reads: list[bool], call: Call) -> Kind | None:
    if name in {"Divide", "TrueDivide"}:
        if reads[:2] == [True, False]:
            return "scale"
        return "quotient" if reads[0] else _elementwise_unless_broadcast(call)
    if name == "Power":
        return "elementwise" if reads[:2] == [True, False] else None
    return _OPERATIONS.get(name)


_MODULES = ("keras.src.ops", "keras.src.activations")
"""Where operations are defined: `keras.ops`, and activations that are called as functions."""

_ARITHMETIC = {"Add", "Subtract", "Multiply", "Negative"}
"""Layers and operations that change each number alone where only one input depends on the image."""

_ELEMENTWISE = (
    "relu relu6 leaky_relu elu selu celu gelu silu swish sigmoid hard_sigmoid hard_silu hard_swish "
    "tanh hard_tanh softplus softsign mish log_sigmoid tanh_shrink soft_shrink hard_shrink "
    "squareplus sparse_plus sparse_sigmoid exponential threshold"
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
        layers.GlobalAveragePooling1D,
        layers.GlobalAveragePooling2D,
        layers.GlobalAveragePooling3D,
    },
    "resample": {
        layers.AveragePooling1D,
        layers.AveragePooling2D,
        layers.AveragePooling3D,
        layers.Resizing,
    },
    "rearrange": {
        layers.CenterCrop,
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
_REARRANGING = (
    "ArraySplit BroadcastTo Concatenate CropImages DepthToSpace Dsplit Dstack ExpandDims "
    "ExtractPatches Flip Fliplr Flipud GetItem Hsplit Hstack Moveaxis Pad PadImages Ravel Repeat "
    "Reshape Roll Rot90 Slice SpaceToDepth Split Squeeze Stack Swapaxes Take Tile Transpose "
    "Unstack Vsplit Vstack"
)
_FUNCTIONS = (
    "ReLU Abs Absolute Arctan Celu Clip Cos Elu Erf Exp Expm1 Gelu HardShrink HardSigmoid HardSilu "
    "HardTanh LeakyRelu Log Log1p LogSigmoid Reciprocal Relu Relu6 Rsqrt Selu Sigmoid Silu Sin "
    "SoftShrink Softplus Softsign SparsePlus SparseSigmoid Sqrt Square Squareplus Tanh TanhShrink "
    "Threshold"
)
_OPERATIONS: dict[str, Kind] = {
    **dict.fromkeys(("Add", "Average", "Subtract", "Mean", "Sum", "Negative"), "sum"),
    **dict.fromkeys(("AveragePool", "Resize"), "resample"),
    **dict.fromkeys(_REARRANGING.split(), "rearrange"),
    **dict.fromkeys(_FUNCTIONS.split(), "elementwise"),
    **dict.fromkeys(("MaxPool", "Maximum", "Max", "Amax"), "max"),
    **dict.fromkeys(("Multiply", "Matmul", "Dot", "Einsum", "Tensordot", "Inner"), "product"),
    "Softmax": "softmax",
}
