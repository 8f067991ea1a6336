"""How a model takes images: which of its inputs they are, and what its other inputs get."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from mnist_xai.interpret.core.context import Context
from mnist_xai.interpret.core.graph import (
    Call,
    Caller,
    call_for_inference,
    call_plainly,
    functional_graph,
    run_graph,
    sublayers,
)
from mnist_xai.interpret.core.opening import Openings
from mnist_xai.interpret.core.own_function import OwnFunction

OtherInputs = Mapping[str, Any] | Sequence[Any]
"""The other inputs of a model, by name or in their order."""

Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Intake:
    """A model as a function of one batch of images.

    Attributes:
        model: The model; for a callable, the model that calls it.
        image_shape: Shape of one image as the model takes it; None for a side of any length.
        dtype: Type of the image input.
        arguments: The arguments of the model's call, for a batch of images.
        openings: The graphs of subclassed models and custom layers.
        context: Holds the other inputs fixed.
    """

    model: keras.Model
    image_shape: Shape
    dtype: str
    arguments: Callable[[tf.Tensor], tuple[Any, dict[str, Any]]]
    openings: Openings
    context: Context

    def example_images(self, count: int) -> tf.Tensor:
        """Return images of zeros, as the model takes them."""
        return tf.zeros([count, *(side or 32 for side in self.image_shape)], self.dtype)

    def build(self, model: keras.Model) -> None:
        """Call another model of the same kind once, so that it makes its weights."""
        replace(self, model=model).whole(self.example_images(1))

    def whole(self, images: tf.Tensor) -> Any:
        """Return the outputs of the model's own call in inference mode."""
        inputs, more = self.arguments(images)
        return call_for_inference(self.model, inputs, **more)

    def run(
        self,
        images: tf.Tensor,
        calls: dict[str, Call],
        caller: Caller = call_plainly,
        *,
        open_layers: bool = False,
    ) -> Any:
        """Call the model's layers one by one, and return its outputs; see `run_graph`.

        Subclassed models are opened; with `open_layers`, custom layers too.
        """
        inputs, more = self.arguments(images)
        opener = self.openings.layers if open_layers else self.openings.models
        return run_graph(self.model, inputs, calls, caller=caller, opener=opener, kwargs=more)

    def output_names(self) -> list[str]:
        """Return the names of the model's outputs, in order; for a list, their indices."""
        if graph := functional_graph(self.model):
            return list(graph.output_names)
        outputs = self.whole(self.example_images(1))
        if tf.is_tensor(outputs):
            return [self.model.name]
        paths = [path for path, _ in keras.tree.flatten_with_path(outputs)]
        return ["/".join(map(str, path)) for path in paths]

    def output_shape(self, output: int) -> Shape:
        """Return the shape of one of the model's outputs, the number of images first."""
        if graph := functional_graph(self.model):
            return tuple(graph.outputs[output].shape)
        found = keras.tree.flatten(self.whole(self.example_images(1)))[output]
        return tuple(tf.convert_to_tensor(found).shape)


def intake_of(
    model: Any,
    *,
    image_shape: Sequence[int | None] | None = None,
    classes: int | None = None,
    context: OtherInputs | None = None,
    image_input: str | int | None = None,
) -> Intake:
    """Return how a model takes images; build a model that is not built yet.

    Args:
        model: A Keras model of any kind, or a callable on a batch of images.
        image_shape: Shape of one image, for models that do not tell it.
        classes: Number of outputs of a callable.
        context: The other inputs, each with one row for all images, or one for each.
        image_input: Name or position of the image among several inputs.

    Raises:
        TypeError: For a model that is neither.
        ValueError: For a missing shape, or inputs that do not fit.
    """
    shape = None if image_shape is None else tuple(image_shape)
    if not isinstance(model, keras.Model):
        if not callable(model):
            raise TypeError(
                f"model: expected a Keras 3 model or a callable on a batch of images; got "
                f"{type(model).__name__}"
            )
        model = OwnFunction.of(model, shape, classes)
    if isinstance(model, keras.Sequential) and not model.built and shape:
        model.build((None, *shape))
    kind = _functional_intake if functional_graph(model) else _subclassed_intake
    intake = kind(model, shape, context, image_input)
    if len(intake.image_shape) not in (2, 3):
        raise ValueError(
            f"model: expected images (height, width, channels) or (height, width); {model.name!r} "
            f"takes {intake.image_shape}"
        )
    return intake


