"""A network as a graph of steps of a few kinds, for methods that propagate layer by layer.

A fused activation is a step of its own, a layer that returns its input is no step, and
`fold_normalisation` joins BatchNorm with the linear layer before it. `propagate_backwards` walks
the graph once from the logits to the image and adds up where branches join.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import keras
import tensorflow as tf
from keras import layers

from mnist_xai.interpret.core.affine import Affine, affine_calls, normalised
from mnist_xai.interpret.core.graph import (
    Call,
    Caller,
    UnsupportedLayerError,
    last_activation,
    undo_softmax,
    without_activation,
    without_identities,
)
from mnist_xai.interpret.core.layer_kinds import Kind, kind_of
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.shortcuts import is_relu


@dataclass(frozen=True, eq=False)
class Step:
    """One operation on tensors that depend on the image.

    Attributes:
        name: Name of its layer.
        kind: What it does.
        layer: The layer, or the operation.
        inputs: The tensors that it reads and that depend on the image.
        output: The tensor that it returns.
        function: `inputs` to `output`.
        affine: Its weights and bias, for the kind "affine"; None for every other kind.
    """

    name: str
    kind: Kind
    layer: Any
    inputs: tuple[tf.Tensor, ...]
    output: tf.Tensor
    function: Callable[..., tf.Tensor]
    affine: Affine | None = None

    def vjp(self, g: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Return `Jᵀ g`, with `J` the Jacobian at its inputs: one tensor for each input."""
        if self.affine:
            return (self.affine.transpose(g, self.inputs[0]),)
        return vjp(self.function, self.inputs, g)

    def refuse(self, method: str, why: str) -> NoReturn:
        """Raise UnsupportedLayerError; the message names the layer."""
        raise UnsupportedLayerError(
            f"{self.name}: {method} cannot treat this {type(self.layer).__name__}: {why}"
        )


