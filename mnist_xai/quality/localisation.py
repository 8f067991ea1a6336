"""Localisation: whether the relevance lies where the evidence is known to lie.

A mask marks the evidence. It is the user's, not the network's: a network that looks elsewhere is
explained rightly by a map that does so too, and such a map scores badly here.

An empty mask marks nothing and a full one everything: both are refused. Of places with the same
relevance none comes first; where the order is cut among them, they count as a random choice
does on average.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from mnist_xai.interpret.core.parameters import check_at_least, check_counts
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Refusals, Scores, measured, register
from mnist_xai.quality.statistics import Values

Marked = NDArray[np.bool_]

_ELSEWHERE = "the network finds its evidence elsewhere, and the map rightly says so"


@register("pointing_game")
@dataclass(frozen=True)
class PointingGame:
    """1 where the place of the most relevance lies in the mask, or near it, and 0 elsewhere.

    Where several places share the maximum, the share of them that hit. A map without positive
    relevance points nowhere and is refused. (Quantus counts any of several maxima, and an empty
    mask, as a hit.)

    Attributes:
        tolerance: How far from the mask, in pixels, the place may lie.
    """

    tolerance: float = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="whether the map's one largest value lies where the evidence does",
        caveat=f"one place speaks for the whole map; {_ELSEWHERE}",
        reference="Zhang et al. 2018, section 4.1, the pointing game",
        needs="masks",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        check_at_least(0, tolerance=self.tolerance)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        masks = _masks(batch)
        if self.tolerance:
            masks = np.stack([self._widened(mask) for mask in masks])
            batch = dataclasses.replace(batch, masks=masks)
        return _localised(batch, self._measure, _nothing_positive(batch))

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        return _hits_of_top(relevance, marked, np.ones(len(batch), np.intp))

    def _widened(self, mask: Marked) -> Marked:
        if not mask.any():  # The distance to nothing is not defined.
            return mask
        near: Marked = ndimage.distance_transform_edt(~mask) <= self.tolerance
        return near


@register("top_k_intersection")
@dataclass(frozen=True)
class TopKIntersection:
    """Share of the `k` places of the most relevance that lie in the mask.

    The order is that of the signed relevance. A mask `M` of fewer than `k` places allows `|M| / k`
    at most; a map that knows nothing of it reaches its share of the image.

    Attributes:
        k: Number of places.
    """

    k: int = 50

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="how much of the top of a map lies where the evidence does",
        caveat=f"masks of unequal size are compared; {_ELSEWHERE}",
        reference="Theiner et al. 2021, concept influence, undivided by the mask's share",
        needs="masks",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        check_counts(k=self.k)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        places = int(np.prod(batch.height_width))
        if self.k > places:
            raise ValueError(f"k: expected at most the {places} places; got {self.k}")
        return _localised(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        return _hits_of_top(relevance, marked, np.full(len(batch), self.k)) / self.k


@register("relevance_mass")
@dataclass(frozen=True)
class RelevanceMass:
    """Mass accuracy: `Σ_{i∈M} R_i⁺ / Σ_i R_i⁺`, `R⁺ = max(R, 0)`, for a mask `M`.

    Negative relevance speaks against the class and does not count. (Quantus sums both signs, which
    cancel: shares are no longer in [0, 1].) A map without positive relevance is refused.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="how much of the positive relevance lies where the evidence does",
        caveat=f"much relevance of both signs cancels, and half of it is read; {_ELSEWHERE}",
        reference="Arras et al. 2022, relevance mass accuracy",
        needs="masks",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _localised(batch, self._measure, _nothing_positive(batch), constant=True)

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        positive = np.maximum(relevance, 0)
        return (positive * marked).sum(axis=1) / positive.sum(axis=1)


@register("relevance_rank")
@dataclass(frozen=True)
class RelevanceRank:
    """Rank accuracy: share of the `|M|` places of the most relevance that lie in the mask `M`.

    The order is that of the signed relevance: what speaks against the class comes last, behind what
    says nothing.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="whether the evidence comes before everything else in the order of the map",
        caveat=_ELSEWHERE,
        reference="Arras et al. 2022, relevance rank accuracy",
        needs="masks",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _localised(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        sizes = marked.sum(axis=1)
        return _hits_of_top(relevance, marked, sizes) / sizes


@register("localisation_auc")
@dataclass(frozen=True)
class LocalisationAUC:
    """`P(R_i > R_j) + P(R_i = R_j) / 2` for a place `i` in the mask and a place `j` outside.

    The area under the ROC curve of the signed relevance as a score for the mask. 0.5 is a map that
    knows nothing of it.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="how well the map tells the evidence from the rest, whatever the threshold",
        caveat=f"a mask is small: many places outside are easy to tell; {_ELSEWHERE}",
        reference="Fawcett 2006, section 7",
        needs="masks",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _localised(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        ranks = stats.rankdata(relevance, axis=1)
        inside, outside = marked.sum(axis=1), (~marked).sum(axis=1)
        return ((ranks * marked).sum(axis=1) - inside * (inside + 1) / 2) / (inside * outside)


def _localised(
    batch: ExplainedBatch,
    measure: Callable[[ExplainedBatch], Values],
    refused: Refusals | None = None,
    *,
    constant: bool = False,
) -> Scores:
    """Score the images whose mask, and whose map unless it may be constant, can tell places."""
    marked = _masks(batch).reshape(len(batch), -1)
    places = batch.places.reshape(len(batch), -1)
    reasons = dict(refused or {})
    if not constant:
        equal = np.flatnonzero((places == places[:, :1]).all(axis=1))
        reasons |= {int(row): "its map is the same everywhere" for row in equal}
    for row in np.flatnonzero(marked.all(axis=1)):
        reasons[int(row)] = "its mask covers the whole image"
    for row in np.flatnonzero(~marked.any(axis=1)):
        reasons[int(row)] = "its mask is empty"
    return measured(batch, measure, reasons)


def _hits_of_top(relevance: Values, marked: Marked, counts: NDArray[np.intp]) -> Values:
    """How many of the `counts` places of the most relevance are marked; ties by their mean."""
    # Ascending: the least of the top `k` is the k-th from the end.
    order = np.sort(relevance, axis=1)
    least = np.take_along_axis(order, order.shape[1] - counts[:, np.newaxis], axis=1)
    above, tied = relevance > least, relevance == least
    left = counts - above.sum(axis=1)
    return (marked & above).sum(axis=1) + left * (marked & tied).sum(axis=1) / tied.sum(axis=1)


def _masks(batch: ExplainedBatch) -> Marked:
    if batch.masks is None:
        raise ValueError(
            "masks: expected booleans (N, H, W), true where the evidence lies; the batch has none"
        )
    return batch.masks


def _flat(batch: ExplainedBatch) -> tuple[Values, Marked]:
    """Relevance and mask of every place, `(N, n)`."""
    return batch.places.reshape(len(batch), -1), _masks(batch).reshape(len(batch), -1)


def _nothing_positive(batch: ExplainedBatch) -> Refusals:
    rows = np.flatnonzero(~(batch.places > 0).any(axis=(1, 2)))
    return {int(row): "it has no positive relevance" for row in rows}
