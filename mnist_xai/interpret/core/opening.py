"""Open subclassed models and custom layers: run their `call` as single calls that can be seen.

Keras keeps no graph of what a `call` written in Python does. It is traced on symbolic tensors
(`tracing.py`), for 97 images. If a multiple of 97 occurs, it is traced for 3 and for 5 images as
well: numbers that differ are multiples of the batch size, and are computed when the graph runs. The
graph is compared with the layer itself, and a layer that gives other outputs stays closed.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.graph import (
    call_for_inference,
    functional_graph,
    names_and_seeds_kept,
)
from mnist_xai.interpret.core.head import epsilon_of
from mnist_xai.interpret.core.own_function import OwnFunction
from mnist_xai.interpret.core.tracing import (
    CannotTraceError,
    Node,
    Trace,
    Weight,
    layers_kept,
    trace,
)


@dataclass(frozen=True)
class Rows:
    """Stands for a multiple of the batch size."""

    factor: int


@dataclass(frozen=True, eq=False)
class Opened:
    """A layer's `call` as a graph.

    Attributes:
        trace: The calls that it consists of.
        repeated: Indices of the weights that have a row for each image.
    """

    trace: Trace
    repeated: frozenset[int]

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any], call: Callable[..., Any]) -> Any:
        """Return the output of the layer; `call(operation, *args, **kwargs)` makes each call."""
        given = [x for x in keras.tree.flatten((args, kwargs)) if tf.is_tensor(x)]
        rows = tf.shape(given[0])[0]
        known = {id(x): t for x, t in zip(self.trace.inputs, given, strict=True)}
        weights = self.trace.weights() if self.trace.weight_shapes else []
        weights = [
            tf.repeat(w[:1], rows, axis=0) if i in self.repeated else w
            for i, w in enumerate(weights)
        ]

        def fill(leaf: Any) -> Any:
            if isinstance(leaf, Weight):
                return weights[leaf.index]
            if isinstance(leaf, Rows):
                return rows * leaf.factor
            return known[id(leaf)] if keras.utils.is_keras_tensor(leaf) else leaf

        for node in self.trace.nodes:
            node_args, node_kwargs, settings = keras.tree.map_structure(
                fill, (node.args, node.kwargs, node.settings)
            )
            operation = _with(node.operation, settings) if node.settings else node.operation
            output = call(operation, *node_args, **node_kwargs)
            flat = keras.tree.flatten(output)
            known.update(zip(map(id, node.outputs), flat, strict=True))
        return keras.tree.map_structure(fill, self.trace.output)


def _with(operation: Any, settings: dict[str, Any]) -> Any:
    """Return a copy of an operation with other settings."""
    copy = object.__new__(type(operation))
    copy.__dict__.update(vars(operation), **settings)
    return copy


class Openings:
    """The graphs of one network's subclassed models and custom layers, each traced once.

    Attributes:
        always: The ids of custom layers that `models` opens too.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple[int, str], Opened] = {}
        self._closed: dict[int, tuple[Any, str]] = {}  # With the layer, so that its id stays its.
        self._lock = threading.RLock()
        self.always: set[int] = set()

    def models(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened | None:
        """Return the graph of a subclassed model; None for layers, and for what stays closed."""
        wanted = isinstance(layer, keras.Model) or id(layer) in self.always
        return self.layers(layer, args, kwargs) if wanted else None

    def layers(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened | None:
        """Return the graph of a subclassed model or a custom layer, or None."""
        if not has_own_call(layer) or id(layer) in self._closed:
            return None
        with self._lock:
            try:
                with names_and_seeds_kept(), layers_kept(layer):
                    return self._open(layer, args, kwargs)
            except CannotTraceError as error:
                self._closed[id(layer)] = layer, str(error)
                return None

    def reason(self, layer: Any) -> str | None:
        """Return why a layer stays closed; None for a layer that does not."""
        return self._closed.get(id(layer), (None, None))[1]

    def way_out(self, layer: Any) -> str:
        """Return why a layer stays closed and what to do; empty for a layer that does not."""
        reason = self.reason(layer)
        if reason is None:
            return ""
        code = "it" if isinstance(layer, OwnFunction) else "its call"
        return (
            f"{reason}. Write {code} with Keras layers and keras.ops, or use a gradient or "
            "perturbation method"
        )

    def _open(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened:
        tensors = [x for x in keras.tree.flatten((args, kwargs)) if tf.is_tensor(x)]
        if not tensors or not tensors[0].shape.rank:
            raise CannotTraceError("it is called on no batch of tensors")
        count = tensors[0].shape[0]

        def symbols(rows: int) -> Any:
            def symbol(leaf: Any) -> Any:
                if not tf.is_tensor(leaf):
                    return leaf
                shape = list(leaf.shape)
                if shape and shape[0] == count:
                    shape[0] = rows
                return keras.KerasTensor(shape, leaf.dtype.name, name="argument")

            return keras.tree.map_structure(symbol, (args, kwargs))

        key = id(layer), repr(keras.tree.map_structure(_described, symbols(_FEW)))
        if key not in self._graphs:
            opened = _opened(lambda rows: trace(layer, *symbols(rows)))
            for rows in (1, 7):
                _check(layer, opened, *symbols(rows))
            self._graphs[key] = opened
        return self._graphs[key]


_FEW, _MORE, _MANY = 3, 5, 97


def _described(leaf: Any) -> Any:
    return (leaf.shape, leaf.dtype) if keras.utils.is_keras_tensor(leaf) else leaf


def has_own_call(layer: Any) -> bool:
    """Return whether what a layer does is written by its user, not by Keras."""
    if isinstance(layer, keras.layers.Lambda):
        return True
    if not isinstance(layer, keras.layers.Layer) or functional_graph(layer):
        return False
    call = type(layer).call
    module = getattr(getattr(call, "python_function", call), "__module__", "")
    return not module.startswith("keras.")


def _opened(traced: Callable[[int], Trace]) -> Opened:
    """Return a graph for any number of images, given the function that traces it for one."""
    found = traced(_MANY)
    if _shows(found, _MANY):  # Two traces more; weights with a row for each image are small.
        return _generalised(traced(_FEW), traced(_MORE))
    return Opened(found, frozenset())


def _shows(found: Trace, rows: int) -> bool:
    """Return whether a number in a trace may have come from the number of images."""
    parts = [(node.args, node.kwargs, node.settings) for node in found.nodes]
    numbers = [x for x in keras.tree.flatten((parts, found.weight_shapes)) if type(x) is int]
    return any(x and x % rows == 0 for x in numbers)


def _generalised(few: Trace, more: Trace) -> Opened:
    """Return a graph for any number of images, given its traces with `_FEW` and `_MORE`."""
    if [type(n.operation) for n in few.nodes] != [type(n.operation) for n in more.nodes]:
        raise CannotTraceError("what it calls depends on the number of images")
    nodes = [_generalised_node(a, b) for a, b in zip(few.nodes, more.nodes, strict=True)]
    repeated = []
    for i, (a, b) in enumerate(zip(few.weight_shapes, more.weight_shapes, strict=True)):
        if a != b and (a[1:] != b[1:] or (a[0], b[0]) != (_FEW, _MORE)):
            raise CannotTraceError("its weights depend on the number of images")
        repeated += [i] if a != b else []
    return Opened(replace(few, nodes=nodes), frozenset(repeated))


def _generalised_node(few: Node, more: Node) -> Node:
    def merge(a: Any, b: Any) -> Any:
        if not (type(a) is type(b) is int) or a == b:
            return a
        factor, rest = divmod(a, _FEW)
        if rest or b != factor * _MORE:
            raise CannotTraceError(f"a number in it depends on the number of images: {a}, {b}")
        return Rows(factor)

    def merged(a: Any, b: Any) -> Any:
        try:
            return keras.tree.map_structure(merge, a, b)
        except (TypeError, ValueError) as error:
            raise CannotTraceError(
                f"its arguments depend on the number of images: {error}"
            ) from error

    settings = merged(few.settings, more.settings)
    if isinstance(few.operation, keras.src.ops.numpy.Reshape):
        settings["newshape"] = _inferred(settings["newshape"])
    return replace(
        few,
        args=merged(few.args, more.args),
        kwargs=merged(few.kwargs, more.kwargs),
        settings=settings,
    )


def _inferred(shape: Any) -> Any:
    """Return a shape with -1 in place of the one side that is a multiple of the batch size."""
    places = [i for i, side in enumerate(shape) if isinstance(side, Rows)]
    if len(places) != 1 or -1 in shape:
        return shape
    return (*shape[: places[0]], -1, *shape[places[0] + 1 :])


def _check(layer: Any, opened: Opened, args: Any, kwargs: Any) -> None:
    """Raise CannotTraceError unless the graph has the layer's outputs, up to rounding."""
    rng = np.random.default_rng(0)

    def values(leaf: Any) -> Any:
        if not keras.utils.is_keras_tensor(leaf):
            return leaf
        return tf.cast(rng.random([side or 32 for side in leaf.shape]), leaf.dtype)

    with tf.init_scope():
        args, kwargs = keras.tree.map_structure(values, (args, kwargs))
        expected = keras.tree.flatten(call_for_inference(layer, *args, **kwargs))
        found = keras.tree.flatten(opened.run(args, kwargs, call_for_inference))
    rounding = epsilon_of(layer.compute_dtype) + 64 * epsilon_of("float32")
    limit = len(opened.trace.nodes) * rounding
    for a, b in zip(expected, found, strict=True):
        a, b = (np.asarray(tf.cast(t, tf.float32)) for t in (a, b))
        if a.shape != b.shape or not np.allclose(
            a, b, rtol=0, atol=limit * np.abs(a).max(initial=0), equal_nan=True
        ):
            raise CannotTraceError(
                "its call gives other outputs when its layers are run one by one"
            )
