"""Trace a layer's `call` on symbolic tensors: which layers and operations it calls, and on what.

Beside `graph.py`, the only module that knows how Keras stores the nodes of a graph.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from mnist_xai.interpret.core.graph import (
    for_inference,
    names_and_seeds_kept,
    sublayers,
)


class CannotTraceError(ValueError):
    """A `call` that does not consist of Keras layers and operations; the message says why."""


@dataclass(frozen=True)
class Weight:
    """Stands for a number that a call computes from weights alone: the `index`-th of the trace."""

    index: int


@dataclass(frozen=True, eq=False)
class Node:
    """One call inside a trace.

    Attributes:
        operation: The layer, or the operation of `keras.ops`.
        args: Its arguments: KerasTensors, `Weight` and plain Python values.
        kwargs: Its keyword arguments.
        settings: Arguments that an operation keeps in attributes, such as a new shape.
        outputs: The KerasTensors that it returned.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    settings: dict[str, Any]
    outputs: list[Any]


@dataclass(frozen=True, eq=False)
class Trace:
    """What a layer's `call` does with its tensors.

    Attributes:
        inputs: The KerasTensors that it was called with.
        nodes: The calls that the output depends on, each after those that it reads.
        output: What it returned: a structure of KerasTensors and `Weight`.
        weights: Returns the tensors that `Weight` stands for, from the current weights.
        weight_shapes: Their shapes.
    """

    inputs: list[Any]
    nodes: list[Node]
    output: Any
    weights: Callable[[], list[tf.Tensor]]
    weight_shapes: list[tuple[int | None, ...]]


_LOCK = threading.RLock()  # Keras's nodes of a layer are changed and restored.


