"""Running a network inside a compiled pass: symbolic tensors in, symbolic tensors out."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.defaults import by_size
from mnist_xai.interpret.core.entry import Entry
from mnist_xai.interpret.core.graph import (
    Call,
    Caller,
    UnsupportedLayerError,
    call_plainly,
    sublayers,
    without_identities,
)
from mnist_xai.interpret.core.head import epsilon_of, find_head, undo_activation
from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.intake import Intake
from mnist_xai.interpret.core.linear_stem import NO_STEM, split_linear_stem
from mnist_xai.interpret.core.opening import has_own_call
from mnist_xai.interpret.core.shortcuts import find_shortcuts


class Runner:
    """Calls the layers of a model one after the other, in inference mode, and records each call.

    The model is read, never changed. At construction, noise is run through it, and a model whose
    scores would be misread is refused.

    Args:
        intake: The model, and how it takes images.
        output: Index of the output to explain.
        entry: The way of unit images into the model.
        image_shape: Shape of an image `(H, W, C)`; None where any size is taken.

    Attributes:
        head: How the scores are computed from the model's last numbers.
        stem: The linear first layer, split off.
        shortcuts: Layers replaced by a faster call with the same result.
        image_spec: Shape and type of images in a compiled pass.
        h_spec: Shape and type of the stem's output.
        layer_shapes: The shape of every layer's output for one image, by name. A layer with
            several outputs is left out; a layer's second call is named `name:2`.
        layer_dtypes: The dtype of every layer's output, by name.
        rounding: Relative difference of the logits that rounding alone may cause.

    Raises:
        ValueError: For a model whose own `call` does more than call its layers.
    """

    def __init__(
        self, intake: Intake, output: int, entry: Entry, image_shape: tuple[int | None, ...]
    ) -> None:
        self.model = intake.model
        self.intake = intake
        self.openings = intake.openings
        self.entry = entry
        self._output = output
        self.image_spec = tf.TensorSpec([None, *image_shape], tf.float32)
        sides = [side or 32 for side in image_shape]
        # All outputs are held meanwhile, so that one large image has to do.
        count = by_size(tuple(sides), 4, 1)
        noise = np.random.default_rng(0).random((count, *sides))
        images = tf.constant(noise, tf.float32)
        self._open_for_any_size()
        calls, output_of_noise = self._run_with_open_head(images)
        self.rounding = _rounding(calls)
        self._check_run(images, output_of_noise)
        self.head = find_head(calls, output_of_noise)
        fixed_size = None not in image_shape
        self.shortcuts = find_shortcuts(calls, fixed_size=fixed_size)
        self.stem, self.h_spec = NO_STEM, self.image_spec
        if fixed_size:  # The stem's transpose needs a fixed image size.
            self.stem = split_linear_stem(calls, images, self.shortcuts)
            h = self.stem.forward(images)
            self.h_spec = tf.TensorSpec([None, *h.shape[1:]], tf.float32)
        single = {
            name: call.output
            for name, call in calls.items()
            if tf.is_tensor(call.output) and name not in entry.names
        }
        self.layer_dtypes = {name: tensor.dtype for name, tensor in single.items()}
        self.layer_shapes = {name: tuple(tensor.shape[1:]) for name, tensor in single.items()}

    def run(
        self, images: tf.Tensor, caller: Caller = call_plainly, *, open_layers: bool = False
    ) -> tuple[dict[str, Call], tf.Tensor]:
        """Call every layer as the model does; return the calls by name, and the output.

        Args:
            images: Unit images `(N, H, W, C)`.
            caller: Calls each layer.
            open_layers: Whether custom layers are opened, as subclassed models are.
        """
        calls: dict[str, Call] = {}
        pixels = self.entry.run(images, calls, caller)
        outputs = self.intake.run(pixels, calls, caller, open_layers=open_layers)
        return calls, keras.tree.flatten(outputs)[self._output]

    def probabilities_of(self, points: Array) -> Array:
        """Return the probabilities that the model itself gives for unit images."""
        return self.probabilities_in(self.entry.run(tf.constant(points), {}, call_plainly))

    def probabilities_in(self, pixels: Array | tf.Tensor) -> Array:
        """Return the probabilities that the model itself gives for its own pixels."""
        outputs = keras.tree.flatten(self.intake.whole(pixels))[self._output]
        return np.asarray(self.head.probabilities_of(outputs))

    def logits(self, images: tf.Tensor, caller: Caller = call_plainly) -> tf.Tensor:
        """Return the logits `(N, classes)`."""
        calls, output = self.run(images, caller)
        raw = undo_activation(calls, output)[0] if self.head.undone else output
        return self.head.logits(raw)

    def logits_replaced(self, images: tf.Tensor, replaced: Mapping[str, Any]) -> tf.Tensor:
        """Return the logits with the outputs of the named layers replaced."""

        def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return replaced[name] if name in replaced else layer(*args, **kwargs)

        return self.logits(images, call)

    def logits_after_stem(self, h: tf.Tensor, *, pooled: bool = False) -> tf.Tensor:
        """Return the logits, given the stem's output `h`; with `pooled`, its pooled output."""
        known = (self.stem.name, self.stem.pool) if pooled else (self.stem.name,)
        # Nothing but the stem reads the images, so those passed in their place do not matter.
        images = tf.zeros([tf.shape(h)[0], *self.image_spec.shape[1:]]) if self.stem.name else h
        return self.logits(images, self.shortcuts.caller(h, known, self.stem.before))

    def gradient_after_stem(
        self,
        h: tf.Tensor,
        target: tf.Tensor,
        score: Score,
        *,
        weight: tf.Tensor | float = 1.0,
        pooled: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return `weight` times the score's gradient with respect to `h`, and the logits.

        `h` is the output of the stem, or with `pooled` of the pooling after it.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(h)
            z = self.logits_after_stem(h, pooled=pooled)
            s = self.head.score(z, self.head.chosen(z, target), score)
        # Weigh here, one number per image, rather than the many numbers of `h`.
        slope = tape.gradient(s, h, weight * tf.ones_like(s))
        if slope is None:
            raise UnsupportedLayerError(
                f"{self.model.name}: no gradient reaches the image; "
                + (self.openings.reason(self.model) or "a layer in between is not differentiable")
                + ". Perturbation methods need none"
            )
        slope.set_shape(h.shape)  # Some gradients lose it, such as that of a global maximum.
        return slope, z

    def layer_gradient(
        self, images: tf.Tensor, target: tf.Tensor, layer: str, score: Score
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return a layer's output, the score's gradient with respect to it, and the logits."""
        found: list[tf.Tensor] = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:

            def call(name: str, one: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                output = one(*args, **kwargs)
                if name == layer:
                    tape.watch(output)  # Nothing before it is recorded.
                    found.append(output)
                return output

            z = self.logits(images, call)
            s = self.head.score(z, self.head.chosen(z, target), score)
        (output,) = found
        slope = tape.gradient(s, output)
        if slope is None:
            raise UnsupportedLayerError(f"{layer}: the score does not depend on its output")
        return tf.cast(output, tf.float32), tf.cast(slope, tf.float32), z

    def _open_for_any_size(self) -> None:
        """Find out what stays closed for images of any size, and so for all of them."""
        own = any(map(has_own_call, sublayers(self.model)))
        if own and None in self.image_spec.shape[1:]:
            tf.function(
                lambda x: self.run(x, open_layers=True)[1], autograph=False
            ).get_concrete_function(self.image_spec)

    def _run_with_open_head(self, images: tf.Tensor) -> tuple[dict[str, Call], tf.Tensor]:
        """Run the model; open the custom layers that return its output for a softmax inside."""
        calls, output = first = self.run(images)
        opened: set[int] = set()
        while not undo_activation(calls, output)[1]:
            makers = [c.layer for c in without_identities(calls).values() if c.output is output]
            if not makers or not has_own_call(makers[-1]) or id(makers[-1]) in opened:
                self.openings.always -= opened
                return first
            opened.add(id(makers[-1]))
            self.openings.always |= opened
            calls, output = self.run(images)
        return calls, output

    def _check_run(self, images: tf.Tensor, output: tf.Tensor) -> None:
        """Refuse a model that does more, or other, than call its layers in inference mode."""
        pixels = self.entry.run(images, {}, call_plainly)
        if not tf.as_dtype(self.intake.dtype).is_floating:
            # The layers get real numbers, so that there are gradients; the model casts.
            pixels = tf.round(pixels)
            output = keras.tree.flatten(self.intake.run(pixels, {}))[self._output]
        given = keras.tree.flatten(self.intake.whole(pixels))[self._output]
        if not np.isfinite(np.asarray(tf.cast(given, tf.float32))).all():
            raise ValueError(
                f"model: expected finite outputs; {self.model.name!r} gives NaN or infinite values "
                "for images of noise. Check its weights, and pass pixels= if it takes another range"
            )
        if not agree(given, output, self.rounding):
            raise ValueError(
                f"model: expected one whose outputs are those of its layers, run one by one in "
                f"inference mode on float32 images; {self.model.name!r} gives other outputs. Does "
                "it override call()? Move that code into layers"
            )


def agree(first: Any, second: Any, rounding: float) -> bool:
    """Return whether two arrays of scores differ by no more than rounding."""
    a, b = (np.asarray(tf.cast(t, tf.float32)) for t in (first, second))
    return bool(np.allclose(a, b, rtol=0, atol=rounding * np.abs(a).max()))


def _rounding(calls: dict[str, Call]) -> float:
    """Return the relative difference that rounding may cause: `Σ_layers (ε + 64 ε₃₂)`.

    Each layer rounds its output to its own precision ε (the epsilon of its compute dtype), and
    adds in float32. Processors add in different orders, so their errors differ.
    """
    names = [getattr(call.layer, "compute_dtype", None) or "float32" for call in calls.values()]
    return sum(epsilon_of(name) + 64 * epsilon_of("float32") for name in names)
