"""Complexity: over how few pixels a map spreads its relevance.

These metrics look at the map alone and say nothing about the network: the map of one random pixel
has the best possible score.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.parameters import Hyperparameters
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, register, score_images
from mnist_xai.quality.parameters import Threshold
from mnist_xai.quality.statistics import Values

_CAVEAT = "a simple map can be wrong: simple is not faithful"


@register("sparseness")
@dataclass(frozen=True)
class Sparseness:
    """Gini index of the magnitudes: `Σ_i (2i - n - 1) |R|_(i) / (n Σ_i |R|_i)`.

    `|R|_(i)` is the i-th smallest of `n` magnitudes. A map of equal magnitudes scores 0, a map of
    a single pixel `1 - 1/n`.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="complexity",
        higher_is_better=True,
        shows="how unequally the map distributes its magnitude over the pixels",
        caveat=_CAVEAT,
        reference="Chalasani et al. 2020, section 2.3",
        needs="maps",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return score_images(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        sizes = np.sort(_magnitudes(batch), axis=1)
        n = sizes.shape[1]
        weights = 2 * np.arange(1, n + 1) - n - 1
        return (weights * sizes).sum(axis=1) / (n * sizes.sum(axis=1))


@register("entropy_complexity")
@dataclass(frozen=True)
class EntropyComplexity:
    """Entropy of the magnitudes: `-Σ_i p_i ln p_i`, `p_i = |R_i| / Σ_j |R_j|`, in nats.

    A map of a single pixel scores 0, a map of `n` equal magnitudes `ln n`.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="complexity",
        higher_is_better=False,
        shows="over how many pixels the map distributes its magnitude: e to the power of the score",
        caveat=_CAVEAT,
        reference="Bhatt et al. 2020, section 4",
        needs="maps",
        range=(0, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return score_images(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        sizes = _magnitudes(batch)
        p = sizes / sizes.sum(axis=1, keepdims=True)
        return -(p * np.log(p, out=np.zeros_like(p), where=p > 0)).sum(axis=1)


@register("effective_complexity")
@dataclass(frozen=True)
class EffectiveComplexity(Hyperparameters):
    """Number of pixels above a share of the largest magnitude: `#{i: |R_i| > ε max_j |R_j|}`.

    The threshold is relative, so the unit of the map makes no difference.

    Attributes:
        epsilon: The share `ε`, in [0, 1).
    """

    epsilon: Threshold = 0.01

    about: ClassVar[MetricAbout] = MetricAbout(
        family="complexity",
        higher_is_better=False,
        shows="how many pixels have noticeable relevance",
        caveat=_CAVEAT,
        reference="Nguyen and Martínez 2020, section 3",
        needs="maps",
        range=(1, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return score_images(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        sizes = _magnitudes(batch)
        relevant = sizes > self.epsilon * sizes.max(axis=1, keepdims=True)
        return relevant.sum(axis=1).astype(np.float64)


def _magnitudes(batch: ExplainedBatch) -> Values:
    """Return the magnitude `|R|` of every pixel, `(N, n)`."""
    return np.abs(batch.relevance).reshape(len(batch), -1)
