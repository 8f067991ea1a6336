"""Noisy copies of images, explained so many at a time that the memory is bounded.

A copy is an image again: its values are held in [0, 1]. Outside, some methods refuse to work, and
others (the box rule of relevance propagation) are not what they are named after.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import check_counts
from mnist_xai.quality.base import (
    ExplainedBatch,
    explain_in_chunks,
)
from mnist_xai.quality.statistics import Values


@dataclass(frozen=True, eq=False)
class Copies:
    """Some of the copies, and what the method says of them.

    Attributes:
        rows: Which image each was made of, `(P,)`.
        columns: Which noise, `(P,)`.
        images: The copies, `(P, H, W, C)`.
        targets: The class explained, `(P,)`.
        places: Their maps summed over channels, `(P, H, W)`.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    images: Array
    targets: NDArray[np.int32]
    places: Values


def check_noise(radius: float, samples: int) -> None:
    """Raise ValueError unless the noise can change an image, and there is some."""
    if not 0 < radius <= 1:
        raise ValueError(f"radius: expected a change of a pixel in (0, 1]; got {radius}")
    check_counts(samples=samples)


def norms(arrays: NDArray[Any]) -> Values:
    """Euclidean length of each, `(P,)`."""
    return np.linalg.norm(arrays.reshape(len(arrays), -1), axis=1)


def uniform_noise(batch: ExplainedBatch, samples: int, radius: float, seed: int) -> Array:
    """Noise from -radius to radius, the same for every image: `(K, H, W, C)`."""
    shape = (samples, *batch.images.shape[1:])
    return np.random.default_rng(seed).uniform(-radius, radius, shape).astype(np.float32)


def normal_noise(batch: ExplainedBatch, samples: int, seed: int) -> Array:
    """Standard normal noise, the same for every image: `(K, H, W, C)`."""
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
    """Explain every image under every noise, `network.batch_size` copies at a time.

    Args:
        batch: The images.
        noise: `(K, H, W, C)`.
        scales: By how much the noise is multiplied for each image, `(N,)`.
        targets: The classes explained, `(N, K)`; by default those of the batch.
        network: The network explained, unless it is that of the batch.
    """
    network = network or batch.network
    for rows, columns, copies in _copies(batch, noise, scales):
        classes = batch.targets[rows] if targets is None else targets[rows, columns]
        maps = explain_in_chunks(batch.method, network, copies, classes, batch.score)
        places = maps.sum(axis=-1, dtype=np.float64)
        yield Copies(rows, columns, copies, classes, places)


def logits_of_copies(batch: ExplainedBatch, noise: Array) -> Array:
    """The logits of every image under every noise, `(N, K, classes)`."""
    found = [batch.network.logits(copies) for _, _, copies in _copies(batch, noise, None)]
    return np.concatenate(found).reshape(len(batch), len(noise), -1)


def smooth(
    batch: ExplainedBatch, noise: Array, scales: Array, *, network: Network | None = None
) -> Values:
    """Mean of the maps over the copies of each image, `(N, H, W)`."""
    total = np.zeros(batch.places.shape)
    for some in explained_copies(batch, noise, scales=scales, network=network):
        np.add.at(total, some.rows, some.places)
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
