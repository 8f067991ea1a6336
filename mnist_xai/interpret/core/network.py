"""A Keras classifier made explainable: its logits, its activations and its gradients."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.entry import Preprocess, entry_of
from mnist_xai.interpret.core.inputs import Array, InputSpec, Score, Targets, check_score
from mnist_xai.interpret.core.intake import (
    OtherInputs,
    intake_of,
    output_index,
    tells_its_images,
)
from mnist_xai.interpret.core.memory import planned_batch
from mnist_xai.interpret.core.parameters import check_counts
from mnist_xai.interpret.core.passes import TARGETS, Pass, PassCache
from mnist_xai.interpret.core.pixels import PixelRange, Pixels
from mnist_xai.interpret.core.progress import advance
from mnist_xai.interpret.core.runner import Runner
from mnist_xai.interpret.core.twin import Experiments


class Network:
    """A trained Keras image classifier, with the compiled passes that explanations are made of.

    The user's model is read, never changed: its layers are called one after the other as the
    model calls them, in inference mode, and the calls are recorded while they are compiled.
    Whatever needs an inner tensor takes it from there. Any number of threads may use one network.

    Images are passed as the model takes them: floats of any range, or bytes. Methods named `…_at`
    take points in unit coordinates instead, 0 for black and 1 for white, which may leave [0, 1];
    methods, metrics and everything inside the package use these.

    Args:
        model: Any Keras 3 classifier of images: Sequential, Functional or subclassed, nested, with
            shared layers and custom layers; the softmax inside the last layer, a layer of its own,
            or absent; one sigmoid or linear unit; one sigmoid for each class. Or a callable:
            images `(N, H, W, C)` to scores `(N, classes)`. One of TensorFlow's tensors has
            gradients, one of NumPy arrays has none.
            A model of mixed precision runs in its own precision: its explanations have three
            digits in bfloat16, and in float16 small gradients may vanish. Explain a float32 copy
            where that matters.
        batch_size: Images in one pass. It bounds the memory and does not change the results. By
            default as many as fit into 1 GiB with the outputs of all layers, at most 256.
        output: Name of the output to explain, its key or its index, when the model has several.
        pixels: The range of the images: `"unit"` [0, 1], `"bytes"` [0, 255], `"tf"` [-1, 1],
            `"caffe"` or `"torch"` (the outputs of `keras.applications`' `preprocess_input`), or
            `(low, high)`, two numbers or two sequences with a number for each channel. By
            default, what the model's first layers show.
        preprocess: What makes the model's pixels from the images that are passed: a callable, a
            Keras layer, or the name of a module of `keras.applications`. Maps are then of the
            pixels before it.
        image_shape: Shape `(height, width, channels)` of one image, for a model that does not
            tell it: a callable, or a subclassed model or Sequential that has not been built.
        classes: Number of scores that a callable returns for an image; checked when given.
        context: The other inputs of a model with several, held fixed: a mapping by name or a
            sequence in their order, each with one row for all images, or one for each.
        image_input: Name or position of the image among several inputs, where it is not the only
            one left.

    Attributes:
        inputs: Validates images and targets.
        runner: Runs the model inside compiled passes.
        passes: The compiled passes.
        experiments: Copies of the network for experiments that change weights.
        context: Holds the model's other inputs fixed.

    Raises:
        TypeError: When `model` is neither a Keras model nor a callable, or an argument has
            another type.
        ValueError: For a model with several inputs and no context, with several outputs and none
            named, with images `(channels, height, width)`, with outputs other than one row of
            scores per image, or one that does not tell the shape of its images; for unknown
            pixels or preprocessing.
    """

    def __init__(
        self,
        model: keras.Model | Callable[..., Any],
        *,
        batch_size: int | None = None,
        output: str | int | None = None,
        pixels: Pixels | None = None,
        preprocess: Preprocess | None = None,
        image_shape: Sequence[int | None] | None = None,
        classes: int | None = None,
        context: OtherInputs | None = None,
        image_input: str | int | None = None,
    ) -> None:
        if batch_size is not None:
            check_counts(batch_size=batch_size)
        self._given = model
        self._takes = (image_shape, classes, context, image_input)
        intake = intake_of(
            model,
            image_shape=None if image_shape is None else tuple(image_shape),
            classes=classes,
            context=context,
            image_input=image_input,
        )
        self.model = intake.model
        self.context = intake.context
        self._output = output_index(intake, output)
        self._preprocess = preprocess
        scores = intake.output_shape(self._output)
        if len(scores) != 2 or not scores[1]:
            raise ValueError(
                f"model: expected one row of scores for each image; {intake.model.name!r} gives "
                f"{scores}. "
                "Pool or flatten its output, or wrap it in a model that picks one"
            )
        entry = entry_of(intake, pixels, preprocess)
        shape = intake.image_shape if entry.has_channels else (*intake.image_shape, 1)
        self.runner = Runner(intake, self._output, entry, shape)
        head, name = self.runner.head, intake.model.name
        self.inputs = InputSpec(
            name, shape, entry.pixels, entry.has_channels, head.classes, head.units
        )
        self.batch_size = batch_size or planned_batch(
            self.runner.layer_shapes, self.runner.layer_dtypes, shape
        )
        self.passes = PassCache(self)
        self.experiments = Experiments(self)

    @classmethod
    def of(cls, model: "keras.Model | Network") -> "Network":
        """Return the network of a model; return a network as it is, with what it has compiled."""
        return model if isinstance(model, cls) else cls(model)

    @classmethod
    def with_options(
        cls, model: "keras.Model | Network", *, images: ArrayLike | None = None, **options: Any
    ) -> "Network":
        """Return the network of a model with these options; a `Network` has its own.

        Args:
            model: A model or a network.
            images: Images, whose shape is taken for that of a model that does not tell it.
            options: Arguments of `Network`.

        Raises:
            TypeError: For options beside a `Network`.
        """
        if not isinstance(model, cls):
            if images is not None and not tells_its_images(model):
                options["image_shape"] = np.shape(images)[1:]
            return cls(model, **options)
        if given := [name for name, value in options.items() if value is not None]:
            raise TypeError(f"{given[0]}: a Network has it already; pass it to Network(model, ...)")
        return model

    def on_model(self, model: keras.Model) -> "Network":
        """Return a network on another model that has the same outputs; it explains the same one."""
        return _network_of(model, *self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, or a pickle, has passes, copies and locks of its own, on its copy of the model.
        return _network_of, (self._given, *self._options)

    @property
    def _options(self) -> tuple[Any, ...]:
        return self.batch_size, self._output, self.pixels, self._preprocess, *self._takes

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        """Height, width and channels of an image; None where the model takes any."""
        return self.inputs.image_shape

    @property
    def pixels(self) -> PixelRange:
        """The range of the images' pixels."""
        return self.inputs.pixels

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.inputs.classes

    @property
    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every layer's output for one image, by name, in the order of the calls.

        Inner layers of a nested model are named `outer/inner`; a second call of a layer is
        `name:2`. For a model of images of any size, the shapes for an image of 32 x 32 pixels.
        """
        return self.runner.layer_shapes

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Every layer with one output, in the order of the calls, named as in `layer_shapes`."""
        return tuple(self.layer_shapes)

    def check_layer(self, name: str) -> None:
        """Raise ValueError, with the names of all layers, unless the model has this layer."""
        if name not in self.layer_shapes:
            raise ValueError(f"layer: expected one of {', '.join(self.layer_names)}; got {name!r}")

    def images_of(self, pictures: NDArray[np.uint8]) -> Array:
        """Return pictures as images that the model takes.

        Where the range is not known, these are images in [0, 1].

        Args:
            pictures: uint8 `(N, H, W, C)`, red, green, blue.

        Returns:
            float32 `(N, H, W, C)` in the model's range.
        """
        if pictures.dtype != np.uint8:
            raise TypeError(f"pictures: expected uint8 from 0 to 255; got {pictures.dtype}")
        units = pictures.astype(np.float32) / np.float32(255)
        return self.pixels.to_model(self.pixels.reversed(units))

    def logits(self, images: ArrayLike) -> Array:
        """Return the logits `z`, with `softmax(z)` the probabilities, `(N, classes)`.

        For a model without softmax they are its outputs; for one sigmoid unit `-z` and `z`.
        """
        return self.logits_at(self.inputs.check_images(images, needs_range=False))

    def logits_at(self, points: ArrayLike) -> Array:
        """Return the logits of unit points, `(N, classes)`."""
        return self.in_chunks(_logits, (), self.inputs.check_points(points))

    def probabilities(self, images: ArrayLike) -> Array:
        """Return the probabilities of the classes, `(N, classes)`."""
        return self.probabilities_at(self.inputs.check_images(images, needs_range=False))

    def probabilities_at(self, points: ArrayLike) -> Array:
        """Return the probabilities of the classes for unit points, `(N, classes)`."""
        return np.asarray(self.runner.head.probabilities(self.logits_at(points)))

    def scores(self, images: ArrayLike, targets: ArrayLike, *, score: Score = "logit") -> Array:
        """Return the targets' scores `S_c(x)`: logits, probabilities or outputs, `(N,)`."""
        points = self.inputs.check_images(images, needs_range=False)
        return self.scores_at(points, targets, score=score)

    def scores_at(self, points: ArrayLike, targets: ArrayLike, *, score: Score = "logit") -> Array:
        """Return the targets' scores of unit points, `(N,)`."""
        check_score(score)
        z = self.logits_at(points)
        checked = self.inputs.check_targets(targets, len(z), score=score)
        return np.asarray(self.runner.head.score(z, checked, score))

    def activations(self, images: ArrayLike, layers: Sequence[str]) -> dict[str, Array]:
        """Return the outputs of the named layers for each image, `(N, …)`.

        Raises:
            ValueError: For a layer that the model does not have.
        """
        return self.activations_at(self.inputs.check_images(images, needs_range=False), layers)

    def activations_at(self, points: ArrayLike, layers: Sequence[str]) -> dict[str, Array]:
        """Return the outputs of the named layers for unit points, `(N, …)`."""
        layers = tuple(layers)
        for name in layers:
            self.check_layer(name)
        found = self.in_chunks(_activations, (layers,), self.inputs.check_points(points))
        return dict(zip(layers, found, strict=True))

    def gradient(
        self, images: ArrayLike, targets: ArrayLike, *, score: Score = "logit"
    ) -> tuple[Array, Array]:
        """Return the gradient of each target's score with respect to its image: `∂S_c/∂x`.

        Args:
            images: `(N, H, W, C)`, as the model takes them.
            targets: The classes `c`: one integer, integers `(N,)`, or one-hot rows.
            score: Whether `S_c` is the logit `z_c`, the probability, or the model's output.

        Returns:
            The gradients `(N, H, W, C)` and the scores `(N,)`.

        Raises:
            UnsupportedLayerError: When no gradient reaches the image.
        """
        points = self.inputs.check_images(images, needs_range=False)
        slopes, scores = self.gradient_at(points, targets, score=score)
        return self.pixels.per_value(slopes, 1), scores

    def gradient_at(
        self, points: ArrayLike, targets: ArrayLike, *, score: Score = "logit"
    ) -> tuple[Array, Array]:
        """Return the gradients with respect to unit points, and the scores."""
        points = self.inputs.check_points(points)
        targets = self.inputs.check_targets(targets, len(points), score=score)
        slopes, z = self.gradient_and_logits_at(points, targets, score=score)
        return slopes, np.asarray(self.runner.head.score(z, targets, score))

    def gradient_and_logits_at(
        self, points: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, Array]:
        """Return the gradients and the logits; targets may be `PREDICTED`."""
        slopes, z = self.in_chunks(_gradient, (score,), points, targets)
        return slopes, z

    def layer_gradient(
        self, images: ArrayLike, targets: ArrayLike, layer: str, *, score: Score = "logit"
    ) -> tuple[Array, Array, Array]:
        """Return the gradient of the target's score with respect to a layer's output: `∂S_c/∂A`.

        Args:
            images: `(N, H, W, C)`, as the model takes them.
            targets: The classes `c`: one integer, integers `(N,)`, or one-hot rows.
            layer: Name of the layer.
            score: Whether `S_c` is the logit, the probability, or the model's output.

        Returns:
            The layer's outputs `A` and the gradients, both `(N, …)`, and the scores `(N,)`.

        Raises:
            ValueError: For a layer that the model does not have.
            UnsupportedLayerError: When the score does not depend on the layer's output.
        """
        points = self.inputs.check_images(images, needs_range=False)
        return self.layer_gradient_at(points, targets, layer, score=score)

    def layer_gradient_at(
        self, points: ArrayLike, targets: ArrayLike, layer: str, *, score: Score = "logit"
    ) -> tuple[Array, Array, Array]:
        """Return a layer's outputs, the score's gradients, and the scores, for unit points."""
        self.check_layer(layer)
        points = self.inputs.check_points(points)
        targets = self.inputs.check_targets(targets, len(points), score=score)
        a, slopes, z = self.layer_gradient_and_logits_at(points, targets, layer, score=score)
        return a, slopes, np.asarray(self.runner.head.score(z, targets, score))

    def layer_gradient_and_logits_at(
        self, points: Array, targets: Targets, layer: str, *, score: Score = "logit"
    ) -> tuple[Array, Array, Array]:
        """Return outputs, gradients and logits; targets may be `PREDICTED`."""
        a, slopes, z = self.in_chunks(_layer_gradient, (layer, score), points, targets)
        return a, slopes, z

    def scores_with_layer_at(
        self,
        points: ArrayLike,
        targets: ArrayLike,
        layer: str,
        outputs: ArrayLike,
        *,
        score: Score = "logit",
    ) -> Array:
        """Return the targets' scores `(N,)` with a layer's output replaced by `outputs`."""
        self.check_layer(layer)
        points = self.inputs.check_points(points)
        targets = self.inputs.check_targets(targets, len(points), score=score)
        shape = self.layer_shapes[layer]
        sized = None not in self.image_shape
        spec = tf.TensorSpec([None, *(shape if sized else [None] * len(shape))], tf.float32)
        compiled = self.passes.get(
            _scores_with_layer,
            *(layer, score),
            signature=(self.runner.image_spec, TARGETS, spec),
        )
        replaced = np.asarray(outputs, np.float32)
        found = []
        for rows in self.image_chunks(len(points)):
            with self.context.at(rows):
                found.append(compiled(points[rows], targets[rows], replaced[rows]))
        return np.concatenate(found)

    def chunks(self, count: int) -> list[slice]:
        """Return slices of `batch_size` rows that cover `count` rows."""
        size = self.batch_size
        return [slice(start, start + size) for start in range(0, count, size)]

    def image_chunks(self, count: int) -> list[slice]:
        """Return slices of images to pass at once, each inside `network.context.at(slice)`."""
        return self.context.chunks(count, self.batch_size)

    def in_chunks(
        self,
        build: Callable[..., Pass],
        options: Sequence[Any],
        *arrays: NDArray[Any],
    ) -> Any:
        """Run the pass `build(network, *options)` over chunks of `batch_size` rows.

        Args:
            build: Makes the pass; see `PassCache.get`.
            options: Its arguments.
            arrays: Images, and targets if the pass takes them.

        Returns:
            The outputs of all chunks, concatenated.
        """
        signature = (self.runner.image_spec, TARGETS)[: len(arrays)]
        compiled = self.passes.get(build, *options, signature=signature)
        chunks = []
        for rows in self.image_chunks(len(arrays[0])):
            with self.context.at(rows):
                chunks.append(compiled(*(a[rows] for a in arrays)))
            advance(len(arrays[0][rows]))
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *chunks)

    def experiment(self) -> AbstractContextManager["Network"]:
        """Return a context manager that yields a copy whose weights may be changed.

        See `Experiments.run`: the copy starts and ends with this network's weights, and other
        threads wait.
        """
        return self.experiments.run()


