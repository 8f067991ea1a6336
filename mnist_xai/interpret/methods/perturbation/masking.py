"""Scores of masked images, which all perturbation methods use.

A mask has one number `m_f` for each feature: 1 keeps its pixels, 0 replaces them by the baseline
`b`, and numbers in between mix the two: `x ⊙ m + b (1 - m)`.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import PAIRS, Change, Indices, scores_of_pairs
from mnist_xai.interpret.core.passes import NUMBER
from mnist_xai.interpret.core.progress import advance
from mnist_xai.interpret.methods.perturbation.features import Labels, present


def scores_of_masks(
    network: Network,
    images: Array,
    targets: Targets,
    masks: NDArray[Any],
    labels: Labels,
    *,
    baseline: float = 0.0,
    score: Score = "logit",
) -> Array:
    """Return the target's score of every image under every mask, `(N, K)`.

    Masks that differ only where an image equals the baseline give the same masked image, which is
    scored once.

    Args:
        network: The network.
        images: float `(N, H, W, C)`.
        targets: Integers `(N,)`.
        masks: Booleans or float32 in [0, 1], `(K, F)`; 1 keeps a feature.
        labels: The feature of each pixel, `(H, W)`.
        baseline: The value `b` of pixels that are switched off.
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
        advance(same.size - len(rows))
        found.append(np.take_along_axis(values, same, axis=1))
    return np.concatenate(found)


def masked_scores(
    network: Network,
    images: Array,
    targets: Targets,
    masks: NDArray[Any],
    labels: Labels,
    rows: Indices,
    columns: Indices,
    *,
    baseline: float = 0.0,
    score: Score = "logit",
) -> Array:
    """Return the target's score of image `rows[p]` under mask `columns[p]` for each pair `p`.

    Args:
        network: The network.
        images: float `(N, H, W, C)`.
        targets: Integers `(N,)`.
        masks: `(K, F)`, see `scores_of_masks`.
        labels: The feature of each pixel, `(H, W)`.
        rows: Image of each pair, `(P,)`.
        columns: Mask of each pair, `(P,)`.
        baseline: The value `b` of pixels that are switched off.
        score: Whether the score is the logit or the probability.

    Returns:
        float32 `(P,)`.
    """
    numbers = tf.TensorSpec([None, None], tf.float32)
    return scores_of_pairs(
        network,
        _masked_images,
        (),
        [
            (images, network.runner.image_spec),
            (masks.astype(np.float32), numbers),
            (labels, tf.TensorSpec([None, None], tf.int32)),
            (baseline, NUMBER),
        ],
        targets,
        rows,
        columns,
        score=score,
    )


def _masked_images(network: Network) -> Change:
    """Return the change that masks an image."""

    def change(
        row: tf.Tensor,
        column: tf.Tensor,
        images: tf.Tensor,
        masks: tf.Tensor,
        labels: tf.Tensor,
        baseline: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        shape = tf.concat([[-1], tf.shape(labels), [1]], axis=0)
        mask = tf.gather(tf.gather(masks, column), tf.reshape(labels, [-1]), axis=1)
        mask = tf.reshape(mask, shape)
        # Not `b + m (x - b)`: for m = 1 it differs from `x` in the last bit.
        masked = tf.gather(images, row) * mask + baseline * (1 - mask)
        return tf.ensure_shape(masked, images.shape), {}

    return change


def _equal_masks(masks: NDArray[Any], present: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each image and mask the first mask with the same masked image, `(N, K)`."""
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