def tells_its_images(model: Any) -> bool:
    """Return whether a model tells the shape of its images."""
    return functional_graph(model) is not None or (
        isinstance(model, keras.Model) and model.built and _built_shapes(model) is not None
    )


# --- Models that know their inputs ---------------------------------------------------------------


def _functional_intake(
    model: keras.Model,
    shape: Shape | None,
    context: OtherInputs | None,
    image_input: str | int | None,
) -> Intake:
    graph = functional_graph(model)
    inputs = graph.inputs
    names = [tensor.name for tensor in inputs]
    others = _by_name(context, names, image_input)
    images = [i for i, name in enumerate(names) if name not in others]
    if image_input is not None:
        images = [i for i in images if image_input in (names[i], i)]
    elif len(images) > 1:
        images = [i for i in images if len(inputs[i].shape) in (3, 4)]
    if len(images) != 1 or len(others) != len(inputs) - 1:
        raise ValueError(
            f"model: {model.name!r} has inputs {_listed(inputs)}; one takes the images, and "
            "context={name: value} has to hold the others fixed"
            + ("" if len(images) <= 1 else "; image_input=name says which one takes the images")
        )
    (place,) = images
    takes = tuple(inputs[place].shape[1:])
    _check_channels(model, takes)
    held = Context()
    fixed = {}
    for name, value in others.items():
        index = names.index(name)
        fixed[index] = held.holder(name, value, (inputs[index].shape, inputs[index].dtype))

    def arguments(pixels: tf.Tensor) -> tuple[Any, dict[str, Any]]:
        flat = [pixels if i == place else fixed[i](pixels) for i in range(len(inputs))]
        return keras.tree.pack_sequence_as(graph.input, flat), {}

    return Intake(
        model, _same_shape(takes, shape), inputs[place].dtype, arguments, Openings(), held
    )


def _by_name(
    context: OtherInputs | None, names: list[str], image_input: str | int | None
) -> dict[str, Any]:
    """Return the other inputs by name."""
    if isinstance(context, Mapping):
        if unknown := set(context) - set(names):
            raise ValueError(
                f"context: expected inputs among {', '.join(names)}; got {', '.join(unknown)}"
            )
        return dict(context)
    if context is None:
        return {}
    image = names.index(image_input) if image_input in names else image_input or 0
    rest = [name for i, name in enumerate(names) if i != image]
    if len(context) != len(rest):
        raise ValueError(f"context: expected {len(rest)} inputs, {rest}; got {len(context)}")
    return dict(zip(rest, context, strict=True))


def _listed(inputs: Sequence[Any]) -> str:
    return ", ".join(f"{x.name} {tuple(x.shape)}" for x in inputs)


def _same_shape(takes: Shape, given: Shape | None) -> Shape:
    """Return the shape of the model's images, with sides of any length as the user gives them."""
    if given is None:
        return takes
    if len(given) != len(takes) or any(
        a not in (None, b) for a, b in zip(takes, given, strict=True)
    ):
        raise ValueError(f"image_shape: expected {takes}, which the model takes; got {given}")
    return given


# --- Models that do not --------------------------------------------------------------------------


def _subclassed_intake(
    model: keras.Model,
    shape: Shape | None,
    context: OtherInputs | None,
    image_input: str | int | None,
) -> Intake:
    found = _built_shapes(model)
    if shape is None:
        shape = _image_shape(model, found, context, image_input)
    _check_channels(model, shape)
    held = Context()
    arguments = _arguments(model, found, held, context, image_input)
    intake = Intake(model, shape, "float32", arguments, Openings(), held)
    if not model.built or not all(layer.built for layer in sublayers(model)):
        intake.whole(intake.example_images(1))
    return intake


