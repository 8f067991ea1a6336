"""The way of an image into a model: from unit pixels to the argument of the model's call."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.graph import Call, Caller, functional_graph, run_graph
from mnist_xai.interpret.core.intake import Intake
from mnist_xai.interpret.core.layer_kinds import Operation
from mnist_xai.interpret.core.own_function import OwnFunction
from mnist_xai.interpret.core.pixels import CONVENTIONS, OPEN, PixelRange, Pixels, pixel_range
from mnist_xai.interpret.core.preprocessing import found_range

Preprocess = str | Callable[[Any], Any]
"""What `preprocess=` may be: a callable, a Keras layer, or a module of `keras.applications`."""


@dataclass(frozen=True, eq=False)
class Entry:
    """The steps before a model, each recorded like a layer of it.

    Attributes:
        pixels: The range of the pixels that the user passes.
        preprocess: Makes the model's pixels from the user's; None where they are the same.
        has_channels: Whether the model's input has an axis for channels.
    """

    pixels: PixelRange
    preprocess: Any = None
    has_channels: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the steps that are layers of their own."""
        return tuple(name for name, _ in self._steps())

    def run(self, images: tf.Tensor, calls: dict[str, Call], caller: Caller) -> tf.Tensor:
        """Return the model's argument for unit images, and record the steps among the calls."""
        for name, layer in self._steps():
            if isinstance(layer, keras.Model) and functional_graph(layer):
                images = run_graph(layer, images, calls, prefix=f"{name}/", caller=caller)
                continue
            output = caller(name, layer, (images,), {})
            calls[name] = Call(layer, (images,), {}, output)
            images = output
        return images

    def _steps(self) -> list[tuple[str, Any]]:
        steps: list[tuple[str, Any]] = []
        if not self.pixels.is_unit:
            low, span = np.asarray(self.pixels.low, np.float32), self.pixels.span
            # Named, because Keras would count the layer and rename the user's next ones.
            scaling = keras.layers.Rescaling(span, low, name="pixels", dtype="float32")
            steps.append((PIXELS, scaling))
        if self.preprocess is not None:
            steps.append(("preprocess", self.preprocess))
        if not self.has_channels:
            steps.append(("(channel)", Operation("rearrange", drop_channels, "Squeeze")))
        return steps


PIXELS = "(pixels)"
"""Name of the step from unit pixels to those that the user passes."""


def drop_channels(x: Any) -> Any:
    """Return images `(N, H, W)` without the axis of their one channel."""
    return tf.squeeze(x, -1)


def named_preprocess(preprocess: Preprocess) -> Any:
    """Return a callable; a name stands for `preprocess_input` of a `keras.applications` module.

    Raises:
        TypeError, ValueError: For another type or an unknown name.
    """
    if isinstance(preprocess, str):
        module: Any = getattr(keras.applications, preprocess, None)
        if not hasattr(module, "preprocess_input"):
            known = sorted(
                name
                for name in dir(keras.applications)
                if hasattr(getattr(keras.applications, name), "preprocess_input")
            )
            raise ValueError(
                f"preprocess: expected a callable or one of {', '.join(known)}; got {preprocess!r}"
            )
        return module.preprocess_input
    if not callable(preprocess):
        raise TypeError(
            "preprocess: expected a callable, a Keras layer, or the name of a module of "
            f"keras.applications; got {type(preprocess).__name__}"
        )
    return preprocess


def traced_preprocess(preprocess: Any, shape: tuple[int | None, ...]) -> Any:
    """Return preprocessing as a functional model if Keras can trace it, else as a callable.

    Methods that go back layer by layer see the steps of a functional model. A callable of
    TensorFlow tensors has a gradient, one of NumPy arrays has none.
    """
    if isinstance(preprocess, keras.Layer):
        return preprocess
    for trace in (_as_model, _as_pass):
        # It may do anything with a symbolic tensor.
        with suppress(Exception):
            return trace(preprocess, shape)
    return _of_arrays(preprocess, shape)