def trace(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
    """Return what a built layer's `call` does in inference mode; the layer stays as it is.

    The `call` runs inside a TensorFlow function, so that numbers it computes from weights alone,
    such as a position embedding, are computed again from the current weights.

    Args:
        layer: A layer or model.
        args: The arguments, with a KerasTensor for each tensor.
        kwargs: The keyword arguments, likewise.

    Raises:
        CannotTraceError: For a `call` that does anything else than call layers and `keras.ops`.
    """
    done: list[tuple[list[Node], Any]] = []

    def body() -> list[tf.Tensor]:
        weights: list[tf.Tensor] = []

        def symbolic_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # A `tf.function` takes no symbolic tensors, but the function inside it does.
            call = getattr(layer.call, "python_function", layer.call)
            args, kwargs = for_inference(layer, args, kwargs)
            output = call(*args, **kwargs)
            nodes = _nodes_before(output, weights)
            done.append((nodes, _with_weights(output, weights)))

        _Frame(layer, symbolic_call)(args, kwargs, training=False)
        return weights

    with _LOCK, tf.init_scope(), names_and_seeds_kept(), layers_kept(layer), _weights_on_the_left():
        for one in sublayers(layer):  # Keras takes no symbolic losses, and they are for training.
            vars(one)["add_loss"] = _ignore_loss
        try:
            # `tf.function` would refuse the variable of a Dropout that is made inside the call.
            function = tf.compat.v1.wrap_function(body, [])
        except Exception as error:
            raise CannotTraceError(_reason(error)) from error
    if any(op.type.startswith("Assign") for op in function.graph.get_operations()):
        raise CannotTraceError("its call changes its own weights")
    nodes, output = done[-1]
    tensors = [x for x in keras.tree.flatten((args, kwargs)) if keras.utils.is_keras_tensor(x)]
    shapes = [tuple(t.shape) for t in function.outputs]
    return Trace(tensors, nodes, output, function, shapes)


@contextmanager
def _weights_on_the_left() -> Iterator[None]:
    """Let `weight * x` call `keras.ops` inside the block, as `x * weight` does.

    For a symbolic `x`, Keras's variables would call TensorFlow. Nothing else changes meanwhile.
    """
    kept = {name: getattr(keras.Variable, name) for name in _OPERATORS}

    def operator(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(weight: Any, other: Any) -> Any:
            if keras.utils.is_keras_tensor(other):
                return _OPERATORS[name](weight, other)
            return plain(weight, other)

        return call

    own = {name: vars(keras.Variable)[name] for name in kept if name in vars(keras.Variable)}
    for name, plain in kept.items():
        setattr(keras.Variable, name, operator(name, plain))
    try:
        yield
    finally:
        for name in kept:
            if name in own:
                setattr(keras.Variable, name, own[name])
            else:
                delattr(keras.Variable, name)


_OPERATORS = {
    "__add__": keras.ops.add,
    "__sub__": keras.ops.subtract,
    "__mul__": keras.ops.multiply,
    "__truediv__": keras.ops.divide,
    "__matmul__": keras.ops.matmul,
    "__pow__": keras.ops.power,
}


def _ignore_loss(_: Any) -> None:
    """Stand in for `add_loss`."""


class _Frame(keras.layers.Layer):
    """Runs a symbolic call in the precision and the mode in which Keras calls the layer.

    Before Keras calls `compute_output_spec`, it converts the arguments to the layer's precision,
    and makes known to all layers inside that this is no training.
    """

    def __init__(self, layer: Any, symbolic_call: Callable[[Any, Any], None]) -> None:
        super().__init__(name="frame", dtype=layer.dtype_policy, autocast=layer.autocast)
        self._symbolic_call = symbolic_call
        self._allow_non_tensor_positional_args = True

    def call(self, args: Any, kwargs: Any, training: bool = False) -> Any:
        raise NotImplementedError  # Keras reads its signature.

    def compute_output_spec(self, args: Any, kwargs: Any, training: bool = False) -> Any:
        self._symbolic_call(args, kwargs)
        return keras.KerasTensor(())


# --- From Keras's nodes to ours ------------------------------------------------------------------


def _nodes_before(output: Any, weights: list[tf.Tensor]) -> list[Node]:
    """Return the calls that a structure of KerasTensors depends on, in the order of the calls."""
    found: dict[int, Node] = {}

    def visit(tensor: Any) -> None:
        history = getattr(tensor, "_keras_history", None)
        if history is None or history.operation is None:
            return
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) in found:
            return
        for before in node.input_tensors:
            visit(before)
        found[id(node)] = _node(node, weights)

    for tensor in keras.tree.flatten(output):
        visit(tensor)
    return list(found.values())


def _with_weights(value: Any, weights: list[tf.Tensor]) -> Any:
    """Return a structure with `Weight` for each variable and what was computed from variables."""

    def replace(leaf: Any) -> Any:
        if isinstance(leaf, keras.Variable | tf.Variable) or tf.is_symbolic_tensor(leaf):
            # Here, because a variable has the precision of the layer that reads it.
            weights.append(tf.convert_to_tensor(leaf))
            return Weight(len(weights) - 1)
        return leaf

    return keras.tree.map_structure(replace, value)


def _node(node: Any, weights: list[tf.Tensor]) -> Node:
    operation, settings = node.operation, {}
    if not isinstance(operation, keras.layers.Layer):
        settings = {k: v for k, v in vars(operation).items() if k[0] != "_" and k != "name"}
    arguments = node.arguments
    return Node(
        operation,
        _with_weights(arguments.args, weights),
        _with_weights(arguments.kwargs, weights),
        _with_weights(settings, weights),
        node.outputs,
    )


# --- Everything stays as it was ------------------------------------------------------------------


@contextmanager
def layers_kept(layer: Any) -> Iterator[None]:
    """Restore the attributes and the nodes of a layer, and of all layers inside, after the block.

    Keras adds a node to each layer that is called symbolically, and a `call` may keep a tensor in
    an attribute.
    """
    kept = [(one, dict(vars(one)), *map(len, _histories(one))) for one in sublayers(layer)]
    try:
        yield
    finally:
        for one, attributes, *lengths in kept:
            now = vars(one)
            for name in [name for name in now if name not in attributes]:
                del now[name]
            now.update(attributes)
            for history, length in zip(_histories(one), lengths, strict=True):
                del history[length:]


def _histories(layer: Any) -> tuple[list[Any], ...]:
    return layer._inbound_nodes, layer._outbound_nodes, layer._losses


def _reason(error: BaseException) -> str:
    """Return why a call could not be traced, in a few words."""
    text = str(error).partition("Arguments received by")[0]
    if "cannot be used as input to a TensorFlow function" in text:
        return "its call uses TensorFlow's operations directly"
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    # Keras puts these sentences of its own before an error's text.
    lines = [line for line in lines if line and not line.startswith(_PREFACES)]
    if isinstance(error, CannotTraceError) and lines:
        return lines[0]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:300]


_PREFACES = ("Exception encountered when calling", "Could not automatically infer", "in user code:")
