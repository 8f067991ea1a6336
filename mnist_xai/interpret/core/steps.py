"""A model's calls in a canonical form: steps of few kinds, for rules that treat each kind.

Fused activations are steps of their own, BatchNorm is folded into the linear layer before it, and
the graph of steps is folded backwards once, each step handing what its output got to its inputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import keras
import tensorflow as tf
from keras import layers

from mnist_xai.interpret.core.affine import Affine, as_calls, normalised
from mnist_xai.interpret.core.graph import (
    Call,
    Caller,
    UnsupportedLayerError,
    last_activation,
    undo_softmax,
    without_activation,
)
from mnist_xai.interpret.core.layer_kinds import Kind, kind_of
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.shortcuts import is_relu


@dataclass(frozen=True, eq=False)
class Step:
    """One step from inputs that depend on the image to an output.

    Attributes:
        name: Name of its layer.
        kind: What it does.
        layer: The layer, or the operation.
        inputs: The tensors that depend on the image.
        output: The tensor that comes out.
        run: The inputs to the output, once more.
        affine: Its weights, for a step of that kind.
    """

    name: str
    kind: Kind
    layer: Any
    inputs: tuple[tf.Tensor, ...]
    output: tf.Tensor
    run: Callable[..., tf.Tensor]
    affine: Affine | None = None

    def pull_back(self, slope: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The transpose of its Jacobian at its inputs, applied: `Jᵀ g`, one for each input."""
        if self.affine:
            return (self.affine.transpose(slope, self.inputs[0]),)
        return transposed(self.run, self.inputs, slope)

    def refuse(self, method: str, why: str) -> NoReturn:
        """Raise UnsupportedLayerError by the layer's name."""
        raise UnsupportedLayerError(
            f"{self.name}: {method} cannot treat this {type(self.layer).__name__}: {why}"
        )


