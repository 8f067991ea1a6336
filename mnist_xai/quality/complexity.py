"""Complexity: how few places a map needs to say what it says.

These look at the map alone. A map of one random pixel is the simplest there is, so that none of
them says anything about the network.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, measured, register
from mnist_xai.quality.statistics import Values

_ALONE = "the map says little and is wrong: simple is not faithful"


@register("sparseness")
@dataclass(frozen=True)
class Sparseness:
    """Gini index of the magnitudes: `Σ_i (2i - n - 1) |R|_(i) / (n Σ_i |R|_i)`.

    `|R|_(i)` is the i-th smallest of `n` magnitudes. 0 is a map of equal magnitudes, `1 - 1/n`
    one of a single place.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="complexity",
        higher_is_better=True,
        shows="how unequally a map shares out its magnitude among the places",
        caveat=_ALONE,
        reference="Chalasani et al. 2020, section 2.3",
        needs="maps",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return measured(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        sizes = np.sort(_magnitudes(batch), axis=1)
        n = sizes.shape[1]
        weights = 2 * np.arange(1, n + 1) - n - 1
        return (weights * sizes).sum(axis=1) / (n * sizes.sum(axis=1))


@register("entropy_complexity")
@dataclass(frozen=True)
class EntropyComplexity:
    """Entropy of the shares: `-Σ_i p_i ln p_i`, `p_i = |R_i| / Σ_j |R_j|`, in nats.

    0 is a map of a single place, `ln n` one of equal magnitudes.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="complexity",
        higher_is_better=False,
        shows="over how many places, as e to this power, a map shares out its magnitude",
        caveat=_ALONE,
        reference="Bhatt et al. 2020, section 4",
        needs="maps",
        range=(0, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return measured(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        sizes = _magnitudes(batch)
        p = sizes / sizes.sum(axis=1, keepdims=True)
        return -(p * np.log(p, out=np.zeros_like(p), where=p > 0)).sum(axis=1)


@register("effective_complexity")
@dataclass(frozen=True)
class EffectiveComplexity:
    """Number of places that carry more than a share of the largest: `#{i: |R_i| > ε max_j |R_j|}`.

    The threshold is relative: an absolute one would count the unit of the map.

    Attributes:
        epsilon: The share `ε`, in [0, 1).
    """

    epsilon: float = 0.01

    about: ClassVar[MetricAbout] = MetricAbout(
        family="complexity",
        higher_is_better=False,
        shows="how many places a map needs",
        caveat=_ALONE,
        reference="Nguyen and Martínez 2020, section 3",
        needs="maps",
        range=(1, np.inf),
    )

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon: expected a share in [0, 1); got {self.epsilon}")

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return measured(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        sizes = _magnitudes(batch)
        enough = sizes > self.epsilon * sizes.max(axis=1, keepdims=True)
        return enough.sum(axis=1).astype(np.float64)


def _magnitudes(batch: ExplainedBatch) -> Values:
    """`|R|` of every place, `(N, n)`."""
    return np.abs(batch.places).reshape(len(batch), -1)
