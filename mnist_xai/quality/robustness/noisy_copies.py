"""Noisy copies of images and their maps, explained in chunks of bounded size.

Copies are clipped to [0, 1]. Outside, some methods refuse images, and others lose their meaning,
such as the box rule of relevance propagation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.quality.base import (
    ExplainedBatch,
    explain_in_chunks,
)
from mnist_xai.quality.statistics import Values


@dataclass(frozen=True, eq=False)
class Copies:
    """Some noisy copies and their relevance.

    Attributes:
        rows: Index of the original image of each copy, `(P,)`.
        columns: Index of the noise of each copy, `(P,)`.
        images: The copies, `(P, H, W, C)`.
        targets: The class explained, `(P,)`.
        relevance: Their maps summed over channels, `(P, H, W)`.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    images: Array
    targets: NDArray[np.int32]
    relevance: Values


def norms(arrays: NDArray[Any]) -> Values:
    """Return the Euclidean length of each array, `(P,)`."""
    return np.linalg.norm(arrays.reshape(len(arrays), -1), axis=1)


def uniform_noise(batch: ExplainedBatch, samples: int, radius: float, seed: int) -> Array:
    """Return uniform noise in [-radius, radius), the same for every image, `(K, H, W, C)`."""
    shape = (samples, *batch.images.shape[1:])
    return np.random.default_rng(seed).uniform(-radius, radius, shape).astype(np.float32)


def normal_noise(batch: ExplainedBatch, samples: int, seed: int) -> Array:
    """Return standard normal noise, the same for every image, `(K, H, W, C)`."""
    shape = (samples, *batch.images.shape[1:])
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def explained_copies(
    batch: ExplainedBatch,
    noise: Array,
    *,
    scales: Array | None = None,
    targets: NDArray[np.int32] | None = None,
    network: Network | None = None,
) -> Iterator[Copies]:
    """Explain every image with every noise, `network.batch_size` copies at a time.

    Args:
        batch: The images, targets, method and network.
        noise: `(K, H, W, C)`.
        scales: Factors by which the noise is multiplied for each image, `(N,)`.
        targets: The classes explained, `(N, K)`; by default the targets of the batch.
        network: The network explained; by default the network of the batch.

    Yields:
        The copies of each chunk. All chunks together hold every copy once.
    """
    network = network or batch.network
    for rows, columns, copies in _copies(batch, noise, scales):
        classes = batch.targets[rows] if targets is None else targets[rows, columns]
        maps = explain_in_chunks(batch.method, network, copies, classes, batch.score)
        yield Copies(rows, columns, copies, classes, maps.sum(axis=-1, dtype=np.float64))


def logits_of_copies(batch: ExplainedBatch, noise: Array) -> Array:
    """Return the logits of every image with every noise, `(N, K, classes)`."""
    logits = [batch.network.logits_at(copies) for _, _, copies in _copies(batch, noise, None)]
    return np.concatenate(logits).reshape(len(batch), len(noise), -1)


def mean_maps(
    batch: ExplainedBatch, noise: Array, scales: Array, *, network: Network | None = None
) -> Values:
    """Return the mean relevance over the noisy copies of each image, `(N, H, W)`."""
    total = np.zeros(batch.relevance.shape)
    for copies in explained_copies(batch, noise, scales=scales, network=network):
        np.add.at(total, copies.rows, copies.relevance)
    return total / len(noise)


def _copies(
    batch: ExplainedBatch, noise: Array, scales: Array | None
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], Array]]:
    for part in batch.network.chunks(len(batch) * len(noise)):
        pairs = np.arange(part.start, min(part.stop, len(batch) * len(noise)))
        rows, columns = np.divmod(pairs, len(noise))
        added = noise[columns]
        if scales is not None:
            added = added * scales[rows, np.newaxis, np.newaxis, np.newaxis]
        yield rows, columns, np.clip(batch.images[rows] + added, 0, 1)
