"""The engine of deletion and insertion: scores of an image while its places are exchanged.

A map puts the features of an image in an order. They are exchanged in this order, some at a time,
for what a `Removal` puts in their place, and after `k` steps the image is `x^(k)`; its curve is
`S_c(x^(0)), S_c(x^(1)), …`. The score `S_c` is the one that the batch names, the logit unless it
says otherwise. Most papers take the probability:
`ExplainedBatch.of(…, score="probability")`. Areas under probabilities lie in [0, 1] and can be
compared from image to image; those under logits have the unit of the logit, and do not saturate.

Ties in a map are broken in the order of rows, then columns: the same order every time. Where what
is put in the place of black is black they make no difference; where it is not, they do.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import Change, Indices, scores_of_pairs
from mnist_xai.interpret.methods.perturbation.features import Labels
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Refusals
from mnist_xai.quality.statistics import Values

Order = Literal["most", "least"]
"""Whether the most relevant feature is exchanged first, or the least relevant one."""


def check_order(order: str) -> None:
    """Raise ValueError unless this names an order."""
    if order not in ("most", "least"):
        raise ValueError(f"order: expected most or least; got {order!r}")


def towards(about: MetricAbout, order: Order) -> MetricAbout:
    """The about of a metric of the most relevant first, or of its opposite."""
    if order == "most" or about.higher_is_better is None:
        return about
    return replace(about, higher_is_better=not about.higher_is_better)


def ranks(values: Values, order: Order = "most") -> NDArray[np.intp]:
    """The position of each feature in the order, `(N, F)`, from 0; the first of equals first."""
    ordered = np.argsort(-values if order == "most" else values, axis=1, kind="stable")
    found = np.empty_like(ordered)
    np.put_along_axis(found, ordered, np.arange(values.shape[1])[np.newaxis], axis=1)
    return found


def without_order(values: Values) -> Refusals:
    """Refuse maps that say the same of every feature."""
    constant = values.max(axis=1) == values.min(axis=1)
    return {
        int(row): "its map says the same of every feature, which is no order"
        for row in np.flatnonzero(constant)
    }


def without_change(batch: ExplainedBatch, fills: Iterable[Array]) -> Refusals:
    """Refuse images from which nothing can be taken: they are what is put in the place of it."""
    same = np.ones(len(batch), np.bool_)
    for fill in fills:
        same &= (batch.images == fill).all(axis=(1, 2, 3))
        if not same.any():
            break
    return {
        int(row): "its image is what is put in its place: nothing can be taken away"
        for row in np.flatnonzero(same)
    }


def bounds_of(count: int, step: int) -> NDArray[np.intp]:
    """How many of `count` features are exchanged after 0, 1, … steps: `(K + 1,)`."""
    return np.append(np.arange(0, count, step), count)


def area(curves: Values, bounds: NDArray[np.intp]) -> Values:
    """Area under curves `(N, K + 1)` over the share of features exchanged, by trapezoids."""
    return np.trapezoid(curves, bounds / bounds[-1], axis=1)


def exchange_curves(
    batch: ExplainedBatch,
    before: Array,
    after: Array,
    positions: NDArray[np.intp],
    bounds: NDArray[np.intp],
    labels: Labels,
) -> Values:
    """The target's score after each number of exchanges: `(N, K + 1)`.

    An exchange that changes no pixel makes no new image, and is not scored again: of a digit most
    pixels are black already.

    Args:
        batch: Whose network and targets.
        before: Images before any exchange, `(N, H, W, C)`; or `(1, H, W, C)`, shared by all.
        after: What their features are exchanged for, of either shape.
        positions: The position of each feature in the order, `(N, F)`.
        bounds: Features exchanged after each step, increasing, `(K + 1,)`.
        labels: The feature of each pixel, `(H, W)`.
    """
    # After step k those places are exchanged whose stage is at most k.
    stages = np.searchsorted(bounds, positions, side="right").astype(np.int32)[:, labels]
    changed = np.broadcast_to((before != after).any(axis=-1), stages.shape)
    new = np.zeros((len(batch), len(bounds) + 1), np.bool_)
    new[np.nonzero(changed)[0], stages[changed]] = True
    new[:, 0] = True
    new = new[:, :-1]  # The last stage is never reached.
    rows, steps = (part.astype(np.int32) for part in np.nonzero(new))
    values = _exchanged_scores(
        batch.network, before, after, batch.targets, stages, rows, steps, batch.score
    )
    firsts = np.cumsum(new).reshape(new.shape) - 1
    return values[firsts].astype(np.float64)


def _exchanged_scores(
    network: Network,
    before: Array,
    after: Array,
    targets: NDArray[np.int32],
    stages: NDArray[np.int32],
    rows: Indices,
    steps: Indices,
    score: Score,
) -> Array:
    """The target's score of image `rows[p]` after step `steps[p]` for each pair: `(P,)`."""
    stage_spec = tf.TensorSpec([None, None, None], tf.int32)
    image_spec = network.runner.image_spec
    return scores_of_pairs(
        network,
        _exchanged_images,
        (),
        [(before, image_spec), (after, image_spec), (stages, stage_spec)],
        targets,
        rows,
        steps,
        score=score,
    )


def _exchanged_images(_: Network) -> Change:
    def change(
        row: tf.Tensor, step: tf.Tensor, before: tf.Tensor, after: tf.Tensor, stages: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        exchanged = tf.gather(stages, row) <= step[:, None, None]
        # An image shared by all rows has a single row.
        own = [tf.gather(x, tf.minimum(row, tf.shape(x)[0] - 1)) for x in (after, before)]
        return tf.where(exchanged[..., None], *own), {}

    return change
