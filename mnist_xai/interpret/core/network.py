"""A Keras classifier made explainable: its logits, its activations and its gradients."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.inputs import Array, InputSpec, Score, check_score
from mnist_xai.interpret.core.intake import Context, intake_of, knows_its_inputs
from mnist_xai.interpret.core.parameters import check_counts
from mnist_xai.interpret.core.passes import TARGETS, Pass, PassCache
from mnist_xai.interpret.core.runner import Runner, score_of
from mnist_xai.interpret.core.twin import Experiments


class Network:
    """A trained Keras image classifier, with the compiled passes that explanations are made of.

    The user's model is read, never changed: its layers are called one after the other as the
    model calls them, in inference mode, and the calls are recorded while they are compiled.
    Whatever needs an inner tensor takes it from there. Any number of threads may use one network.

    Args:
        model: Any Keras 3 classifier with one image input: Sequential, Functional or subclassed,
            nested, with shared layers and custom layers; the softmax inside the last layer, a
            layer of its own, or absent. Or a callable: images `(N, H, W, C)` to scores
            `(N, classes)`. One of TensorFlow's tensors has gradients, one of NumPy arrays none.
            A model of mixed precision runs in its own precision: its explanations have three
            digits in bfloat16, and in float16 small gradients may vanish. Explain a float32 copy
            where that matters.
        batch_size: Images in one pass. It bounds the memory and does not change the results.
        output: Name of the output to explain, or its index, when the model has several.
        image_shape: Shape `(height, width, channels)` of one image, for a model that does not
            tell it: a callable, or a subclassed model or Sequential that has not been built.
        classes: Number of scores that a callable returns for an image; checked when given.
        context: The other inputs of a model with several, held fixed: a mapping by name or a
            sequence in their order, each with one row for all images.
        image_input: Name or position of the image among several inputs, where it is not the only
            one left.

    Attributes:
        inputs: Validates images and targets.
        runner: Runs the model inside compiled passes.
        passes: The compiled passes.
        experiments: Copies of the network for experiments that change weights.

    Raises:
        TypeError: When `model` is neither a Keras model nor a callable.
        ValueError: For a model with several inputs and no context, with several outputs and none
            named, with images `(channels, height, width)`, with outputs other than one row of
            scores per image, or one that does not tell the shape of its images.
        UnsupportedLayerError: For a softmax that is followed by something else and so cannot be
            undone.
    """

    def __init__(
        self,
        model: keras.Model | Callable[..., Any],
        *,
        batch_size: int = 256,
        output: str | int | None = None,
        image_shape: Sequence[int | None] | None = None,
        classes: int | None = None,
        context: Context | None = None,
        image_input: str | int | None = None,
    ) -> None:
        check_counts(batch_size=batch_size)
        intake = intake_of(
            model,
            image_shape=None if image_shape is None else tuple(image_shape),
            classes=classes,
            context=context,
            image_input=image_input,
        )
        if len(intake.image_shape) != 3:
            raise ValueError(
                f"model: expected images (height, width, channels); {intake.model.name!r} takes "
                f"{intake.image_shape}"
            )
        self.model = intake.model
        self.batch_size = batch_size
        self._given = (model, image_shape, classes, context, image_input)
        self._output = _output_index(intake.output_names(), output)
        shape = intake.output_shape(self._output)
        if len(shape) != 2 or shape[1] is None or shape[1] < 2:
            raise ValueError(
                f"model: expected one row of at least two class scores for each image; "
                f"{self.model.name!r} gives {shape}"
            )
        self.inputs = InputSpec(self.model.name, intake.image_shape, int(shape[1]))
        self.runner = Runner(intake, self._output, self.inputs.typical_shape)
        self.passes = PassCache(self)
        self.experiments = Experiments(self)

    @classmethod
    def of(cls, model: "keras.Model | Network", images: ArrayLike | None = None) -> "Network":
        """Return the network of a model; return a network as it is, with what it has compiled.

        Args:
            model: A model or a network.
            images: Images that a model takes which does not know its inputs.
        """
        if isinstance(model, cls):
            return model
        if images is None or knows_its_inputs(model):
            return cls(model)
        return cls(model, image_shape=np.shape(images)[1:])

    def on_model(self, model: keras.Model) -> "Network":
        """Return a network on another model that has the same outputs; it explains the same one."""
        return _network_of(model, *self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, or a pickle, has passes, copies and locks of its own, on its copy of the model.
        return _network_of, (self._given[0], *self._options)

    @property
    def _options(self) -> tuple[Any, ...]:
        return self.batch_size, self._output, *self._given[1:]

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        """Height, width and channels of an image; None where the model takes any."""
        return self.inputs.image_shape

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

    def logits(self, images: ArrayLike) -> Array:
        """Return the logits `z`, with `softmax(z)` the probabilities, `(N, classes)`.

        For a model without softmax they are its outputs.
        """
        return self.logits_at(self.inputs.check_images(images))

    def logits_at(self, points: ArrayLike) -> Array:
        """Return the logits of points near images, which may leave [0, 1], `(N, classes)`."""
        return self.in_chunks(_logits, (), self.inputs.check_points(points))

    def probabilities(self, images: ArrayLike) -> Array:
        """Return `softmax(z)`, `(N, classes)`."""
        return np.asarray(tf.nn.softmax(self.logits(images)))

    def scores(self, images: ArrayLike, targets: ArrayLike, *, score: Score = "logit") -> Array:
        """Return the targets' scores `S_c(x)`, logits or probabilities, `(N,)`."""
        return self.scores_at(self.inputs.check_images(images), targets, score=score)

    def scores_at(self, points: ArrayLike, targets: ArrayLike, *, score: Score = "logit") -> Array:
        """Return the targets' scores of points near images, which may leave [0, 1], `(N,)`."""
        check_score(score)
        z = self.logits_at(points)
        values = z if score == "logit" else np.asarray(tf.nn.softmax(z))
        return values[np.arange(len(values)), self.inputs.check_targets(targets, len(values))]

    def activations(self, images: ArrayLike, layers: Sequence[str]) -> dict[str, Array]:
        """Return the outputs of the named layers for each image, `(N, …)`.

        Raises:
            ValueError: For a layer that the model does not have.
        """
        layers = tuple(layers)
        for name in layers:
            self.check_layer(name)
        found = self.in_chunks(_activations, (layers,), self.inputs.check_images(images))
        return dict(zip(layers, found, strict=True))

    def gradient(
        self, images: ArrayLike, targets: ArrayLike, *, score: Score = "logit"
    ) -> tuple[Array, Array]:
        """Return the gradient of each target's score with respect to its image: `∂S_c/∂x`.

        Args:
            images: float `(N, H, W, C)`; noise may have brought them outside [0, 1].
            targets: The classes `c`: one integer, integers `(N,)`, or one-hot rows.
            score: Whether `S_c` is the logit `z_c` or the probability `softmax(z)_c`.

        Returns:
            The gradients `(N, H, W, C)` and the scores `(N,)`.

        Raises:
            UnsupportedLayerError: When no gradient reaches the image.
        """
        images = self.inputs.check_points(images)
        targets = self.inputs.check_targets(targets, len(images))
        slopes, scores = self.in_chunks(_gradient, (score,), images, targets)
        return slopes, scores

    def layer_gradient(
        self, images: ArrayLike, targets: ArrayLike, layer: str, *, score: Score = "logit"
    ) -> tuple[Array, Array, Array]:
        """Return the gradient of the target's score with respect to a layer's output: `∂S_c/∂A`.

        Args:
            images: float `(N, H, W, C)`.
            targets: The classes `c`: one integer, integers `(N,)`, or one-hot rows.
            layer: Name of the layer.
            score: Whether `S_c` is the logit or the probability.

        Returns:
            The layer's outputs `A` and the gradients, both `(N, …)`, and the scores `(N,)`.

        Raises:
            ValueError: For a layer that the model does not have.
            UnsupportedLayerError: When the score does not depend on the layer's output.
        """
        self.check_layer(layer)
        images = self.inputs.check_points(images)
        targets = self.inputs.check_targets(targets, len(images))
        activations, slopes, scores = self.in_chunks(
            _layer_gradient, (layer, score), images, targets
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
        """Return the targets' scores `(N,)` with a layer's output replaced by `outputs`."""
        self.check_layer(layer)
        images = self.inputs.check_points(images)
        targets = self.inputs.check_targets(targets, len(images))
        shape = self.layer_shapes[layer]
        sized = None not in self.image_shape
        spec = tf.TensorSpec([None, *(shape if sized else [None] * len(shape))], tf.float32)
        compiled = self.passes.get(
            _scores_with_layer,
            *(layer, score),
            signature=(self.runner.image_spec, TARGETS, spec),
        )
        replaced = np.asarray(outputs, np.float32)
        rows = self.chunks(len(images))
        return np.concatenate([compiled(images[r], targets[r], replaced[r]) for r in rows])

    def chunks(self, count: int) -> list[slice]:
        """Return slices of `batch_size` rows that cover `count` rows."""
        size = self.batch_size
        return [slice(start, start + size) for start in range(0, count, size)]

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
        chunks = [compiled(*(a[rows] for a in arrays)) for rows in self.chunks(len(arrays[0]))]
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
        slope, s = runner.gradient_after_stem(runner.stem.forward(x), target, score)
        return runner.stem.transpose(slope), s

    return gradient


def _layer_gradient(network: Network, layer: str, score: Score) -> Pass:
    def gradient(x: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return network.runner.layer_gradient(x, target, layer, score)

    return gradient


def _scores_with_layer(network: Network, layer: str, score: Score) -> Pass:
    runner = network.runner

    def scores(x: tf.Tensor, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        output = tf.cast(output, runner.layer_dtypes[layer])
        return score_of(runner.logits_replaced(x, {layer: output}), target, score)

    return scores


def _network_of(model: Any, batch_size: int, output: int, *given: Any) -> Network:
    image_shape, classes, context, image_input = given
    return Network(
        model,
        batch_size=batch_size,
        output=output,
        image_shape=image_shape,
        classes=classes,
        context=context,
        image_input=image_input,
    )


def _output_index(names: list[str], name: str | int | None) -> int:
    if isinstance(name, int) and 0 <= name < len(names):
        return name
    if name is None and len(names) == 1:
        return 0
    if name not in names:
        raise ValueError(f"output: expected one of {', '.join(names)}; got {name!r}")
    return names.index(name)
