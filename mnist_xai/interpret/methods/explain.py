"""`explain`, the entry point to every attribution method."""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.interpret.core.entry import Preprocess
from mnist_xai.interpret.core.inputs import PREDICTED, Array, Score, Targets, check_score
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
    runs_once,
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
    count = len(points)
    if targets is not None:
        targets = network.inputs.check_targets(targets, count, score=score)
    bar = PassBar(count, method.passes(network), method.about.unit) if progress else None
    parts = []
    for rows in network.image_chunks(count):
        with heard_by(bar), network.context.at(rows):
            wanted = None if targets is None else targets[rows]
            parts.append(_explain_chunk(network, method, points[rows], wanted, score))
        if bar:
            bar.finish(len(parts[-1].maps))
    classes = np.concatenate([part.targets for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    promised = [part.promised for part in parts if part.promised is not None]
    return Explanation(
        network.pixels.per_value(
            np.concatenate([part.maps for part in parts]), pixel_power(method)
        ),
        network.pixels.to_model(points),
        classes,
        scores,
        score,
        method,
        name,
        np.concatenate(promised) if promised else None,
        {
            name: np.concatenate([part.absorbed[name] for part in parts])
            for name in parts[0].absorbed
        },
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


@dataclass(frozen=True, eq=False)
class _Chunk:
    """What was found about some images: see `Explanation`."""

    maps: Array
    targets: Targets
    scores: Array
    promised: Array | None
    absorbed: dict[str, Array]


def _explain_chunk(
    network: Network, method: Method, images: Array, targets: Targets | None, score: Score
) -> _Chunk:
    """Explain some images; None for the targets means the predicted classes."""
    head = network.runner.head
    absorbed: dict[str, Array] = {}
    # A predicted output is found by rules of its own.
    if runs_once(method) and not (targets is None and score == "output"):
        wanted = np.full(len(images), PREDICTED) if targets is None else targets
        maps, absorbed, z = method.explain_with_logits(network, images, wanted, score=score)
        targets = _targets(network, z, targets, score)
    else:
        z = network.logits_at(images)
        targets = _targets(network, z, targets, score)
        if isinstance(method, Conservative):
            maps, absorbed = method.explain_and_absorb(network, images, targets, score=score)
        else:
            maps = method(network, images, targets, score=score)
    scores = np.asarray(head.score(z, targets, score))
    promised = scores if isinstance(method, Conservative) else None
    if promised is None and isinstance(method, Complete):
        others = method.baselines(images)
        same = bool((others == others[:1]).all())  # One colour is scored once.
        z = np.broadcast_to(network.logits_at(others[:1] if same else others), z.shape)
        promised = scores - np.asarray(head.score(z, targets, score))
        # The two scores come from two passes, and their rounding may differ.
        promised[(images == others).all(axis=(1, 2, 3))] = 0
    return _Chunk(maps, targets, scores, promised, absorbed)


def _targets(network: Network, z: Array, targets: Targets | None, score: Score) -> Targets:
    if targets is not None:
        return targets
    return network.inputs.check_targets(_predicted(network, z, score), len(z), score=score)
