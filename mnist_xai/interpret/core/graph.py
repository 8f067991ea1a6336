"""Run a Keras model layer by layer and record every call.

The only module that knows how Keras stores a model's graph.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf


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


def functional_graph(model: keras.Model) -> Any:
    """Return the functional graph of a Sequential or Functional model; None for other models."""
    if isinstance(model, keras.Sequential):
        return model._functional  # Keras has no public access to it.
    return model if isinstance(model, keras.src.models.functional.Functional) else None


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
) -> Any:
    """Call a model's layers in the model's own order, in inference mode, and return its output.

    `model(inputs)` would hide the inner tensors. A second model on the same layers would add
    nodes to the user's layers.

    Args:
        model: A Sequential or Functional model.
        inputs: The images.
        calls: Receives every call, by the layer's name.
        prefix: Put before each name: the name of the model that contains this one, and a slash.
        caller: Calls each layer.
    """
    return functional_graph(model)._run_through_graph(
        inputs, operation_fn=lambda layer: partial(_call_layer, layer, calls, prefix, caller)
    )


def _call_layer(
    layer: Any, calls: dict[str, Call], prefix: str, caller: Caller, *args: Any, **kwargs: Any
) -> Any:
    name, count = prefix + layer.name, 2
    if isinstance(layer, keras.Model) and functional_graph(layer):
        return run_graph(layer, args[0], calls, prefix=f"{name}/", caller=caller)
    while name in calls:
        name, count = f"{prefix}{layer.name}:{count}", count + 1
    if getattr(layer, "_call_has_training_arg", False):
        kwargs["training"] = False
    if isinstance(layer, keras.src.ops.numpy.Copy):
        layer = _return_input  # A copy would hide that the call is the identity.
    output = caller(name, layer, args, kwargs)
    calls[name] = Call(layer, args, kwargs, output)
    return output


def _return_input(x: Any) -> Any:
    return x


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


def copy_model(model: keras.Model) -> keras.Model:
    """Return a model of the same configuration, with a copy of the weights.

    Raises:
        ValueError: When Keras cannot rebuild the model from its configuration.
    """
    state = random.getstate()  # Keras seeds the initialisers of new layers from it.
    try:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        for layer in sublayers(copy):
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # It computes with constants derived from its weights.
    except Exception as error:
        raise ValueError(
            f"model: expected one that Keras can make again from its configuration; {model.name!r} "
            f"cannot be copied: {error}"
        ) from error
    finally:
        random.setstate(state)
    return copy


def prepend_to_model(model: keras.Model, step: Callable[[Any], Any]) -> keras.Model:
    """Return a model that applies `step` to the image and then calls this model's layers.

    It adds a node to each of these layers, so pass a copy of a user's model.
    """
    image = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(
        image, functional_graph(model)._run_through_graph(step(image), lambda op: op)
    )


def sublayers(layer: Any) -> list[Any]:
    """Return a layer and all layers inside it, each once, in the order in which Keras has them."""
    return list({id(inner): inner for inner in layer._flatten_layers()}.values())