# --- Each function builds one pass from the network and its options ------------------------------


def _logits(network: Network) -> Pass:
    return network.runner.logits


def _activations(network: Network, layers: tuple[str, ...]) -> Pass:
    def outputs(x: tf.Tensor) -> list[tf.Tensor]:
        calls, _ = network.runner.run(x)
        return [tf.cast(calls[name].output, tf.float32) for name in layers]

    return outputs


def _gradient(network: Network, score: Score) -> Pass:
    runner = network.runner

    def gradient(x: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        slope, z = runner.gradient_after_stem(runner.stem.forward(x), target, score)
        return runner.stem.transpose(slope), z

    return gradient


def _layer_gradient(network: Network, layer: str, score: Score) -> Pass:
    def gradient(x: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return network.runner.layer_gradient(x, target, layer, score)

    return gradient


def _scores_with_layer(network: Network, layer: str, score: Score) -> Pass:
    runner = network.runner

    def scores(x: tf.Tensor, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        output = tf.cast(output, runner.layer_dtypes[layer])
        return runner.head.score(runner.logits_replaced(x, {layer: output}), target, score)

    return scores


def _network_of(
    model: keras.Model | Callable[..., Any],
    batch_size: int,
    output: int,
    pixels: Pixels | None,
    preprocess: Preprocess | None,
    *takes: Any,
) -> Network:
    image_shape, classes, context, image_input = takes
    return Network(
        model,
        batch_size=batch_size,
        output=output,
        pixels=pixels,
        preprocess=preprocess,
        image_shape=image_shape,
        classes=classes,
        context=context,
        image_input=image_input,
    )
