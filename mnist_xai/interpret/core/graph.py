"""Running a Keras model layer by layer, with every call written down.

The one place that knows how Keras keeps a model's graph.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras


class UnsupportedLayerError(ValueError):
    """A layer that cannot be treated; the message names it and says what to do."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer: what went in, and what came out."""

    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


def functional_graph(model: keras.Model) -> Any:
    """The functional graph behind a Sequential or Functional model; None for others."""
    if isinstance(model, keras.Sequential):
        return model._functional  # Keras has no public way to it.
    return model if isinstance(model, keras.src.models.functional.Functional) else None


Caller = Callable[[str, Any, tuple[Any, ...], dict[str, Any]], Any]
"""Calls a layer, given its name, itself and what goes in; returns what comes out."""


def call_plainly(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a layer as its model would."""
    return layer(*args, **kwargs)


def run_graph(
    model: keras.Model,
    inputs: Any,
    calls: dict[str, Call],
    *,
    prefix: str = "",
    caller: Caller = call_plainly,
) -> Any:
    """Call a model's layers in its own order, and write each call down under its name.

    Not `model(inputs)`, which shows nothing of the inside, nor a second model on the same
    layers, which would leave its nodes in the user's.
    """
    return functional_graph(model)._run_through_graph(
        inputs, operation_fn=lambda layer: partial(_call_layer, layer, calls, prefix, caller)
    )


def _call_layer(
    layer: Any, calls: dict[str, Call], prefix: str, caller: Caller, *args: Any, **kwargs: Any
) -> Any:
    name, again = prefix + layer.name, 2
    if isinstance(layer, keras.Model) and functional_graph(layer):
        return run_graph(layer, args[0], calls, prefix=f"{name}/", caller=caller)
    while name in calls:
        name, again = f"{prefix}{layer.name}:{again}", again + 1
    if getattr(layer, "_call_has_training_arg", False):
        kwargs["training"] = False
    output = caller(name, layer, args, kwargs)
    calls[name] = Call(layer, args, kwargs, output)
    return output


def undo_softmax(calls: list[Call], output: Any) -> Any:
    """Follow the output back to the logits of which the softmax was taken.

    Returns the output itself when it is no softmax's.
    """
    for i, call in reversed(list(enumerate(calls))):
        if all(output is not tensor for tensor in keras.tree.flatten(call.output)):
            continue
        if _is_softmax(call.layer):
            return call.args[0]
        if last_activation(call.layer) is keras.activations.softmax:
            return without_activation(call.layer)(*call.args, **call.kwargs)
        if _passes_through(call.layer):
            before = undo_softmax(calls[:i], call.args[0])
            return output if before is call.args[0] else before
        break
    return output


def _is_softmax(layer: Any) -> bool:
    """Whether a layer, or an operation of `keras.ops`, is nothing but softmax over classes."""
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.softmax
    return type(layer).__name__ == "Softmax" and layer.axis in (-1, 1)


def _passes_through(layer: Any) -> bool:
    """Whether a layer gives, in inference mode, what it is given."""
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear
    return isinstance(layer, keras.layers.Identity | keras.layers.Dropout)


def last_activation(layer: Any) -> Any:
    """The activation in which a layer ends; None for one that may use it anywhere else.

    A recurrent layer's is inside its cell, and where a layer of the user's own applies what it
    calls its activation is known to nobody.
    """
    # By the method, so that a subclass which leaves it alone is what it inherits from.
    ends = any(type(layer).call is kind.call for kind in _END_IN_ACTIVATION)
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
    """The same layer, on the same weights, with the identity as its activation."""
    # Neither copy.copy nor from_config: both would make weights of their own.
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__, activation=keras.activations.linear)
    return twin


def copy_model(model: keras.Model) -> keras.Model:
    """A model of the same configuration and the same weights, which are its own.

    Raises:
        ValueError: When Keras cannot make it again from its configuration.
    """
    state = random.getstate()  # Keras seeds the initialisers of a new layer from it.
    try:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        for layer in sublayers(copy):
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # It computes with what it made of its weights.
    except Exception as error:
        raise ValueError(
            f"model: expected one that Keras can make again from its configuration; {model.name!r} "
            f"cannot be copied: {error}"
        ) from error
    finally:
        random.setstate(state)
    return copy


def prepend_to_model(model: keras.Model, step: Callable[[Any], Any]) -> keras.Model:
    """A model that does something to the image and goes on as this one, layer by layer.

    It is made of this model's own layers, which it leaves with a node more: give it a copy.
    """
    image = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(
        image, functional_graph(model)._run_through_graph(step(image), lambda op: op)
    )


def sublayers(layer: Any) -> list[Any]:
    """A layer and those inside it, each once, in the order in which Keras keeps them."""
    return list({id(inner): inner for inner in layer._flatten_layers()}.values())


def reads(call: Call, tensor: Any) -> bool:
    """Whether a tensor is among what went into a call."""
    return any(one is tensor for one in keras.tree.flatten((call.args, call.kwargs)))
