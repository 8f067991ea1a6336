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
from mnist_xai.interpret.core.attention import open_attention
from mnist_xai.interpret.core.graph import (
    Call,
    Caller,
    UnsupportedLayerError,
    last_activation,
    without_activation,
    without_identities,
)
from mnist_xai.interpret.core.head import undo_activation
from mnist_xai.interpret.core.layer_kinds import Kind, Operation, kind_of, reads_shape_only
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.normalisation import Normalisation, normalisation_of
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
        norm: What it divides by, for the kind "normalise"; None for every other kind.
        reads: How often it reads its inputs; more than their number if it reads one twice.
        adds_constants: Whether some of the numbers that it rearranges are constants.
        closed: Why code of the user's own cannot be seen, and what to do; empty for other steps.
    """

    name: str
    kind: Kind
    layer: Any
    inputs: tuple[tf.Tensor, ...]
    output: tf.Tensor
    function: Callable[..., tf.Tensor]
    affine: Affine | None = None
    norm: Normalisation | None = None
    reads: int = 1
    adds_constants: bool = False
    closed: str = ""

    @property
    def pixelwise(self) -> bool:
        """Whether it only shifts, scales, moves or resamples numbers, and mixes no channels."""
        diagonal = self.affine is not None and self.affine.diagonal
        return diagonal or self.kind in ("scale", "resample", "rearrange")

    def vjp(self, g: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Return `Jᵀ g`, with `J` the Jacobian at its inputs: one tensor for each input."""
        if self.affine:
            return (self.affine.transpose(g, self.inputs[0]),)
        return vjp(self.function, self.inputs, g)

    def refuse(
        self, method: str, why: str, instead: str = "use a gradient or perturbation method"
    ) -> NoReturn:
        """Raise UnsupportedLayerError; the message names the layer and says what to do."""
        kind = self.layer.name if isinstance(self.layer, Operation) else type(self.layer).__name__
        said = self.closed or f"{why}; {instead}"
        raise UnsupportedLayerError(f"{self.name}: {method} cannot treat this {kind}: {said}")


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
    """Run a network on images and return its steps."""
    split: dict[str, Call] = {}
    calls, output = network.runner.run(images, _splitting_caller(split), open_layers=True)
    way_out = network.runner.openings.way_out
    steps = []
    for step in _steps_of(without_identities(split), images):
        closed = way_out(step.layer)
        # A subclass of a known layer may do anything in a call of its own.
        steps.append(replace(step, kind="other", closed=closed) if closed else step)
    return StepGraph(
        steps,
        undo_activation(split, output)[0] if network.runner.head.undone else output,
        {name: call.output for name, call in calls.items()},
    )


ACTIVATION = "(activation)"
"""The end of the name of a fused activation's step."""


def _splitting_caller(calls: dict[str, Call]) -> Caller:
    """Return a caller that records the parts of a layer as calls of their own.

    They are a fused activation, and the projections and products of an attention layer.
    """

    def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        def call_part(part: str, inner: Any, *inputs: Any) -> Any:
            return call(f"{name}/{part}", inner, inputs, {})

        opened = open_attention(call_part, layer, args, kwargs)
        if opened is not None:
            return opened
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
    dependent: set[int] = {id(images)}
    steps: list[Step] = []

    def depends(argument: Any) -> bool:
        return id(argument) in dependent

    for name, call in calls.items():
        arguments = keras.tree.flatten((call.args, call.kwargs))
        if not any(map(depends, arguments)) or reads_shape_only(call.layer):
            continue
        affine = affine_calls(call, depends)
        steps += [
            Step(name, "affine", call.layer, (x,), z, _function_of(affine), affine)
            for affine, x, z in affine
        ] or _other_steps(name, call, depends)
        dependent.update(map(id, keras.tree.flatten(call.output)))
    return steps


def _function_of(affine: Affine) -> Callable[..., tf.Tensor]:
    return lambda x: affine.product(tf.cast(x, tf.float32), affine.kernel) + affine.bias


def _other_steps(name: str, call: Call, depends: Callable[[Any], bool]) -> list[Step]:
    """Return the steps of a call without weights: one for each of its outputs."""
    arguments = keras.tree.flatten((call.args, call.kwargs))
    read = [t for t in arguments if depends(t)]
    inputs = tuple({id(t): t for t in read}.values())
    norm = normalisation_of(call)
    outputs = [call.output] if tf.is_tensor(call.output) else keras.tree.flatten(call.output)
    return [
        Step(
            name=name if tf.is_tensor(call.output) else f"{name}[{i}]",
            kind="normalise" if norm else kind_of(call, depends),
            layer=call.layer,
            inputs=inputs,
            output=output,
            function=_function_of_inputs(call, inputs, i),
            norm=norm,
            reads=len(read),
            adds_constants=any(tf.is_tensor(t) and not depends(t) for t in arguments),
        )
        for i, output in enumerate(outputs)
    ]


def _function_of_inputs(
    call: Call, inputs: tuple[tf.Tensor, ...], output: int
) -> Callable[..., tf.Tensor]:
    """Return a call as a function of the tensors that depend on the image.

    Args:
        call: The call.
        inputs: These tensors.
        output: The index of its output.
    """
    places = {id(tensor): i for i, tensor in enumerate(inputs)}

    def function(*values: tf.Tensor) -> tf.Tensor:
        rows = tf.shape(values[0])[0]
        args, kwargs = keras.tree.map_structure(
            lambda t: values[places[id(t)]] if id(t) in places else _rows_of(t, rows),
            (call.args, call.kwargs),
        )
        return keras.tree.flatten(call.layer(*args, **kwargs))[output]

    return function


def _rows_of(constant: Any, rows: tf.Tensor) -> Any:
    """Return a constant with a row for each image, such as a class token, with other rows.

    Each baseline of an image gets the image's row; a single row gets the first one.
    """
    if not tf.is_tensor(constant) or not constant.shape.rank or constant.shape[0] is not None:
        return constant
    return tf.gather(constant, tf.range(rows) * tf.shape(constant)[0] // rows)


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
        rule: `rule(step, signal of its output)` returns the signals of its inputs; None for an
            input that gets none.

    Returns:
        The signal of `end`, added up over all steps that read it; None where none arrives.
    """
    signals = {id(start[0]): start[1]}
    for step in reversed(steps):
        if id(step.output) not in signals:
            continue
        arrived = signals.pop(id(step.output))
        for tensor, signal in zip(step.inputs, rule(step, arrived), strict=True):
            if signal is None:
                continue
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
    if not linear.affine or linear.affine.diagonal or not linear.affine.folds or not step.affine:
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
