"""`explain`, the entry point to every attribution method."""

import keras
import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.interpret.core.inputs import Array, Score, Targets, check_score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.runner import score_of
from mnist_xai.interpret.methods.base import METHODS, Complete, Conservative, Method
from mnist_xai.interpret.methods.explanation import Explanation


def explain(
    model: keras.Model | Network,
    images: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    method: str | Method = "integrated_gradients",
    score: Score = "logit",
    progress: bool = False,
) -> Explanation:
    """Explain the class scores of images: compute one attribution map for each image.

    Args:
        model: A Keras classifier, or a `Network` on one.
        images: float `(N, H, W, C)` in [0, 1].
        targets: The classes to explain: one integer, integers `(N,)`, or one-hot rows
            `(N, classes)`; by default each image's predicted class.
        method: A name in `METHODS`, or a method with your own hyper-parameters.
        score: Which score of the class to explain, `"logit"` or `"probability"`.
        progress: Whether to show a progress bar.

    Returns:
        The maps, with scores, residuals of promised sums, and warnings.

    Raises:
        TypeError, ValueError: For an unknown method or score, or for images or targets of the
            wrong shape, type or range.
        UnsupportedLayerError: For a model with a layer that the method does not support.
    """
    if isinstance(targets, str | Method):
        raise TypeError(
            f"targets: expected classes, or None for the predicted ones; got {targets!r}. "
            "Pass the method by keyword, method=..."
        )
    method, name = named_method(method)
    check_score(score)
    network = Network.of(model, images)
    checked = network.inputs.check_images(images)
    z = network.logits(checked)
    classes = network.inputs.check_targets(z.argmax(axis=1) if targets is None else targets, len(z))
    scores = np.asarray(score_of(z, classes, score))
    bar = keras.utils.Progbar(len(z), unit_name="image") if progress else None
    maps: list[Array] = []
    promises: list[Array] = []
    absorbed: list[dict[str, Array]] = []
    for rows in network.chunks(len(z)):
        given = checked[rows], classes[rows], scores[rows]
        made, promised, parts = _explain_chunk(network, method, *given, score)
        maps.append(made)
        promises += [] if promised is None else [promised]
        absorbed.append(parts)
        if bar:
            bar.add(len(made))
    return Explanation(
        np.concatenate(maps),
        checked,
        classes,
        scores,
        score,
        method,
        name,
        np.concatenate(promises) if promises else None,
        {part: np.concatenate([parts[part] for parts in absorbed]) for part in absorbed[0]},
    )


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
    return maps, scores - network.scores(method.baselines(images), targets, score=score), {}
