"""Scores of masked images: the passes of which the perturbation methods are made.

A mask holds a number `m_f` for each feature: 1 keeps its pixels, 0 puts the baseline `b` in their
place, and between them `x ⊙ m + b (1 - m)`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.network import TARGETS, Array, Network, Score
from mnist_xai.interpret.methods.perturbation.features import Labels, present

Indices = NDArray[np.int32]

PAIRS = 2**16
"""Pairs of an image and a mask that are prepared at a time, to bound the memory."""


def scores_of_masks(
    network: Network,
    images: Array,
    targets: Indices,
    masks: NDArray[Any],
    labels: Labels,
    *,
    baseline: float = 0.0,
    score: Score = "logit",
) -> Array:
    """The target's score of every image under every mask, `(N, K)`.

    Masks that differ only where an image already is the baseline make one masked image, whose
    score is computed once.

    Args:
        network: The network.
        images: float `(N, H, W, C)`.
        targets: Integers `(N,)`.
        masks: `(K, F)`, booleans or float32 in [0, 1], 1 for what is kept.
        labels: The feature of each pixel, `(H, W)`.
        baseline: The value `b` of what is switched off.
        score: Whether the score is the logit or the probability.
    """
    found = []
    step = max(1, PAIRS // len(masks))
    for start in range(0, len(images), step):
        block = images[start : start + step]
        same = _equal_masks(masks, present(block, labels, baseline))
        firsts = same == np.arange(len(masks))
        rows, columns = (part.astype(np.int32) for part in np.nonzero(firsts))
        values = np.zeros(same.shape, np.float32)
        values[rows, columns] = masked_scores(
            network,
            block,
            targets[start : start + step],
            masks,
            labels,
            rows,
            columns,
            baseline=baseline,
            score=score,
        )
        found.append(np.take_along_axis(values, same, axis=1))
    return np.concatenate(found)


def masked_scores(
    network: Network,
    images: Array,
    targets: Indices,
    masks: NDArray[Any],
    labels: Labels,
    rows: Indices,
    columns: Indices,
    *,
    baseline: float = 0.0,
    score: Score = "logit",
) -> Array:
    """The target's score of image `rows[p]` under mask `columns[p]` for each pair: `(P,)`."""
    # Two chunks are on their way at once, so that what one leaves idle the other one uses.
    chunk = max(1, network.batch_size // 2)
    numbers = tf.TensorSpec([None, None], tf.float32)
    compiled = network.compiled(
        ("masked scores", score, chunk),
        _masked_scores(network, score, chunk),
        *(network.image_spec, TARGETS, numbers, tf.TensorSpec([None, None], tf.int32)),
        *(tf.TensorSpec([], tf.float32), TARGETS, TARGETS),
    )
    given = [tf.constant(a) for a in (images, targets, masks.astype(np.float32), labels)]
    blocks = [slice(start, start + PAIRS) for start in range(0, len(rows), PAIRS)]
    return np.concatenate([compiled(*given, baseline, rows[b], columns[b]) for b in blocks])


def _masked_scores(network: Network, score: Score, chunk: int) -> Any:
    def scores(
        images: tf.Tensor,
        targets: tf.Tensor,
        masks: tf.Tensor,
        labels: tf.Tensor,
        baseline: tf.Tensor,
        rows: tf.Tensor,
        columns: tf.Tensor,
    ) -> tf.Tensor:
        shape = tf.concat([[-1], tf.shape(labels), [1]], axis=0)
        feature = tf.reshape(labels, [-1])

        def score_chunk(pairs: slice) -> tf.Tensor:
            row = rows[pairs]
            mask = tf.gather(masks, columns[pairs])
            mask = tf.reshape(tf.gather(mask, feature, axis=1), shape)
            # Not `b + m (x - b)`, which does not give back `x` to the last bit.
            masked = tf.gather(images, row) * mask + baseline * (1 - mask)
            z = network.logits_of(tf.ensure_shape(masked, images.shape))
            return network.score_of(z, tf.gather(targets, row), score)

        return scored_in_chunks(tf.size(rows), chunk, score_chunk)

    return scores


def scored_in_chunks(
    count: tf.Tensor, chunk: int, score_chunk: Callable[[slice], tf.Tensor]
) -> tf.Tensor:
    """Scores of so many pairs inside a compiled pass, two chunks of them at once: `(count,)`."""

    def step(k: tf.Tensor, parts: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return k + 1, parts.write(k, score_chunk(slice(k * chunk, (k + 1) * chunk)))

    # Not tf.map_fn, which would have the last chunk filled up.
    chunks = -(-count // chunk)
    parts = tf.TensorArray(tf.float32, chunks, element_shape=[None], infer_shape=False)
    _, parts = tf.while_loop(
        lambda k, _: k < chunks, step, (tf.constant(0), parts), parallel_iterations=2
    )
    return parts.concat()


def _equal_masks(masks: NDArray[Any], present: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each image and mask, the first mask that makes the same masked image: `(N, K)`."""
    if masks.dtype == np.bool_:
        packed = np.packbits(present, axis=1)[:, np.newaxis] & np.packbits(masks, axis=1)
        relevant: NDArray[Any] = np.ascontiguousarray(packed)
    else:
        relevant = np.where(present[:, np.newaxis], masks, masks.dtype.type(0))
    keys = relevant.view(f"S{relevant.shape[-1] * relevant.itemsize}")[..., 0]
    same = np.empty(keys.shape, np.intp)
    for image, row in enumerate(keys.tolist()):
        first: dict[bytes, int] = {}
        same[image] = [first.setdefault(key, column) for column, key in enumerate(row)]
    return same
