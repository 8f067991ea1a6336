"""Faithfulness as a correlation between a map's relevance and the score's changes.

A subset of an image's features is set to a baseline. The map predicts by how much the score falls:
by the summed relevance of the subset. The correlation with the real drops tests the proportions
only, not the scale.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.parameters import Hyperparameters, Pixel, Seed
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Labels,
    Pixels,
    present,
    summed,
)
from mnist_xai.interpret.methods.perturbation.masking import scores_of_masks
from mnist_xai.quality.base import (
    ExplainedBatch,
    MetricAbout,
    Refusals,
    Scores,
    digest,
    register,
    score_images,
)
from mnist_xai.quality.parameters import AtLeastTwo, OpenShare, check_open_shares
from mnist_xai.quality.statistics import Values, correlation

Subsets = NDArray[np.bool_]
Measure = Callable[[ExplainedBatch], Values | tuple[Values, Values]]

_CAVEAT = (
    "the network has seen no images with holes, and may react to the hole instead of to what is "
    "missing; if the baseline is the image's background, only the foreground can change the "
    "score, so that even the image itself scores well as a map"
)
_ROUND_OFF = 8 * float(np.finfo(np.float32).eps)  # Scores are computed in float32.
_MASK_TABLE_CELLS = 2**24  # Bounds the memory of a table of masks.


@register("faithfulness_correlation")
@dataclass(frozen=True)
class FaithfulnessCorrelation(Hyperparameters):
    """`corr_S(Σ_{i∈S} R_i, f(x) - f(x with x_S at the baseline))` over random subsets `S`.

    All subsets have the same number of features. They are drawn once from the seed and are the
    same for every image (Quantus draws new ones for each image).

    Attributes:
        share: Share of the features in a subset, in (0, 1).
        subsets: Number of subsets, at least 2.
        features: How pixels are grouped into features.
        baseline: The value of removed features, in [0, 1].
        seed: Seed of the subsets.
    """

    share: OpenShare = 0.25
    subsets: AtLeastTwo = 256
    features: Features = field(default_factory=Pixels)
    baseline: Pixel = 0.0
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="whether the score falls more if more relevance is removed",
        caveat=_CAVEAT,
        reference="Bhatt et al. 2020, faithfulness `µ_F`",
        needs="network",
        range=(-1, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        labels = _labels(self.features, batch)
        return _score_correlations(batch, self._measure, labels, self.baseline)

    def _measure(self, batch: ExplainedBatch) -> Values:
        labels = _labels(self.features, batch)
        off = random_subsets(
            np.random.default_rng(self.seed), self.subsets, labels.max() + 1, self.share
        )
        return _subset_correlations(batch, off, labels, self.baseline)


@register("faithfulness_estimate")
@dataclass(frozen=True)
class FaithfulnessEstimate(Hyperparameters):
    """`corr_i(R_i, f(x) - f(x with x_i at the baseline))` over all features `i`, one at a time.

    Use `features` to remove several pixels together. (Quantus removes groups of pixels in the
    order of the map; so the map under test chooses the groups.)

    Attributes:
        features: How pixels are grouped into features.
        baseline: The value of removed features, in [0, 1].
    """

    features: Features = field(default_factory=Pixels)
    baseline: Pixel = 0.0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="whether the score falls more if a feature of more relevance is removed alone",
        caveat="if features are redundant, removing one of them changes little; " + _CAVEAT,
        reference="Alvarez-Melis and Jaakkola 2018, faithfulness",
        needs="network",
        range=(-1, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        labels = _labels(self.features, batch)
        return _score_correlations(batch, self._measure, labels, self.baseline)

    def _measure(self, batch: ExplainedBatch) -> Values:
        labels = _labels(self.features, batch)
        count = labels.max() + 1
        step = max(1, _MASK_TABLE_CELLS // count)
        numbers = np.arange(count)
        drops = [
            score_drops(batch, numbers[k : k + step, None] == numbers, labels, self.baseline)
            for k in range(0, count, step)
        ]
        relevance = summed(batch.relevance, labels)
        return _correlation(batch, relevance, np.concatenate(drops, axis=1))


@register("sensitivity_n")
@dataclass(frozen=True)
class SensitivityN(Hyperparameters):
    """Mean over `n` of `corr_S(Σ_{i∈S} R_i, f(x) - f(x with x_S at the baseline))`, `|S| = n`.

    A map has the property sensitivity-n if the two are equal for every subset of `n` features. The
    correlation over random subsets measures how close it comes. The subsets are the same for every
    image. `Scores.curves` holds one correlation for each size. (Quantus correlates over images,
    and compares the whole drop with the relevance of the features removed last.)

    Attributes:
        shares: Sizes of the subsets as shares of all features, each in (0, 1).
        subsets: Number of subsets of each size, at least 2.
        features: How pixels are grouped into features.
        baseline: The value of removed features, in [0, 1].
        seed: Seed of the subsets.
    """

    shares: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
    subsets: AtLeastTwo = 100
    features: Features = field(default_factory=Pixels)
    baseline: Pixel = 0.0
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="whether the score falls more if more relevance is removed, for small and large "
        "subsets",
        caveat=_CAVEAT,
        reference="Ancona et al. 2018, definition of sensitivity-n",
        needs="network",
        range=(-1, 1),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.shares, tuple) or not self.shares:
            raise ValueError(f"shares: expected a tuple of at least one; got {self.shares!r}")
        for share in self.shares:
            check_open_shares(shares=share)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        labels = _labels(self.features, batch)
        return _score_correlations(batch, self._measure, labels, self.baseline)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        labels = _labels(self.features, batch)
        rng = np.random.default_rng(self.seed)
        drawn = (random_subsets(rng, self.subsets, labels.max() + 1, s) for s in self.shares)
        curves = [_subset_correlations(batch, off, labels, self.baseline) for off in drawn]
        return np.mean(curves, axis=0), np.stack(curves, axis=1)


def random_subsets(rng: np.random.Generator, subsets: int, count: int, share: float) -> Subsets:
    """Draw subsets of a share of the features; each has at least one and never all of them.

    Args:
        rng: Source of the random numbers.
        subsets: Number of subsets, `K`.
        count: Number of features, `F`.
        share: Size of a subset as a share of the features.

    Returns:
        True for the features in each subset, `(K, F)`.
    """
    size = min(max(1, round(share * count)), count - 1)
    chosen = np.argsort(rng.random((subsets, count)), axis=1)[:, :size]
    off = np.zeros((subsets, count), np.bool_)
    np.put_along_axis(off, chosen, values=True, axis=1)
    return off


def score_drops(batch: ExplainedBatch, off: Subsets, labels: Labels, baseline: float) -> Values:
    """Return `f(x) - f(x with x_S at the baseline)` for each image and row `S` of `off`, `(N, K)`.

    Args:
        batch: The images.
        off: True for the features set to the baseline, `(K, F)`.
        labels: The feature of each pixel, `(H, W)`.
        baseline: Value of the removed features.
    """
    kept = np.concatenate([np.ones((1, off.shape[1]), np.bool_), ~off])
    scores = masked_scores(batch, kept, labels, baseline)
    return scores[:, :1] - scores[:, 1:]


def masked_scores(batch: ExplainedBatch, kept: Subsets, labels: Labels, baseline: float) -> Values:
    """Return `f(x with all but x_S at the baseline)` for all rows `S` of `kept`, `(N, K)`.

    Batches that share a cache compute it once.
    """

    def scores() -> Values:
        return scores_of_masks(
            batch.network,
            batch.images,
            batch.targets,
            kept,
            labels,
            baseline=baseline,
            score=batch.score,
        ).astype(np.float64)

    return batch.cached(("masked scores", digest(np.packbits(kept), labels), baseline), scores)


def blank_images(batch: ExplainedBatch, labels: Labels, baseline: float) -> Refusals:
    """Return the refusals of images that are the baseline everywhere."""
    rows = np.flatnonzero(~present(batch.images, labels, baseline).any(axis=1))
    return {int(row): f"the image is {baseline:g}, the baseline, everywhere" for row in rows}


def _subset_correlations(
    batch: ExplainedBatch, off: Subsets, labels: Labels, baseline: float
) -> Values:
    relevance = summed(batch.relevance, labels)
    drops = score_drops(batch, off, labels, baseline)
    return _correlation(batch, relevance @ off.T.astype(np.float64), drops)


def _correlation(batch: ExplainedBatch, expected: Values, drops: Values) -> Values:
    """Return Pearson's correlation, `(N,)`; NaN if the drops differ by round-off only."""
    scale = np.abs(batch.scores(batch.images)) + np.abs(drops).max(axis=1)
    constant = np.ptp(drops, axis=1) <= _ROUND_OFF * scale
    return np.where(constant, np.nan, correlation(expected, drops))


def _score_correlations(
    batch: ExplainedBatch, measure: Measure, labels: Labels, baseline: float
) -> Scores:
    """Score the images; refuse blank images and maps with equal relevance of all features."""
    refused = blank_images(batch, labels, baseline)
    with np.errstate(invalid="ignore"):  # `score_images` refuses maps that are not finite.
        equal = np.ptp(summed(batch.relevance, labels), axis=1) == 0
    for row in np.flatnonzero(equal):
        refused.setdefault(int(row), "its map gives every feature the same relevance")
    reason = "its score or its relevance is the same for all subsets"
    return score_images(batch, measure, refused, undefined=reason)


def _labels(features: Features, batch: ExplainedBatch) -> Labels:
    labels = features.labels(*batch.height_width)
    if not labels.any():
        raise ValueError(
            f"features: expected at least 2; the whole image is a single feature of {features}"
        )
    return labels
