"""Curves of deletion and insertion: scores of an image while its features are exchanged.

A map puts the features of an image in an order. In this order, a few at a time, they are exchanged
for the values of a `Removal`. After `k` steps the image is `x^(k)`, and its curve is
`S_c(x^(0)), S_c(x^(1)), …`. `S_c` is the score of the batch, by default the logit. Most papers use
the probability: `ExplainedBatch.of(…, score="probability")`. Areas under probabilities lie in
[0, 1] and can be compared between images. Areas under logits have the unit of the logit and do not
saturate.

Ties in a map are always broken by row, then by column. They make no difference where black pixels
are exchanged for black, but they do otherwise.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import Change, Indices, scores_of_pairs
from mnist_xai.interpret.methods.perturbation.features import Labels
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Refusals
from mnist_xai.quality.parameters import one_of
from mnist_xai.quality.statistics import Values

RemovalOrder = Annotated[Literal["most", "least"], one_of("most", "least")]
"""Which feature is exchanged first: the most relevant one (MoRF) or the least relevant (LeRF)."""


def about_for_order(about: MetricAbout, order: RemovalOrder) -> MetricAbout:
    """Return the description for an order, given the one for most relevant first.

    The better direction is reversed for least relevant first.
    """
    if order == "most" or about.higher_is_better is None:
        return about
    return replace(about, higher_is_better=not about.higher_is_better)


def order_positions(values: Values, order: RemovalOrder = "most") -> NDArray[np.intp]:
    """Return the position of each feature in the order, `(N, F)`, from 0; ties keep their order."""
    ordered = np.argsort(-values if order == "most" else values, axis=1, kind="stable")
    positions = np.empty_like(ordered)
    np.put_along_axis(positions, ordered, np.arange(values.shape[1])[np.newaxis], axis=1)
    return positions


def constant_maps(values: Values) -> Refusals:
    """Return the refusals of maps in which all features have the same value."""
    constant = values.max(axis=1) == values.min(axis=1)
    return {
        int(row): "its map has the same value for every feature, so they have no order"
        for row in np.flatnonzero(constant)
    }


def unchangeable_images(batch: ExplainedBatch, fills: Iterable[Array]) -> Refusals:
    """Return the refusals of images that equal every fill, so that exchanges change nothing."""
    same = np.ones(len(batch), np.bool_)
    for fill in fills:
        same &= (batch.images == fill).all(axis=(1, 2, 3))
        if not same.any():
            break
    return {
        int(row): "its image equals what removed pixels are filled with: removal changes nothing"
        for row in np.flatnonzero(same)
    }


def bounds_of(count: int, step: int) -> NDArray[np.intp]:
    """Return how many of `count` features are exchanged after 0, 1, … steps, `(K + 1,)`."""
    return np.append(np.arange(0, count, step), count)


def area(curves: Values, bounds: NDArray[np.intp]) -> Values:
    """Return the areas under the curves by trapezoids, `(N,)`.

    Args:
        curves: Scores, `(N, K + 1)`.
        bounds: Number of features exchanged at each point, `(K + 1,)`; its share is the x-axis.
    """
    return np.trapezoid(curves, bounds / bounds[-1], axis=1)


def exchange_curves(
    batch: ExplainedBatch,
    before: Array,
    after: Array,
    positions: NDArray[np.intp],
    bounds: NDArray[np.intp],
    labels: Labels,
) -> Values:
    """Return the target's score after each step, `(N, K + 1)`.

    A step that changes no pixel is not scored again. Most pixels of a digit are black, so this
    saves many runs.

    Args:
        batch: Provides network, targets and score.
        before: Images before any exchange, `(N, H, W, C)`, or `(1, H, W, C)` shared by all.
        after: Images after all exchanges, of either shape.
        positions: The position of each feature in the order, `(N, F)`.
        bounds: Number of features exchanged after each step, increasing, `(K + 1,)`.
        labels: The feature of each pixel, `(H, W)`.
    """
    # The step at which each pixel is exchanged, (N, H, W).
    exchanged_at = np.searchsorted(bounds, positions, side="right").astype(np.int32)[:, labels]
    changed = np.broadcast_to((before != after).any(axis=-1), exchanged_at.shape)
    new = np.zeros((len(batch), len(bounds) + 1), np.bool_)
    new[np.nonzero(changed)[0], exchanged_at[changed]] = True
    new[:, 0] = True
    new = new[:, :-1]  # The last column holds the pixels that no step exchanges.
    rows, steps = (part.astype(np.int32) for part in np.nonzero(new))
    values = _exchanged_scores(
        batch.network, before, after, batch.targets, exchanged_at, rows, steps, batch.score
    )
    # Each step has the score of the last new image up to it.
    firsts = np.cumsum(new).reshape(new.shape) - 1
    return values[firsts].astype(np.float64)


def _exchanged_scores(
    network: Network,
    before: Array,
    after: Array,
    targets: NDArray[np.int32],
    exchanged_at: NDArray[np.int32],
    rows: Indices,
    steps: Indices,
    score: Score,
) -> Array:
    """Return the target's score of image `rows[p]` after step `steps[p]` for each pair, `(P,)`."""
    step_spec = tf.TensorSpec([None, None, None], tf.int32)
    image_spec = network.runner.image_spec
    return scores_of_pairs(
        network,
        _exchanged_images,
        (),
        [(before, image_spec), (after, image_spec), (exchanged_at, step_spec)],
        targets,
        rows,
        steps,
        score=score,
    )


def _exchanged_images(_: Network) -> Change:
    def change(
        row: tf.Tensor, step: tf.Tensor, before: tf.Tensor, after: tf.Tensor, at: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        exchanged = tf.gather(at, row) <= step[:, None, None]
        # Images shared by all rows have a single row.
        own = [tf.gather(x, tf.minimum(row, tf.shape(x)[0] - 1)) for x in (after, before)]
        return tf.where(exchanged[..., None], *own), {}

    return change
