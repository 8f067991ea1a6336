"""A Keras classifier made explainable: its logits, its activations and its gradients."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.graph import (
    Call,
    Caller,
    call_plainly,
    copy_model,
    functional_graph,
    last_activation,
    reads,
    run_graph,
    undo_softmax,
)
from mnist_xai.interpret.core.linear_stem import NO_STEM, split_linear_stem
from mnist_xai.interpret.core.parameters import check_counts
from mnist_xai.interpret.core.shortcuts import find_shortcuts

Score = Literal["logit", "probability"]
Array = NDArray[np.float32]


class UnsupportedLayerError(ValueError):
    """A layer that cannot be treated; the message names it and says what to do."""


class Network:
    """A trained Keras image classifier, with the passes that every explanation is made of.

    The user's model is read, never changed: its layers are called one after the other as
    the model calls them, in inference mode, and the calls are written down while they are
    compiled. Whatever needs an inner tensor takes it from there.

    Args:
        model: Any Keras 3 classifier with one image input: Sequential or Functional, nested,
            with shared layers, its softmax fused, a layer of its own, or absent.
            A model of mixed precision is run in its own: its explanations have three digits in
            bfloat16, and in float16 small gradients may vanish. Explain a float32 copy where
            that matters.
        batch_size: Images in one pass. It bounds the memory and leaves the results alone.
        output: Name of the output to explain, when the model has several.

    Attributes:
        layer_shapes: The shape of every layer's output for one image, by name; for a model of
            images of any size, those of an image of 32 x 32 pixels.
        layer_dtypes: The dtype of every layer's output, by name.
        front: The linear first layer, split off.
        experiments: A lock, held by whoever changes weights of `twin` until nothing is asked of
            it any more. Explanations need none: any number of threads may ask one network for
            them.

    Raises:
        TypeError: When `model` is no Keras model.
        ValueError: For a model with several inputs, several outputs and none named, or
            outputs that are not one row of scores for each image, or a call of its own that does
            more than call its layers.
        UnsupportedLayerError: For a softmax that is followed by something else and so
            cannot be undone.
    """

    def __init__(
        self, model: keras.Model, *, batch_size: int = 256, output: str | None = None
    ) -> None:
        if not isinstance(model, keras.Model):
            raise TypeError(f"model: expected a Keras 3 model; got {type(model).__name__}")
        check_counts(batch_size=batch_size)
        inputs = model.inputs if model.built and functional_graph(model) else None
        if not inputs or len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ValueError(
                "model: expected a built Sequential or Functional model with one input "
                f"(N, H, W, C); {model.name!r} is a {type(model).__name__} with inputs "
                f"{[tuple(x.shape) for x in inputs or ()]}"
            )
        self.model = model
        self.batch_size = batch_size
        self._output = _output_index(model, output)
        self.experiments = threading.RLock()
        self._making = threading.RLock()  # Of what is made once: passes, twin, what is derived.
        self._passes: dict[Any, Callable[..., Any]] = {}
        self._derived: dict[Any, tuple[keras.Model, Network]] = {}
        self.stem, self.h_spec = NO_STEM, self.image_spec
        self.layer_shapes = self._probe()

    @classmethod
    def of(cls, model: "keras.Model | Network") -> "Network":
        """The network of a model; a network as it is, with what it has compiled."""
        return model if isinstance(model, cls) else cls(model)

    @property
    def twin(self) -> "Network":
        """A network on a copy of the model, for experiments that change weights.

        Made when first asked for: what it compiles then serves every experiment. An experiment
        leaves it as it pleases, so each begins by setting all weights; and where there are
        threads, each holds `experiments` from then to its end.

        Raises:
            ValueError: For a model that Keras cannot make again from its configuration.
        """
        with self._making:  # A cached property has a lock of its own in Python 3.11 alone.
            return self._twin

    @cached_property
    def _twin(self) -> "Network":
        twin = self._alike(copy_model(self.model))
        noise = np.random.default_rng(0).random((4, *self.typical_shape), np.float32)
        if not np.allclose(twin.logits(noise), self.logits(noise), rtol=1e-2, atol=1e-4):
            raise ValueError(
                f"model: expected one that its configuration and weights describe; a copy of "
                f"{self.model.name!r} gives other scores"
            )
        return twin

    def derived(self, key: Any, make: Callable[[keras.Model], keras.Model]) -> "Network":
        """A network on what is made of a copy of the model, with the weights of this moment.

        Made once for each key: what it compiles then serves every experiment.

        Args:
            key: Everything that `make` closes over.
            make: Makes a model with the outputs of the copy it is given, on the copy's weights.

        Raises:
            ValueError: For a model that Keras cannot make again from its configuration.
        """
        with self._making:
            if key not in self._derived:
                copy = copy_model(self.twin.model)  # Of which it is known that it is a true copy.
                self._derived[key] = copy, self._alike(make(copy))
            copy, network = self._derived[key]
            # Another thread may be running it: what it reads are equal numbers, old or new.
            copy.set_weights(self.model.get_weights())
        return network

    def _alike(self, model: keras.Model) -> "Network":
        """A network on another model with the same outputs, that explains the same one."""
        return _network_of(model, self.batch_size, self._output)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, or a pickle, has passes, twin and locks of its own, on its copy of the model.
        return _network_of, (self.model, self.batch_size, self._output)

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        """Height, width and channels of an image; None where the model takes any."""
        return tuple(self.model.inputs[0].shape[1:])

    @property
    def typical_shape(self) -> tuple[int, ...]:
        """The same, with 32 pixels for a side of any length."""
        return tuple(side or 32 for side in self.image_shape)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Every layer in the order of its call, inner ones of a nested model as `outer/inner`.

        Layers that put out several tensors are left out.

        A layer that is called again is there again, as `name:2`.
        """
        return tuple(self.layer_shapes)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.model.outputs[self._output].shape[1])

    def logits(self, images: ArrayLike) -> Array:
        """The scores `z` of which `softmax(z)` are the probabilities, `(N, classes)`.

        For a model without softmax they are its outputs.
        """
        return self.in_chunks("logits", self.logits_of, self.check_images(images))

    def probabilities(self, images: ArrayLike) -> Array:
        """`softmax(z)`, `(N, classes)`."""
        return np.asarray(tf.nn.softmax(self.logits(images)))

    def scores(self, images: ArrayLike, targets: ArrayLike, *, score: Score = "logit") -> Array:
        """The targets' scores `S_c(x)`, logits or probabilities, `(N,)`."""
        check_score(score)
        values = self.logits(images) if score == "logit" else self.probabilities(images)
        return values[np.arange(len(values)), self.check_targets(targets, len(values))]

    def activations(self, images: ArrayLike, layers: Sequence[str]) -> dict[str, Array]:
        """Outputs of the named layers for each image, `(N, …)`.

        Raises:
            ValueError: For a layer that the model does not have.
        """
        layers = tuple(layers)
        for name in layers:
            self.check_layer(name)

        def outputs(x: tf.Tensor) -> list[tf.Tensor]:
            calls, _ = self.run(x)
            return [tf.cast(calls[name].output, tf.float32) for name in layers]

        found = self.in_chunks(("activations", layers), outputs, self.check_images(images))
        return dict(zip(layers, found, strict=True))

    def gradient(
        self, images: ArrayLike, targets: ArrayLike, *, score: Score = "logit"
    ) -> tuple[Array, Array]:
        """Gradient of each image's target score with respect to the image: `∂S_c/∂x`.

        Args:
            images: float `(N, H, W, C)`; noise may have brought them outside [0, 1].
            targets: Integers `(N,)`, the classes `c`.
            score: Whether `S_c` is the logit `z_c` or the probability `softmax(z)_c`.

        Returns:
            The gradients `(N, H, W, C)` and the scores `(N,)`.

        Raises:
            UnsupportedLayerError: When no gradient reaches the image.
        """
        images = self.check_points(images)
        targets = self.check_targets(targets, len(images))

        def gradient(x: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            slope, s = self.gradient_after_stem(self.stem.forward(x), target, score)
            return self.stem.pull_back(slope), s

        slopes, scores = self.in_chunks(("gradient", score), gradient, images, targets)
        return slopes, scores

    def layer_gradient(
        self, images: ArrayLike, targets: ArrayLike, layer: str, *, score: Score = "logit"
    ) -> tuple[Array, Array, Array]:
        """Gradient of the target's score with respect to the output of a layer: `∂S_c/∂A`.

        Args:
            images: float `(N, H, W, C)`.
            targets: Integers `(N,)`, the classes `c`.
            layer: Name of the layer.
            score: Whether `S_c` is the logit or the probability.

        Returns:
            The layer's outputs `A` and the gradients, both `(N, …)`, and the scores `(N,)`.

        Raises:
            ValueError: For a layer that the model does not have.
            UnsupportedLayerError: When the score does not depend on the layer's output.
        """
        self.check_layer(layer)
        images = self.check_points(images)
        targets = self.check_targets(targets, len(images))

        def gradient(x: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return self.layer_slope(x, target, layer, score)

        activations, slopes, scores = self.in_chunks(
            ("layer gradient", layer, score), gradient, images, targets
        )
        return activations, slopes, scores

    def scores_with_layer(
        self,
        images: ArrayLike,
        targets: ArrayLike,
        layer: str,
        outputs: ArrayLike,
        *,
        score: Score = "logit",
    ) -> Array:
        """The targets' scores `(N,)` if a layer had put out these activations, `(N, …)`."""
        self.check_layer(layer)
        images = self.check_points(images)
        targets = self.check_targets(targets, len(images))
        shape = self.layer_shapes[layer]
        sized = None not in self.image_shape
        spec = tf.TensorSpec([None, *(shape if sized else [None] * len(shape))], tf.float32)

        def scores(x: tf.Tensor, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
            output = tf.cast(output, self.layer_dtypes[layer])
            return self.score_of(self.logits_replaced(x, {layer: output}), target, score)

        compiled = self.compiled(
            ("scores with layer", layer, score), scores, self.image_spec, TARGETS, spec
        )
        replaced = np.asarray(outputs, np.float32)
        rows = self.chunks(len(images))
        return np.concatenate([compiled(images[r], targets[r], replaced[r]) for r in rows])

    # --- What the user hands in --------------------------------------------------------------

    def check_images(self, images: ArrayLike) -> Array:
        """Return the images as float32 `(N, H, W, C)` in [0, 1], or say what is wrong."""
        array = self.check_points(images)
        if array.min() < 0 or array.max() > 1:
            raise ValueError(
                f"images: expected values in [0, 1]; got {array.min():.4g} to {array.max():.4g}"
            )
        return array

    def check_points(self, images: ArrayLike) -> Array:
        """The same for points around images, whose values may lie outside [0, 1]."""
        array = np.asarray(images)
        if array.dtype == np.uint8:
            raise TypeError(
                "images: expected floats in [0, 1]; got uint8. "
                "mnist_xai.normalise(images) divides by 255"
            )
        if array.dtype.kind != "f":
            raise TypeError(f"images: expected floats in [0, 1]; got {array.dtype}")
        expected = "(N, " + ", ".join(str(side or "any") for side in self.image_shape) + ")"
        if array.ndim == 3 and _fits(array.shape, self.image_shape):
            raise ValueError(
                f"images: expected {expected}; got one image {array.shape}: pass images[None]"
            )
        if array.ndim != 4 or not _fits(array.shape[1:], self.image_shape):
            raise ValueError(f"images: expected {expected}; got {array.shape}")
        if not len(array):
            raise ValueError("images: expected at least one; got none")
        if not np.isfinite(array).all():
            raise ValueError("images: expected finite values; some are NaN or infinite")
        return array.astype(np.float32, copy=False)

    def check_targets(self, targets: ArrayLike, count: int) -> NDArray[np.int32]:
        """Return the targets as int32 `(count,)`, or say what is wrong with them."""
        array = np.asarray(targets)
        if array.shape != (count,) or array.dtype.kind not in "iu":
            raise ValueError(
                f"targets: expected {count} integers, one for each image; "
                f"got {array.dtype} {array.shape}"
            )
        if array.min() < 0 or array.max() >= self.classes:
            raise ValueError(
                f"targets: expected classes from 0 to {self.classes - 1}; "
                f"got {array.min()} to {array.max()}"
            )
        return array.astype(np.int32)

    def fixed_shape(self) -> tuple[int, ...]:
        """Height, width and channels; ValueError when the model takes images of any size."""
        shape = tuple(side for side in self.image_shape if side is not None)
        if len(shape) != 3:
            raise ValueError(
                f"model: expected images of one size; {self.model.name!r} takes {self.image_shape}"
            )
        return shape

    def check_layer(self, name: str) -> None:
        """Raise ValueError, with the names there are, unless the model has this layer."""
        if name not in self.layer_names:
            raise ValueError(f"layer: expected one of {', '.join(self.layer_names)}; got {name!r}")

    # --- How the model is run ----------------------------------------------------------------

    def gradient_after_stem(
        self,
        h: tf.Tensor,
        target: tf.Tensor,
        score: Score,
        *,
        weight: tf.Tensor | float = 1.0,
        pooled: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The target's score, and `weight` times its gradient with respect to `h`.

        `h` is what comes out of the front, or of the pooling after it.
        """
        with tf.GradientTape() as tape:
            tape.watch(h)
            s = self.score_of(self.logits_after_stem(h, pooled=pooled), target, score)
        # The weight here, on one number for each image, and not on as many as `h` has.
        slope = tape.gradient(s, h, weight * tf.ones_like(s))
        if slope is None:
            raise UnsupportedLayerError(
                f"{self.model.name}: no gradient reaches the image; a layer between the image "
                "and the output is not differentiable"
            )
        slope.set_shape(h.shape)  # Some gradients forget it, as that of a global maximum.
        return slope, s

    def layer_slope(
        self, images: tf.Tensor, target: tf.Tensor, layer: str, score: Score
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """A layer's output, the gradient of the target's score to it, and the score."""
        output = self.run(images)[0][layer].output
        with tf.GradientTape() as tape:
            tape.watch(output)
            s = self.score_of(self.logits_replaced(images, {layer: output}), target, score)
        slope = tape.gradient(s, output)
        if slope is None:
            raise UnsupportedLayerError(f"{layer}: the score does not depend on its output")
        return tf.cast(output, tf.float32), tf.cast(slope, tf.float32), s

    def run(
        self, images: tf.Tensor, caller: Caller = call_plainly
    ) -> tuple[dict[str, Call], tf.Tensor]:
        """Call every layer as the model does; return the calls by name, and the output."""
        calls: dict[str, Call] = {}
        outputs = run_graph(self.model, images, calls, caller=caller)
        return calls, keras.tree.flatten(outputs)[self._output]

    def logits_of(self, images: tf.Tensor, caller: Caller = call_plainly) -> tf.Tensor:
        """The logits as a tensor, `(N, classes)`."""
        calls, output = self.run(images, caller)
        return tf.cast(undo_softmax(list(calls.values()), output), tf.float32)

    def logits_replaced(self, images: tf.Tensor, replaced: Mapping[str, Any]) -> tf.Tensor:
        """The logits if layers had put out other tensors, given by name."""

        def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return replaced[name] if name in replaced else layer(*args, **kwargs)

        return self.logits_of(images, call)

    def logits_after_stem(self, h: tf.Tensor, *, pooled: bool = False) -> tf.Tensor:
        """The logits of images whose `front.forward` is `h`, or the pooling of it is."""
        known = (self.stem.name, self.stem.pool) if pooled else (self.stem.name,)
        # Nothing but the front reads the images, so `h` may stand in for them.
        return self.logits_of(h, self._shortcuts.caller(h, known))

    @staticmethod
    def score_of(z: tf.Tensor, target: tf.Tensor, score: Score) -> tf.Tensor:
        """The targets' scores of logits `(N, classes)`: `(N,)`."""
        check_score(score)
        return tf.gather(z if score == "logit" else tf.nn.softmax(z), target, batch_dims=1)

    def compiled(self, key: Any, function: Callable[..., Any], *signature: Any) -> Any:
        """The pass of this key, compiled when it is new, for any number of rows."""
        if key in self._passes:  # Without the lock: it need not wait for what others compile.
            return self._passes[key]
        with self._making:
            if key not in self._passes:
                # jit_compile: XLA slows small convolutions down on a CPU.
                compiled = tf.function(
                    function, input_signature=signature, jit_compile=False, autograph=False
                )
                # Traced now: of passes that share their code (one for each layer or rule) and are
                # traced when first called, TensorFlow would take the fifth for a mistake, and warn.
                compiled.get_concrete_function()
                self._passes[key] = compiled
            return self._passes[key]

    def chunks(self, count: int) -> list[slice]:
        """So many rows, `batch_size` at a time."""
        size = self.batch_size
        return [slice(start, start + size) for start in range(0, count, size)]

    def in_chunks(self, key: Any, function: Callable[..., Any], *arrays: NDArray[Any]) -> Any:
        """Run a pass over chunks of `batch_size` rows of images, and targets if it takes them."""
        compiled = self.compiled(key, function, *(self.image_spec, TARGETS)[: len(arrays)])
        chunks = [compiled(*(a[rows] for a in arrays)) for rows in self.chunks(len(arrays[0]))]
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *chunks)

    def _check_run(self, images: tf.Tensor, output: tf.Tensor) -> None:
        """Refuse a model that does more, or other, than call its layers in inference mode."""
        given = keras.tree.flatten(self.model(images, training=False))[self._output]
        a, b = (tf.cast(t, tf.float32) for t in (given, output))
        if not np.allclose(a, b, rtol=1e-2, atol=1e-2 * float(tf.reduce_max(tf.abs(a)))):
            raise ValueError(
                f"model: expected one that gives what its layers, called in inference mode on "
                f"float32 images, give; {self.model.name!r} gives something else, as one with a "
                "call of its own does"
            )

    @property
    def image_spec(self) -> tf.TensorSpec:
        """What a compiled pass takes: any number of images."""
        return tf.TensorSpec([None, *self.image_shape], tf.float32)

    def _probe(self) -> dict[str, tuple[int, ...]]:
        """Run noise through the model; return each layer's output shape, or refuse the model.

        Refused, before any work, is a model whose scores would be taken for what they are
        not.
        """
        shape = tuple(self.model.outputs[self._output].shape)
        if len(shape) != 2 or shape[1] is None or shape[1] < 2:
            raise ValueError(
                f"model: expected one row of at least two class scores for each image; "
                f"{self.model.name!r} gives {shape}"
            )
        noise = np.random.default_rng(0).random((4, *self.typical_shape))
        images = tf.constant(noise, tf.float32)
        calls, output = self.run(images)
        self._check_run(images, output)
        self._shortcuts = find_shortcuts(calls)
        if None not in self.image_shape:  # Folding needs to know the size.
            self.stem = split_linear_stem(calls, images, self._shortcuts)
            h = self.stem.forward(images)
            self.h_spec = tf.TensorSpec([None, *h.shape[1:]], tf.float32)
        _check_ends(calls, images, output)
        # A layer that puts out several tensors cannot be asked for its output.
        single = {name: call.output for name, call in calls.items() if tf.is_tensor(call.output)}
        self.layer_dtypes = {name: tensor.dtype for name, tensor in single.items()}
        return {name: tuple(tensor.shape[1:]) for name, tensor in single.items()}


def _check_ends(calls: dict[str, Call], images: tf.Tensor, output: tf.Tensor) -> None:
    """Raise UnsupportedLayerError where pixels or scores would be taken for what they are not."""
    for name, call in calls.items():
        scale = getattr(call.layer, "scale", 1.0) if reads(call, images) else 1.0
        if isinstance(call.layer, keras.layers.Rescaling) and np.max(np.abs(scale)) < _BYTES:
            raise UnsupportedLayerError(
                f"{name}: scales pixels by {scale:.4g}, so the model takes them from 0 to 255, "
                "and here images are in [0, 1]; explain keras.Sequential([keras.Input("
                f"{tuple(images.shape[1:])}), keras.layers.Rescaling(255.0), model])"
            )
        if call.output is output and last_activation(call.layer) is keras.activations.sigmoid:
            raise UnsupportedLayerError(
                f"{name}: its sigmoid makes a probability of each score alone, which is no "
                "classification into one of several classes; explain the model without it"
            )
    p = tf.cast(output, tf.float32)
    sums_to_one = np.allclose(tf.reduce_sum(p, axis=1), 1, atol=1e-3) and np.min(p) >= 0
    if undo_softmax(list(calls.values()), output) is output and sums_to_one:
        raise UnsupportedLayerError(
            f"{list(calls)[-1]}: its outputs are probabilities whose softmax cannot be undone; let "
            "a softmax layer, or a layer with softmax as its activation, come last"
        )


TARGETS = tf.TensorSpec([None], tf.int32)
_BYTES = 0.05  # A first scaling by less, such as 1/255 or 1/127.5, is meant for bytes.


def check_score(score: str) -> None:
    """Raise ValueError unless this names a score: another word would silently mean one."""
    if score not in ("logit", "probability"):
        raise ValueError(f"score: expected logit or probability; got {score!r}")


def _network_of(model: keras.Model, batch_size: int, output: int) -> Network:
    return Network(model, batch_size=batch_size, output=_output_names(model)[output])


def _output_names(model: keras.Model) -> list[str]:
    return list(getattr(model, "output_names", None) or [model.name])


def _output_index(model: keras.Model, name: str | None) -> int:
    names = _output_names(model)
    if name is None and len(names) == 1:
        return 0
    if name not in names:
        raise ValueError(f"output: expected one of {', '.join(names)}; got {name!r}")
    return names.index(name)


def _fits(shape: tuple[int, ...], pattern: tuple[int | None, ...]) -> bool:
    return len(shape) == len(pattern) and all(
        expected in (None, side) for side, expected in zip(shape, pattern, strict=True)
    )
