"""`explain`, the entry point to every attribution method."""

import keras
import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.interpret.core.entry import Preprocess
from mnist_xai.interpret.core.inputs import Array, Score, Targets, check_score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pixels import Pixels
from mnist_xai.interpret.core.progress import PassBar, heard_by
from mnist_xai.interpret.methods.base import (
    METHODS,
    Complete,
    Conservative,
    Method,
    needs_range,
    pixel_power,
)
from mnist_xai.interpret.methods.explanation import Explanation


def explain(
    model: keras.Model | Network,
    images: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    method: str | Method = "integrated_gradients",
    score: Score = "logit",
    pixels: Pixels | None = None,
    preprocess: Preprocess | None = None,
    output: str | int | None = None,
    progress: bool = False,
) -> Explanation:
    """Explain the class scores of images: compute one attribution map for each image.

    Args:
        model: A Keras classifier, or a `Network` on one.
        images: `(N, H, W, C)`, as the model takes them: floats of any range, or uint8.
        targets: The classes to explain: one integer, integers `(N,)`, or one-hot rows
            `(N, classes)`; by default each image's predicted class. For the score "output", the
            indices of outputs.
        method: A name in `METHODS`, or a method with your own hyper-parameters.
        score: Which score of the class to explain, `"logit"` or `"probability"`; or `"output"`,
            one of the model's own outputs, such as that of a regression.
        pixels: The range of the images, see `Network`; by default what the model shows.
        preprocess: What makes the model's pixels from these images, see `Network`.
        output: Which of several outputs to explain, see `Network`.
        progress: Whether to show a progress bar in passes, with an estimate before anything longer
            than a minute.

    Returns:
        The maps, with scores, residuals of promised sums, and warnings. A gradient is in units of
        the score for one unit of the images' pixels.

    Raises:
        TypeError, ValueError: For an unknown method or score, for images or targets of the
            wrong shape, type or range, or images whose range the method needs and does not know.
        UnsupportedLayerError: For a model with a layer that the method does not support.
    """
    if isinstance(targets, str | Method):
        raise TypeError(
            f"targets: expected classes, or None for the predicted ones; got {targets!r}. "
            "Pass the method by keyword, method=..."
        )
    method, name = named_method(method)
    check_score(score)
    network = Network.with_options(
        model, images=images, pixels=pixels, preprocess=preprocess, output=output
    )
    points = network.inputs.check_images(images, needs_range=needs_range(method))
    z = network.logits_at(points)
    classes = network.inputs.check_targets(
        _predicted(network, z, score) if targets is None else targets, len(z), score=score
    )
    scores = np.asarray(network.runner.head.score(z, classes, score))
    bar = PassBar(len(z), method.passes(network), method.about.unit) if progress else None
    maps: list[Array] = []
    promises: list[Array] = []
    absorbed: list[dict[str, Array]] = []
    for rows in network.image_chunks(len(z)):
        given = points[rows], classes[rows], scores[rows]
        with heard_by(bar), network.context.at(rows):
            made, promised, parts = _explain_chunk(network, method, *given, score)
        maps.append(made)
        promises += [] if promised is None else [promised]
        absorbed.append(parts)
        if bar:
            bar.finish(len(made))
    return Explanation(
        network.pixels.per_value(np.concatenate(maps), pixel_power(method)),
        network.pixels.to_model(points),
        classes,
        scores,
        score,
        method,
        name,
        np.concatenate(promises) if promises else None,
        {part: np.concatenate([parts[part] for parts in absorbed]) for part in absorbed[0]},
        network.pixels,
        network.runner.head.note,
    )


def _predicted(network: Network, z: Array, score: Score) -> Array:
    """Return the predicted classes; for a score that is an output, the largest output."""
    head = network.runner.head
    if score != "output":
        return z.argmax(axis=1)
    if head.kind in ("linear", "plain") and head.units > 1:
        raise ValueError(
            f"targets: expected the output to explain, from 0 to {head.units - 1}; got None"
        )
    return np.asarray(head.outputs(z)).argmax(axis=1)


def named_method(method: str | Method) -> tuple[Method, str]:
    """Return a method and its name in `METHODS`, or the name of its class.

    Raises:
        ValueError: For a name that is not in `METHODS`; the message suggests similar names.
    """
    if isinstance(method, str):
        return METHODS.named(method), method
    names = [name for name, known in METHODS.items() if known == method]
    return method, names[0] if names else type(method).__name__


def _explain_chunk(
    network: Network,
    method: Method,
    images: Array,
    targets: Targets,
    scores: Array,
    score: Score,
) -> tuple[Array, Array | None, dict[str, Array]]:
    """Return the maps, their promised sums or None, and the absorbed parts by name."""
    if isinstance(method, Conservative):
        maps, absorbed = method.explain_and_absorb(network, images, targets, score=score)
        return maps, scores, absorbed
    maps = method(network, images, targets, score=score)
    if not isinstance(method, Complete):
        return maps, None, {}
    return maps, scores - network.scores_at(method.baselines(images), targets, score=score), {}