def _built_shapes(model: keras.Model) -> Any:
    """Return the shapes that a model was built with; None where it does not say."""
    if isinstance(model, keras.src.models.functional.Functional):  # With a call of its own.
        shapes = [tuple(tensor.shape) for tensor in model.inputs]
        return shapes[0] if len(shapes) == 1 else shapes
    config = model.get_build_config() if model.built else None
    return (config or {}).get("input_shape") or (config or {}).get("shapes_dict")


def _image_shape(
    model: keras.Model, found: Any, context: OtherInputs | None, image_input: str | int | None
) -> Shape:
    """Return the shape of one image, from the shapes that the model was built with."""
    if isinstance(found, Mapping):
        known = context if isinstance(context, Mapping) else {}
        rest = [k for k in found if k not in known and _parameter(k) not in known]
        rest = [k for k in rest if image_input in (k, _parameter(k))] or rest
        found = found[rest[0]] if len(rest) == 1 else None
    elif isinstance(found, Sequence) and found and isinstance(found[0], Sequence):
        found = found[image_input if isinstance(image_input, int) else 0]
    if not found or len(found) not in (3, 4):
        raise ValueError(
            f"model: {model.name!r} does not say which images it takes; pass "
            "Network(model, image_shape=(height, width, channels))"
        )
    return tuple(found[1:])


def _parameter(key: str) -> str:
    """Return the parameter of a call that a key of Keras's shapes is named after."""
    return key.removesuffix("_shape")


def _arguments(
    model: keras.Model,
    found: Any,
    held: Context,
    context: OtherInputs | None,
    image_input: str | int | None,
) -> Callable[[tf.Tensor], tuple[Any, dict[str, Any]]]:
    """Return what makes the arguments of a subclassed model's call."""
    if context is None:
        if isinstance(image_input, str):
            return lambda pixels: ({image_input: pixels}, {})
        return lambda pixels: (pixels, {})
    if not isinstance(context, Mapping):
        place = image_input if isinstance(image_input, int) else 0
        rows = [held.holder(str(i), value) for i, value in enumerate(context)]

        def listed(pixels: tf.Tensor) -> tuple[Any, dict[str, Any]]:
            others = [row(pixels) for row in rows]
            return [*others[:place], pixels, *others[place:]], {}

        return listed
    fixed = {name: held.holder(name, value) for name, value in context.items()}
    if image_input is None and set(fixed) <= set(inspect.signature(model.call).parameters):
        return lambda x: (x, {name: row(x) for name, row in fixed.items()})
    names = [key for key in found or () if isinstance(found, Mapping) and key not in fixed]
    name = image_input or (names[0] if len(names) == 1 else None)
    if name is None:
        raise ValueError(
            f"model: {model.name!r} takes its inputs by name; say with image_input=name which one "
            "takes the images"
        )
    return lambda x: ({name: x, **{k: row(x) for k, row in fixed.items()}}, {})


def _check_channels(model: keras.Model, shape: Shape) -> None:
    """Refuse a model of images `(channels, height, width)`."""
    if len(shape) != 3 or shape[0] not in (1, 2, 3, 4):
        return
    reads_first = any(
        getattr(layer, "data_format", None) == "channels_first" for layer in sublayers(model)
    )
    first, height, width = shape
    looks_so = first in (1, 3) and height == width and (height or 0) >= 16
    if reads_first or looks_so:
        raise ValueError(
            f"model: expected images (height, width, channels); {model.name!r} takes {shape}, "
            "channels first. Explain keras.Sequential([keras.Input("
            f"({height}, {width}, {first})), keras.layers.Permute((3, 1, 2)), model])"
        )


def output_index(intake: Intake, output: str | int | None) -> int:
    """Return the index of an output, named by its layer, its key or its index."""
    names, model = intake.output_names(), intake.model
    if output is None and len(names) == 1:
        return 0
    if isinstance(output, int) and not isinstance(output, bool) and 0 <= output < len(names):
        return output
    made = functional_graph(model)._outputs_struct if functional_graph(model) else None
    keys: list[Any] = sorted(made) if isinstance(made, dict) else []
    for known in (keys, names):
        if output in known:
            return list(known).index(output)
    raise ValueError(
        f"output: expected one of {', '.join(map(str, keys or names))}, or an index from 0 to "
        f"{len(names) - 1}; got {output!r}"
    )
