"""Run a Keras model layer by layer and record every call.

The only module that knows how Keras stores a model's graph.
"""

import collections
import functools
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common import global_state


class UnsupportedLayerError(ValueError):
    """A layer that cannot be treated; the message names it and says what to do."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or operation: its arguments and its output."""

    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


Caller = Callable[[str, Any, tuple[Any, ...], dict[str, Any]], Any]
"""`caller(name, layer, args, kwargs)` calls a layer and returns its output."""


Opener = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""`opener(layer, args, kwargs)` returns the graph of a layer's `call`, or None to call it whole."""


def functional_graph(model: Any) -> Any:
    """Return the functional graph of a model that has one, and does no more than run it.

    None for other layers and models: for subclassed ones, and for those that override `call`.
    """
    kinds = (keras.Sequential, keras.src.models.functional.Functional)
    if not any(isinstance(model, kind) and type(model).call is kind.call for kind in kinds):
        return None
    return model._functional if isinstance(model, keras.Sequential) else model


def leave_whole(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Open no layer."""


def call_plainly(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer as its model does."""
    return layer(*args, **kwargs)


def run_graph(
    model: keras.Model,
    inputs: Any,
    calls: dict[str, Call],
    *,
    prefix: str = "",
    caller: Caller = call_plainly,
    opener: Opener = leave_whole,
    kwargs: dict[str, Any] | None = None,
) -> Any:
    """Call a model's layers in the model's own order, in inference mode, and return its output.

    `model(inputs)` would hide the inner tensors. A second model on the same layers would add
    nodes to the user's layers.

    Args:
        model: The model. One without a graph is opened, or called as a single layer.
        inputs: The images, or the inputs in the structure that the model takes.
        calls: Receives every call, by the layer's name; those inside another layer are named
            `outer/inner`.
        prefix: Put before each name.
        caller: Calls each layer.
        opener: Finds the graphs of layers and models that Keras keeps none of.
        kwargs: Further arguments of the model.
    """
    return _Run(calls, caller, opener).inside(model, (inputs,), kwargs or {}, prefix)


@dataclass(frozen=True, eq=False)
class _Run:
    """One run through a model and the graphs inside it."""

    calls: dict[str, Call]
    caller: Caller
    opener: Opener

    def inside(self, model: Any, args: Any, kwargs: dict[str, Any], prefix: str) -> Any:
        """Call what a model consists of; call a model whole that cannot be opened."""
        call = partial(self.call, prefix)
        if graph := functional_graph(model):
            return graph._run_through_graph(
                _inputs_in_order(graph, args[0]), operation_fn=lambda layer: partial(call, layer)
            )
        if type(model) is keras.Sequential:  # One of layers that Keras cannot trace.
            return functools.reduce(lambda x, layer: call(layer, x), model.layers, args[0])
        opened = self.opener(model, args, kwargs)
        if opened:
            return opened.run(args, kwargs, call)
        return self.whole(prefix + model.name, model, args, kwargs)

    def call(self, prefix: str, layer: Any, *args: Any, **kwargs: Any) -> Any:
        name = prefix + layer.name
        if functional_graph(layer) or type(layer) is keras.Sequential:
            return self.inside(layer, args, kwargs, f"{name}/")
        opened = self.opener(layer, args, kwargs)
        if not opened:
            return self.whole(name, layer, args, kwargs)
        output = opened.run(args, kwargs, partial(self.call, f"{name}/"))
        if isinstance(layer, keras.Model) or not tf.is_tensor(output):
            return output
        # The layer has a name of its own for its output; as an identity it is no neighbour.
        return self.whole(name, _return_input, (output,), {})

    def whole(self, name: str, layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        args, kwargs = for_inference(layer, args, kwargs)
        if isinstance(layer, keras.src.ops.numpy.Copy):
            layer = _return_input  # A copy would hide that the call is the identity.
        first, count = name, 2
        while name in self.calls:
            name, count = f"{first}:{count}", count + 1
        output = self.caller(name, layer, args, kwargs)
        self.calls[name] = Call(layer, args, kwargs, output)
        return output


def for_inference(
    layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call in inference mode: `training=False`, if it takes that."""
    if not getattr(layer, "_call_has_training_arg", False):
        return args, kwargs
    if len(args) == 1:
        return args, kwargs | {"training": False}
    bound = inspect.signature(layer.call).bind_partial(*args, **kwargs)
    bound.arguments["training"] = False  # It may have come without its name.
    return bound.args, bound.kwargs


def call_for_inference(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer or operation in inference mode."""
    args, kwargs = for_inference(layer, args, kwargs)
    return layer(*args, **kwargs)


def _return_input(x: Any) -> Any:
    return x


def _inputs_in_order(graph: Any, inputs: Any) -> Any:
    """Return the inputs of a functional graph in its own order, where they came by name."""
    if isinstance(inputs, dict) and not isinstance(graph.input, dict):
        return [inputs[tensor.name] for tensor in graph.inputs]
    return inputs


# --- Calls that change nothing -------------------------------------------------------------------


def reads(call: Call, tensor: Any) -> bool:
    """Return whether a tensor is among the arguments of a call."""
    return any(one is tensor for one in keras.tree.flatten((call.args, call.kwargs)))


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the first tensor among the arguments of a call; None without one."""
    return next(filter(tf.is_tensor, keras.tree.flatten((args, kwargs))), None)


def is_identity(call: Call) -> bool:
    """Return whether a call returned its input, the very same tensor.

    Dropout, noise, random augmentation and a linear activation return their input in inference
    mode. Comparing the tensors needs no list of layers, and covers the user's own layers.
    """
    return call.output is first_tensor(call.args, call.kwargs)


def without_identities(calls: dict[str, Call]) -> dict[str, Call]:
    """Return the calls that change something.

    An identity's output is its input tensor, so leaving it out connects the calls before and
    after it. Every search for neighbouring layers starts here: two models that compute the same
    must be explained alike, whether or not there is a Dropout between two of their layers.
    """
    return {name: call for name, call in calls.items() if not is_identity(call)}


def is_cast(call: Call) -> bool:
    """Return whether a call changes the precision of its input and nothing else.

    In a model of mixed precision, an identity layer with another dtype is such a cast.
    """
    x, y = first_tensor(call.args, call.kwargs), call.output
    if not (tf.is_tensor(x) and tf.is_tensor(y) and x.dtype.is_floating and y.dtype.is_floating):
        return False
    if x.dtype == y.dtype:
        return False
    cast = tf.cast(x, y.dtype)
    args, kwargs = keras.tree.map_structure(
        lambda t: cast if t is x else t, (call.args, call.kwargs)
    )
    return call.layer(*args, **kwargs) is cast


# --- Fused activations ---------------------------------------------------------------------------


def last_activation(layer: Any) -> Any:
    """Return the activation that a layer applies last; None where that is not known.

    A recurrent layer applies its activation inside its cell. A layer of the user's own may have
    an attribute `activation` and apply it anywhere.
    """
    # Compare the methods: a subclass that inherits `call` unchanged also ends in its activation.
    call = getattr(type(layer), "call", None)
    ends = any(call is kind.call for kind in _END_IN_ACTIVATION)
    return layer.activation if ends else None


_END_IN_ACTIVATION = (
    keras.layers.Activation,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.EinsumDense,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def without_activation(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return the same layer, on the same weights, with the identity as its activation."""
    # Neither copy.copy nor from_config, because both would make new weights.
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__, activation=keras.activations.linear)
    return twin


# --- Copies and their layers ---------------------------------------------------------------------


def copy_model(model: keras.Model, build: Callable[[keras.Model], Any]) -> keras.Model:
    """Return a model of the same configuration, with a copy of the weights.

    Args:
        model: The model.
        build: Calls the copy of a subclassed model once, so that it has its weights.

    Raises:
        ValueError: When Keras cannot rebuild the model from its configuration.
    """
    try:
        with names_and_seeds_kept():
            if functional_graph(model):
                copy = keras.models.clone_model(model, clone_function=_made_again)
            else:
                copy = _made_again(model)
                build(copy)
        _name_alike(copy, model)
        copy.set_weights(model.get_weights())
        for layer in sublayers(copy):
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # It computes with constants derived from its weights.
    except Exception as error:
        raise ValueError(
            f"model: expected one that Keras can make again from its configuration; {model.name!r} "
            f"cannot be copied: {error}"
        ) from error
    return copy


def _made_again(layer: Any) -> Any:
    """Return a layer or model of the same configuration, with weights of its own."""
    try:
        return type(layer).from_config(layer.get_config())
    except TypeError:
        # Keras adds `trainable` and `dtype`, which a user's __init__ need not take.
        given = getattr(layer, "_auto_config", None)
        if given is None:
            raise
        return type(layer)(**given.config)


def _name_alike(copy: Any, model: Any) -> None:
    """Give the layers of a copy the names of the model's; Keras counts those it names itself."""
    pairs = list(zip(sublayers(copy), sublayers(model), strict=True))
    if any(type(one) is not type(other) for one, other in pairs):
        raise ValueError("its copy has other layers")
    for one, other in pairs:
        if one.name != other.name:
            one.name = other.name


def prepend_to_model(model: keras.Model, step: Callable[[Any], Any]) -> keras.Model:
    """Return a model that applies `step` to the image and then calls this model's layers.

    It adds a node to each of these layers, so pass a copy of a user's model.

    Raises:
        ValueError: For a model with several inputs.
    """
    graph = functional_graph(model)
    if graph and len(graph.inputs) == 1:
        image = keras.Input(graph.inputs[0].shape[1:])
        return keras.Model(image, graph._run_through_graph(step(image), lambda op: op))
    shape = None if graph else (model.get_build_config() or {}).get("input_shape")
    if not shape or not all(side is None or isinstance(side, int) for side in shape):
        raise ValueError(f"model: expected one with one image input; got {model.name!r}")
    image = keras.Input(shape[1:])
    return keras.Model(image, model(step(image)))


def sublayers(layer: Any) -> list[Any]:
    """Return a layer and all layers inside it, each once, in the order in which Keras has them."""
    return list({id(inner): inner for inner in layer._flatten_layers()}.values())


# --- What Keras counts ---------------------------------------------------------------------------


@contextmanager
def names_and_seeds_kept() -> Iterator[None]:
    """Count names from zero inside the block; restore the counters and the seeds after it."""
    counters = global_state.get_global_attribute("object_name_uids")
    seeds = random.getstate()  # Keras seeds new layers from it.
    global_state.set_global_attribute("object_name_uids", collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", counters)
        random.setstate(seeds)