def check_preprocess(preprocess: Any, shape: tuple[int | None, ...], takes: Any) -> None:
    """Raise ValueError unless preprocessing returns one image that the model takes for each.

    Args:
        preprocess: What `traced_preprocess` returned.
        shape: Shape of the images it is given.
        takes: Shape of the images that the model takes.
    """
    made = preprocess(tf.zeros([2, *(side or 32 for side in shape)]))
    if made.shape[0] != 2:
        raise ValueError(
            f"preprocess: expected as many images as it is given; got {made.shape[0]} for 2"
        )
    sides = zip(made.shape[1:], takes, strict=False)
    if len(made.shape) != len(takes) + 1 or any(b not in (None, a) for a, b in sides):
        raise ValueError(
            f"preprocess: expected images {tuple(takes)}, as the model takes them; it returns "
            f"{tuple(made.shape[1:])}"
        )


def _as_model(preprocess: Any, shape: tuple[int | None, ...]) -> keras.Model:
    image = keras.Input(shape, name="picture", dtype="float32")
    return keras.Model(image, preprocess(image), name="preprocess")


def _as_pass(preprocess: Any, shape: tuple[int | None, ...]) -> Any:
    spec = tf.TensorSpec([None, *shape], tf.float32)
    tf.function(preprocess, autograph=False).get_concrete_function(spec)
    return preprocess


def _of_arrays(preprocess: Any, shape: tuple[int | None, ...]) -> Any:
    """Return a callable of NumPy arrays as one of tensors."""
    trial = np.zeros((1, *(side or 32 for side in shape)), np.float32)
    sides = np.asarray(preprocess(trial)).shape[1:]

    def on_arrays(x: Any) -> Any:
        def run(pictures: Any) -> Any:
            # A copy, because preprocess_input works in place.
            made = np.asarray(preprocess(np.array(pictures)), np.float32)
            if len(made) != len(pictures):
                raise ValueError(
                    f"preprocess: expected as many images as it is given; got {len(made)} for "
                    f"{len(pictures)}"
                )
            return made

        y = tf.numpy_function(run, [x], tf.float32)
        y.set_shape([x.shape[0], *sides])
        return y

    return on_arrays


def entry_of(intake: Intake, pixels: Pixels | None, preprocess: Preprocess | None) -> Entry:
    """Return the way of images into a model; find the range of its pixels if none is given.

    Args:
        intake: The model.
        pixels: The range, as `Network` takes it.
        preprocess: What makes the model's pixels, as `Network` takes it.

    Raises:
        TypeError, ValueError: For an unknown range or preprocessing, or one that does not fit.
    """
    shape = intake.image_shape
    has_channels = len(shape) == 3
    sides = shape if has_channels else (*shape, 1)
    traced = None
    if preprocess is not None:
        traced = traced_preprocess(named_preprocess(preprocess), sides)
        check_preprocess(traced, sides, sides)
    raw = Entry(CONVENTIONS["unit"], traced, has_channels)
    if pixels is not None:
        return replace(raw, pixels=pixel_range(pixels, sides[-1] or 1))

    def run(images: tf.Tensor, caller: Caller) -> Any:
        return intake.run(raw.run(images, {}, caller), {}, caller)

    of_arrays = isinstance(intake.model, OwnFunction) and not intake.model.takes_tensors
    found = OPEN if of_arrays else found_range(run, tuple(side or 32 for side in sides))
    if found.origin == "open" and not tf.as_dtype(intake.dtype).is_floating:
        found = replace(CONVENTIONS["bytes"], origin="found", reason="its input is of integers")
    if found.origin == "open" and isinstance(preprocess, str):
        reason = f"preprocess_input of {preprocess} takes them"
        found = replace(CONVENTIONS["bytes"], origin="found", reason=reason)
    return replace(raw, pixels=found)