def vjp(
    function: Callable[..., tf.Tensor], inputs: Sequence[tf.Tensor], g: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Return `Jᵀ g`, with `J` the Jacobian of a function at these inputs; zero where constant."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = function(*inputs)
    slopes = tape.gradient(output, inputs, tf.cast(g, output.dtype), unconnected_gradients="zero")
    return tuple(tf.cast(slope, tf.float32) for slope in slopes)


# --- A network as steps --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class StepGraph:
    """The steps of a network for one batch of images.

    Attributes:
        steps: The steps, in the order in which they were computed.
        logits: The logits, the output of one of the steps.
        outputs: The output of every layer, by the layer's name.
    """

    steps: list[Step]
    logits: tf.Tensor
    outputs: dict[str, tf.Tensor]

    @property
    def to_logits(self) -> list[Step]:
        """The steps that the logits depend on; other outputs of the model may need more."""
        wanted, found = {id(self.logits)}, []
        for step in reversed(self.steps):
            if id(step.output) in wanted:
                wanted.update(map(id, step.inputs))
                found.append(step)
        return found[::-1]


def step_graph(network: Network, images: tf.Tensor) -> StepGraph:
    """Run a network on images and return its steps.

    Raises:
        UnsupportedLayerError: For a layer with several outputs, and for a layer or model whose
            own code cannot be opened.
    """
    split: dict[str, Call] = {}
    calls, output = network.runner.run(images, _splitting_caller(split), open_layers=True)
    network.runner.openings.check_open(split)
    return StepGraph(
        _steps_of(without_identities(split), images),
        undo_softmax(split, output),
        {name: call.output for name, call in calls.items()},
    )


ACTIVATION = "(activation)"
"""The end of the name of a fused activation's step."""


def _splitting_caller(calls: dict[str, Call]) -> Caller:
    """Return a caller that records a layer and its fused activation as two calls."""

    def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        activation = last_activation(layer)
        no_activation = activation is None or activation is keras.activations.linear
        if no_activation or isinstance(layer, layers.Activation):
            calls[name] = Call(layer, args, kwargs, layer(*args, **kwargs))
            return calls[name].output
        plain = without_activation(layer)
        z = plain(*args, **kwargs)
        calls[name] = Call(plain, args, kwargs, z)
        fused = Call(_as_layer(activation), (z,), {}, activation(z))
        calls[f"{name} {ACTIVATION}"] = fused
        return fused.output

    return call


def _as_layer(activation: Any) -> Any:
    """Return an activation as a layer; it may be one already."""
    if isinstance(activation, layers.Layer):
        return activation
    # Without a name, Keras would count it and rename the user's next layers. Without a dtype, it
    # would take the global policy.
    return layers.Activation(activation, name="activation", dtype="float32")


def _steps_of(calls: dict[str, Call], images: tf.Tensor) -> list[Step]:
    """Return the steps of the calls that depend on the images."""
    dependent, steps = {id(images)}, []
    for name, call in calls.items():
        tensors = keras.tree.flatten((call.args, call.kwargs))
        inputs = {id(t): t for t in tensors if id(t) in dependent}
        if not inputs:
            continue
        if isinstance(call.output, list | tuple | dict):
            raise UnsupportedLayerError(
                f"{name}: a {type(call.layer).__name__} with several outputs cannot be treated "
                "by methods that go back layer by layer; gradient methods can"
            )
        dependent.add(id(call.output))
        steps += _affine_steps(name, call) or [_other_step(name, call, tuple(inputs.values()))]
    return steps


def _affine_steps(name: str, call: Call) -> list[Step]:
    return [
        Step(name, "affine", call.layer, (x,), z, _function_of(affine), affine)
        for affine, x, z in affine_calls(call)
    ]


def _function_of(affine: Affine) -> Callable[..., tf.Tensor]:
    return lambda x: affine.product(tf.cast(x, tf.float32), affine.kernel) + affine.bias


def _other_step(name: str, call: Call, inputs: tuple[tf.Tensor, ...]) -> Step:
    places = {id(tensor): i for i, tensor in enumerate(inputs)}

    def function(*values: tf.Tensor) -> tf.Tensor:
        args, kwargs = keras.tree.map_structure(
            lambda t: values[places[id(t)]] if id(t) in places else t, (call.args, call.kwargs)
        )
        return call.layer(*args, **kwargs)

    # Count a tensor each time it is read: `x * x` is not linear in its one input.
    count = sum(id(t) in places for t in keras.tree.flatten((call.args, call.kwargs)))
    return Step(name, kind_of(call, count), call.layer, inputs, call.output, function)


# --- Propagation ---------------------------------------------------------------------------------


def propagate_backwards(
    steps: Sequence[Step],
    start: tuple[tf.Tensor, Any],
    end: tf.Tensor,
    rule: Callable[[Step, Any], Sequence[Any]],
) -> Any:
    """Propagate a signal (gradients, relevance, multipliers) from one tensor back to another.

    Args:
        steps: The steps in the order in which they were computed.
        start: The output of a step, and its signal.
        end: The input of a step.
        rule: `rule(step, signal of its output)` returns the signals of its inputs.

    Returns:
        The signal of `end`, added up over all steps that read it; None where none arrives.
    """
    signals = {id(start[0]): start[1]}
    for step in reversed(steps):
        if id(step.output) not in signals:
            continue
        arrived = signals.pop(id(step.output))
        for tensor, signal in zip(step.inputs, rule(step, arrived), strict=True):
            before = signals.get(id(tensor))
            total = signal if before is None else tf.nest.map_structure(tf.add, before, signal)
            signals[id(tensor)] = total
    return signals.get(id(end))


# --- Joining neighbours --------------------------------------------------------------------------


def fold_normalisation(steps: list[Step]) -> list[Step]:
    """Join each BatchNorm with the linear layer before it, where nothing else reads that layer."""
    return _joined(steps, _with_normalisation)


def join_relu_and_maximum(steps: list[Step]) -> list[Step]:
    """Join each max-pooling with the ReLU before it, where nothing else reads that ReLU."""
    return _joined(steps, _relu_with_maximum)


def _joined(steps: list[Step], join: Callable[[Step, Step], Step | None]) -> list[Step]:
    """Replace two neighbours by `join(first, second)`, where that is not None.

    Only where the second step alone reads the first one's output.
    """
    joined: list[Step] = []
    for step in steps:
        maker = next((s for s in joined if s.output is step.inputs[0]), None)
        only_reader = maker and sum(maker.output is t for s in steps for t in s.inputs) == 1
        whole = join(maker, step) if maker and only_reader else None
        if maker and whole:
            joined[joined.index(maker)] = whole
        else:
            joined.append(step)
    return joined


def _with_normalisation(linear: Step, step: Step) -> Step | None:
    """Return a linear step joined with a BatchNorm of its last axis; None for other steps."""
    if not linear.affine or linear.affine.diagonal or not step.affine:
        return None
    axis = getattr(step.layer, "axis", None)
    if not isinstance(step.layer, layers.BatchNormalization) or axis not in (
        -1,
        len(linear.output.shape) - 1,
    ):
        return None
    affine = normalised(linear.affine, step.affine, linear.layer)
    return replace(linear, output=step.output, affine=affine, function=_function_of(affine))


def _relu_with_maximum(relu: Step, step: Step) -> Step | None:
    """Return a ReLU joined with the maximum of its outputs; None for other steps."""
    only_relu = relu.kind == "elementwise" and is_relu(relu.layer)
    if not only_relu or step.kind != "max" or len(step.inputs) != 1:
        return None
    return replace(step, kind="relu_max", inputs=relu.inputs)
