"""Localisation: whether the relevance lies where the evidence is known to lie.

A mask marks the evidence. The user chooses it, not the network: if the network uses evidence
elsewhere, a correct map lies elsewhere too and scores badly here.

Images with an empty or a full mask are refused. Pixels of equal relevance have no order: where a
metric takes only some of them, they count as a random choice among them does on average.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from mnist_xai.interpret.core.parameters import Count, Hyperparameters, NonNegative
from mnist_xai.quality.base import (
    ExplainedBatch,
    MetricAbout,
    Refusals,
    Scores,
    register,
    score_images,
)
from mnist_xai.quality.statistics import Values

Marked = NDArray[np.bool_]

_CAVEAT = "if the network uses evidence outside the mask, a correct map scores badly"


@register("pointing_game")
@dataclass(frozen=True)
class PointingGame(Hyperparameters):
    """Whether the most relevant pixel lies in the mask `M` or near it: `[argmax_i R_i ∈ M]`.

    If several pixels share the maximum, the score is the share of them that hit. Maps without
    positive relevance are refused. (Quantus counts a hit if any of several maxima hits, and if the
    mask is empty.)

    Attributes:
        tolerance: The largest distance from the mask that counts as a hit, in pixels.
    """

    tolerance: NonNegative = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="whether the largest value of the map lies where the evidence does",
        caveat=f"it judges the whole map by a single pixel; {_CAVEAT}",
        reference="Zhang et al. 2018, section 4.1, the pointing game",
        needs="masks",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        masks = _masks(batch)
        if self.tolerance:
            masks = np.stack([self._widened(mask) for mask in masks])
            batch = dataclasses.replace(batch, masks=masks)
        return _score_localisation(batch, self._measure, _maps_without_positive(batch))

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        return _hits_of_top(relevance, marked, np.ones(len(batch), np.intp))

    def _widened(self, mask: Marked) -> Marked:
        if not mask.any():  # The distance to an empty mask is not defined.
            return mask
        near: Marked = ndimage.distance_transform_edt(~mask) <= self.tolerance
        return near


@register("top_k_intersection")
@dataclass(frozen=True)
class TopKIntersection(Hyperparameters):
    """Share of the `k` most relevant pixels that lie in the mask `M`: `|top_k(R) ∩ M| / k`.

    Pixels are ordered by signed relevance. If `M` has fewer than `k` pixels, the best possible
    score is `|M| / k`. A random map scores the mask's share of the image on average.

    Attributes:
        k: Number of pixels.
    """

    k: Count = 50

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="what share of the most relevant pixels lies where the evidence does",
        caveat=f"scores of masks of different sizes cannot be compared; {_CAVEAT}",
        reference="Theiner et al. 2021, concept influence, undivided by the mask's share",
        needs="masks",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        pixels = int(np.prod(batch.height_width))
        if self.k > pixels:
            raise ValueError(f"k: expected at most the {pixels} pixels of an image; got {self.k}")
        return _score_localisation(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        return _hits_of_top(relevance, marked, np.full(len(batch), self.k)) / self.k


@register("relevance_mass")
@dataclass(frozen=True)
class RelevanceMass:
    """Mass accuracy: `Σ_{i∈M} R_i⁺ / Σ_i R_i⁺`, `R⁺ = max(R, 0)`, for a mask `M`.

    Negative relevance is evidence against the class and does not count. Maps without positive
    relevance are refused. (Quantus sums both signs; they cancel, so its scores are not in [0, 1].)
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="what share of the positive relevance lies where the evidence does",
        caveat=f"it ignores negative relevance, even where that almost cancels the positive; "
        f"{_CAVEAT}",
        reference="Arras et al. 2022, relevance mass accuracy",
        needs="masks",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _score_localisation(
            batch, self._measure, _maps_without_positive(batch), constant=True
        )

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        positive = np.maximum(relevance, 0)
        return (positive * marked).sum(axis=1) / positive.sum(axis=1)


@register("relevance_rank")
@dataclass(frozen=True)
class RelevanceRank:
    """Rank accuracy: `|top_|M|(R) ∩ M| / |M|`, the share of the top pixels in the mask `M`.

    Pixels are ordered by signed relevance: evidence against the class comes last, after pixels
    without relevance.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="whether the map ranks the evidence above everything else",
        caveat=_CAVEAT,
        reference="Arras et al. 2022, relevance rank accuracy",
        needs="masks",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _score_localisation(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        sizes = marked.sum(axis=1)
        return _hits_of_top(relevance, marked, sizes) / sizes


@register("localisation_auc")
@dataclass(frozen=True)
class LocalisationAUC:
    """`P(R_i > R_j) + P(R_i = R_j) / 2` for a pixel `i` inside the mask and a pixel `j` outside.

    This is the area under the ROC curve of a classifier that predicts the mask by the signed
    relevance. A random map scores 0.5 on average.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=True,
        shows="how well the map separates the evidence from the rest, over all thresholds",
        caveat=f"a small mask makes high scores easy, because most pixels outside are easy to "
        f"tell apart; {_CAVEAT}",
        reference="Fawcett 2006, section 7",
        needs="masks",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _score_localisation(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> Values:
        relevance, marked = _flat(batch)
        ranks = stats.rankdata(relevance, axis=1)
        inside, outside = marked.sum(axis=1), (~marked).sum(axis=1)
        return ((ranks * marked).sum(axis=1) - inside * (inside + 1) / 2) / (inside * outside)


def _score_localisation(
    batch: ExplainedBatch,
    measure: Callable[[ExplainedBatch], Values],
    refused: Refusals | None = None,
    *,
    constant: bool = False,
) -> Scores:
    """Score the images; refuse empty and full masks, and constant maps unless `constant`."""
    relevance, marked = _flat(batch)
    reasons = dict(refused or {})
    if not constant:
        equal = np.flatnonzero((relevance == relevance[:, :1]).all(axis=1))
        reasons |= {int(row): "its map is the same everywhere" for row in equal}
    for row in np.flatnonzero(marked.all(axis=1)):
        reasons[int(row)] = "its mask covers the whole image"
    for row in np.flatnonzero(~marked.any(axis=1)):
        reasons[int(row)] = "its mask is empty"
    return score_images(batch, measure, reasons)


def _hits_of_top(relevance: Values, marked: Marked, counts: NDArray[np.intp]) -> Values:
    """Return how many of the `counts` most relevant pixels are marked, `(N,)`.

    Of pixels tied at the limit, the expected number under a random choice counts.
    """
    ascending = np.sort(relevance, axis=1)
    limit = np.take_along_axis(ascending, ascending.shape[1] - counts[:, np.newaxis], axis=1)
    above, tied = relevance > limit, relevance == limit
    left = counts - above.sum(axis=1)
    return (marked & above).sum(axis=1) + left * (marked & tied).sum(axis=1) / tied.sum(axis=1)


def _masks(batch: ExplainedBatch) -> Marked:
    if batch.masks is None:
        raise ValueError(
            "masks: expected booleans (N, H, W), true where the evidence lies; the batch has none"
        )
    return batch.masks


def _flat(batch: ExplainedBatch) -> tuple[Values, Marked]:
    """Return relevance and mask of every pixel, `(N, n)` each."""
    return batch.relevance.reshape(len(batch), -1), _masks(batch).reshape(len(batch), -1)


def _maps_without_positive(batch: ExplainedBatch) -> Refusals:
    rows = np.flatnonzero(~(batch.relevance > 0).any(axis=(1, 2)))
    return {int(row): "it has no positive relevance" for row in rows}
