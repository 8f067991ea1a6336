"""Scores of changed images, for many pairs of an image and a change.

Masking methods score every image under every mask, deletion curves every image after every step,
Score-CAM every image under every channel. All of them run here: `change` makes the images of a
chunk of pairs inside the compiled pass, so that no array of all changed images is ever held.
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.passes import INDICES, TARGETS, Pass
from mnist_xai.interpret.core.progress import advance

Indices = NDArray[np.int32]

Change = Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]
"""`change(row, column, *arrays)`: the images of a chunk of pairs, and the layers' outputs to be
replaced while they are scored, by name."""

PAIRS = 2**16
"""Largest number of pairs that callers prepare at once, to bound the memory."""

_CHUNKS = 32  # Chunks of pairs in one call of the pass; Ctrl-C takes effect between two calls.


def scores_of_pairs(
    network: Network,
    build: Callable[..., Change],
    options: Sequence[Hashable],
    arrays: Sequence[tuple[ArrayLike, tf.TensorSpec]],
    targets: Targets,
    rows: Indices,
    columns: Indices,
    *,
    score: Score = "logit",
) -> Array:
    """Return the target's score of image `rows[p]` under change `columns[p]` for each pair `p`.

    Args:
        network: The network.
        build: Makes the change, `build(network, *options)`.
        options: Everything that the change depends on beside the network and the arrays.
        arrays: What the change reads, each with its shape and type.
        targets: Integers `(N,)`.
        rows: Image of each pair, `(P,)`.
        columns: Change of each pair, `(P,)`.
        score: Whether the score is the logit or the probability.

    Returns:
        float32 `(P,)`.
    """
    # Two chunks run at once, so that one uses the cores that the other leaves idle.
    chunk = max(1, network.batch_size // 2)
    specs = tuple(spec for _, spec in arrays)
    scores = network.passes.get(
        _pair_scores,
        *(build, tuple(options), score, chunk),
        signature=(TARGETS, INDICES, INDICES, specs),
    )
    given = tuple(tf.constant(array, spec.dtype) for array, spec in arrays)
    found = []
    for start in range(0, len(rows), _CHUNKS * chunk):
        b = slice(start, start + _CHUNKS * chunk)
        found.append(scores(targets, rows[b], columns[b], given))
        advance(len(found[-1]))
    return np.concatenate(found)


def _pair_scores(
    network: Network,
    build: Callable[..., Change],
    options: tuple[Hashable, ...],
    score: Score,
    chunk: int,
) -> Pass:
    change = build(network, *options)

    def scores(
        targets: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, arrays: tuple[tf.Tensor, ...]
    ) -> tf.Tensor:
        def score_chunk(pairs: slice) -> tf.Tensor:
            row = rows[pairs]
            images, replaced = change(row, columns[pairs], *arrays)
            z = network.runner.logits_replaced(images, replaced)
            return network.runner.head.score(z, tf.gather(targets, row), score)

        return _in_chunks(tf.size(rows), chunk, score_chunk)

    return scores


def _in_chunks(
    count: tf.Tensor, chunk: int, score_chunk: Callable[[slice], tf.Tensor]
) -> tf.Tensor:
    """Return the scores of `count` pairs, computed two chunks at a time: `(count,)`."""

    def step(k: tf.Tensor, parts: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return k + 1, parts.write(k, score_chunk(slice(k * chunk, (k + 1) * chunk)))

    # Not tf.map_fn, because it would pad the last chunk.
    chunks = -(-count // chunk)
    parts = tf.TensorArray(tf.float32, chunks, element_shape=[None], infer_shape=False)
    _, parts = tf.while_loop(
        lambda k, _: k < chunks, step, (tf.constant(0), parts), parallel_iterations=2
    )
    return parts.concat()