def transposed(
    run: Callable[..., tf.Tensor], inputs: Sequence[tf.Tensor], slope: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """`Jᵀ g` of a function at its inputs."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = run(*inputs)
    slopes = tape.gradient(
        output, inputs, tf.cast(slope, output.dtype), unconnected_gradients="zero"
    )
    return tuple(tf.cast(s, tf.float32) for s in slopes)


def splitting_caller(calls: dict[str, Call]) -> Caller:
    """What calls layers with their fused activations apart, and writes both calls down."""

    def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        activation = last_activation(layer)
        plain_already = activation is None or activation is keras.activations.linear
        if plain_already or isinstance(layer, layers.Activation):
            calls[name] = Call(layer, args, kwargs, layer(*args, **kwargs))
            return calls[name].output
        plain = without_activation(layer)
        z = plain(*args, **kwargs)
        calls[name] = Call(plain, args, kwargs, z)
        made = Call(_as_layer(activation), (z,), {}, activation(z))
        calls[f"{name} {ACTIVATION}"] = made
        return made.output

    return call


def _as_layer(activation: Any) -> Any:
    """An activation as a layer; it may be one."""
    if isinstance(activation, layers.Layer):
        return activation
    # Named, or Keras counts it, and renames the user's next layers; and with a dtype, or it takes
    # the policy that happens to be the global one.
    return layers.Activation(activation, name="activation", dtype="float32")


ACTIVATION = "(activation)"
"""What the name of a fused activation's step ends in."""


@dataclass(frozen=True, eq=False)
class Record:
    """A run of a network, as steps.

    Attributes:
        steps: The steps from the images, in their order.
        logits: The logits, one of their outputs.
        outputs: What each layer put out, by its name.
    """

    steps: list[Step]
    logits: tf.Tensor
    outputs: dict[str, tf.Tensor]

    @property
    def to_logits(self) -> list[Step]:
        """The steps that the logits are made of: another output of the model may read them too."""
        wanted, found = {id(self.logits)}, []
        for step in reversed(self.steps):
            if id(step.output) in wanted:
                wanted.update(map(id, step.inputs))
                found.append(step)
        return found[::-1]


def record(network: Network, images: tf.Tensor) -> Record:
    """Run a network on images and write its steps down."""
    calls: dict[str, Call] = {}
    whole, output = network.runner.run(images, splitting_caller(calls))
    return Record(
        _steps_of(calls, images),
        undo_softmax(list(calls.values()), output),
        {name: call.output for name, call in whole.items()},
    )


def _steps_of(calls: dict[str, Call], images: tf.Tensor) -> list[Step]:
    known, steps = {id(images)}, []
    for name, call in calls.items():
        tensors = keras.tree.flatten((call.args, call.kwargs))
        inputs = {id(t): t for t in tensors if id(t) in known}
        if not inputs:
            continue
        if isinstance(call.output, list | tuple | dict):
            raise UnsupportedLayerError(
                f"{name}: a {type(call.layer).__name__} with several outputs cannot be treated "
                "by methods that go back layer by layer; gradient methods can"
            )
        known.add(id(call.output))
        steps += _affine_steps(name, call) or [_plain_step(name, call, tuple(inputs.values()))]
    return steps


def propagate_backwards(
    steps: Sequence[Step],
    start: tuple[tf.Tensor, Any],
    end: tf.Tensor,
    rule: Callable[[Step, Any], Sequence[Any]],
) -> Any:
    """Hand what a tensor got back through the steps that made it, down to another tensor.

    Args:
        steps: The steps in their order.
        start: A tensor among their outputs, and what it got.
        end: A tensor among their inputs.
        rule: A step and what its output got, to what each of its inputs gets.

    Returns:
        What the end got in all: what several steps hand to one tensor is added.
    """
    got = {id(start[0]): start[1]}
    for step in reversed(steps):
        if id(step.output) not in got:
            continue
        handed = got.pop(id(step.output))
        for tensor, share in zip(step.inputs, rule(step, handed), strict=True):
            before = got.get(id(tensor))
            total = share if before is None else tf.nest.map_structure(tf.add, before, share)
            got[id(tensor)] = total
    return got.get(id(end))


def _affine_steps(name: str, call: Call) -> list[Step]:
    return [
        Step(name, "affine", call.layer, (x,), z, _run(affine), affine)
        for affine, x, z in as_calls(call)
    ]


def _run(affine: Affine) -> Callable[..., tf.Tensor]:
    return lambda x: affine.product(tf.cast(x, tf.float32), affine.kernel) + affine.bias


def _plain_step(name: str, call: Call, inputs: tuple[tf.Tensor, ...]) -> Step:
    places = {id(tensor): i for i, tensor in enumerate(inputs)}

    def run(*values: tf.Tensor) -> tf.Tensor:
        args, kwargs = keras.tree.map_structure(
            lambda t: values[places[id(t)]] if id(t) in places else t, (call.args, call.kwargs)
        )
        return call.layer(*args, **kwargs)

    # As often as it is read: `x * x` is no linear function of its one input.
    count = sum(id(t) in places for t in keras.tree.flatten((call.args, call.kwargs)))
    return Step(name, kind_of(call, count), call.layer, inputs, call.output, run)


def fold_normalisation(steps: list[Step]) -> list[Step]:
    """Make one step of a linear layer and the BatchNorm that alone reads it."""
    return _joined(steps, _with_normalisation)


def join_relu_and_maximum(steps: list[Step]) -> list[Step]:
    """Make one step of a ReLU and the maximum pooling that alone reads it."""
    return _joined(steps, _relu_with_maximum)


def _joined(steps: list[Step], join: Callable[[Step, Step], Step | None]) -> list[Step]:
    """Put one step in the place of two, the second of which alone reads the first."""
    joined: list[Step] = []
    for step in steps:
        maker = next((s for s in joined if s.output is step.inputs[0]), None)
        alone = maker and sum(maker.output is t for s in steps for t in s.inputs) == 1
        whole = join(maker, step) if maker and alone else None
        if maker and whole:
            joined[joined.index(maker)] = whole
        else:
            joined.append(step)
    return joined


def _with_normalisation(maker: Step, step: Step) -> Step | None:
    """A linear step with the normalisation of its last axis; None when they are not these."""
    if not maker.affine or maker.affine.diagonal or not step.affine:
        return None
    axis = getattr(step.layer, "axis", None)
    if not isinstance(step.layer, layers.BatchNormalization) or axis not in (
        -1,
        len(maker.output.shape) - 1,
    ):
        return None
    affine = normalised(maker.affine, step.affine, maker.layer)
    return replace(maker, output=step.output, affine=affine, run=_run(affine))


def _relu_with_maximum(maker: Step, step: Step) -> Step | None:
    """A ReLU and the maximum of its outputs; None when they are not these."""
    only_relu = maker.kind == "elementwise" and is_relu(maker.layer)
    if not only_relu or step.kind != "max" or len(step.inputs) != 1:
        return None
    return replace(step, kind="relu_max", inputs=maker.inputs)
