"""Faithfulness as a correlation: does the score fall by as much as a map says was taken away?

A subset of an image's features is set to a baseline, the score falls, and the map says by how much
it should have. Correlations ask for the same order and proportion only, not for the same scale.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.parameters import check_counts, check_pixels, check_seed
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
    measured,
    register,
)
from mnist_xai.quality.statistics import (
    Values,
    correlation,
)

Subsets = NDArray[np.bool_]
Measure = Callable[[ExplainedBatch], Values | tuple[Values, Values]]

_OUTSIDE = (
    "the network, off what it was trained on, reacts to the hole and not to what is missing; "
    "where the baseline is the image's own background only the rest can count, and a map as blind "
    "as the image itself scores well"
)
_ROUND_OFF = 8 * float(np.finfo(np.float32).eps)  # Of scores, which are float32.
_CELLS = 2**24  # Of a table of masks that is held at a time.


@register("faithfulness_correlation")
@dataclass(frozen=True)
class FaithfulnessCorrelation:
    """`corr_S(Σ_{i∈S} R_i, f(x) - f(x with x_S at the baseline))` over random subsets `S`.

    All subsets have the same number of features. They are drawn once from the seed and are the
    same for every image (Quantus draws them anew for each).

    Attributes:
        share: Share of the features in a subset, in (0, 1).
        subsets: Number of subsets.
        features: What is switched off together.
        baseline: The value of what is switched off, in [0, 1].
        seed: Seed of the subsets.
    """

    share: float = 0.25
    subsets: int = 256
    features: Features = field(default_factory=Pixels)
    baseline: float = 0.0
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="whether parts of the image that hold more relevance cost more of the score",
        caveat=_OUTSIDE,
        reference="Bhatt et al. 2020, faithfulness `µ_F`",
        needs="network",
        range=(-1, 1),
    )

    def __post_init__(self) -> None:
        _check_shares(share=self.share)
        _check_draws(self.subsets, self.baseline)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        labels = _labels(self.features, batch)
        return _correlated(batch, self._measure, labels, self.baseline)

    def _measure(self, batch: ExplainedBatch) -> Values:
        labels = _labels(self.features, batch)
        off = random_subsets(
            np.random.default_rng(self.seed), self.subsets, labels.max() + 1, self.share
        )
        return _answers(batch, off, labels, self.baseline)


@register("faithfulness_estimate")
@dataclass(frozen=True)
class FaithfulnessEstimate:
    """`corr_i(R_i, f(x) - f(x with x_i at the baseline))` over all features `i`, one at a time.

    To take several places in a step, say which with `features`: steps in the order of the map,
    which Quantus takes, are chosen by what they are to test.

    Attributes:
        features: What is switched off together.
        baseline: The value of what is switched off, in [0, 1].
    """

    features: Features = field(default_factory=Pixels)
    baseline: float = 0.0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="whether features of more relevance, removed alone, cost more of the score",
        caveat="what counts is spread over features that stand in for one another; " + _OUTSIDE,
        reference="Alvarez-Melis and Jaakkola 2018, faithfulness",
        needs="network",
        range=(-1, 1),
    )

    def __post_init__(self) -> None:
        check_pixels(baseline=self.baseline)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        labels = _labels(self.features, batch)
        return _correlated(batch, self._measure, labels, self.baseline)

    def _measure(self, batch: ExplainedBatch) -> Values:
        labels = _labels(self.features, batch)
        count = labels.max() + 1
        step = max(1, _CELLS // count)
        every = np.arange(count)
        drops = [
            score_drops(batch, every[k : k + step, None] == every, labels, self.baseline)
            for k in range(0, count, step)
        ]
        relevance = summed(batch.places, labels)
        return _correlation(batch, relevance, np.concatenate(drops, axis=1))


@register("sensitivity_n")
@dataclass(frozen=True)
class SensitivityN:
    """Mean over `n` of `corr_S(Σ_{i∈S} R_i, f(x) - f(x with x_S at the baseline))`, `|S| = n`.

    A map has the property sensitivity-n when the two are equal for every subset of `n` features;
    the correlation over random ones says how near it comes. The subsets are the same for every
    image. The curve in `Scores.curves` has a correlation for each size. (Quantus correlates over
    images, and the whole drop with the relevance of the last features removed.)

    Attributes:
        shares: Shares of the features in a subset, each in (0, 1).
        subsets: Number of subsets of each size.
        features: What is switched off together.
        baseline: The value of what is switched off, in [0, 1].
        seed: Seed of the subsets.
    """

    shares: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
    subsets: int = 100
    features: Features = field(default_factory=Pixels)
    baseline: float = 0.0
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="the same as faithfulness correlation, from few features missing to nearly all",
        caveat=_OUTSIDE,
        reference="Ancona et al. 2018, definition of sensitivity-n",
        needs="network",
        range=(-1, 1),
    )

    def __post_init__(self) -> None:
        if not isinstance(self.shares, tuple) or not self.shares:
            raise ValueError(f"shares: expected a tuple of at least one; got {self.shares!r}")
        for share in self.shares:
            _check_shares(shares=share)
        _check_draws(self.subsets, self.baseline)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        labels = _labels(self.features, batch)
        return _correlated(batch, self._measure, labels, self.baseline)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        labels = _labels(self.features, batch)
        rng = np.random.default_rng(self.seed)
        drawn = (random_subsets(rng, self.subsets, labels.max() + 1, s) for s in self.shares)
        curves = [_answers(batch, off, labels, self.baseline) for off in drawn]
        return np.mean(curves, axis=0), np.stack(curves, axis=1)


def random_subsets(rng: np.random.Generator, subsets: int, count: int, share: float) -> Subsets:
    """Draw subsets of a share of the features, at least one and never all, `(subsets, count)`."""
    size = min(max(1, round(share * count)), count - 1)
    chosen = np.argsort(rng.random((subsets, count)), axis=1)[:, :size]
    off = np.zeros((subsets, count), np.bool_)
    np.put_along_axis(off, chosen, values=True, axis=1)
    return off


def score_drops(batch: ExplainedBatch, off: Subsets, labels: Labels, baseline: float) -> Values:
    """`f(x) - f(x with x_S at the baseline)` for each image and each row `S` of `off`: `(N, K)`."""
    kept = np.concatenate([np.ones((1, off.shape[1]), np.bool_), ~off])
    scores = scores_of_kept(batch, kept, labels, baseline)
    return scores[:, :1] - scores[:, 1:]


def scores_of_kept(batch: ExplainedBatch, kept: Subsets, labels: Labels, baseline: float) -> Values:
    """`f(x with all but x_S at the baseline)` for each image and row `S` of `kept`: `(N, K)`.

    Computed once for all methods whose batches share a memory.
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

    return batch.once(("scores of kept", digest(np.packbits(kept), labels), baseline), scores)


def blank_images(batch: ExplainedBatch, labels: Labels, baseline: float) -> Refusals:
    """Why images that are the baseline everywhere have no score."""
    rows = np.flatnonzero(~present(batch.images, labels, baseline).any(axis=1))
    return {int(row): f"the image is {baseline:g}, the baseline, everywhere" for row in rows}


def _answers(batch: ExplainedBatch, off: Subsets, labels: Labels, baseline: float) -> Values:
    relevance = summed(batch.places, labels)
    drops = score_drops(batch, off, labels, baseline)
    return _correlation(batch, relevance @ off.T.astype(np.float64), drops)


def _correlation(batch: ExplainedBatch, expected: Values, drops: Values) -> Values:
    """Pearson's correlation, NaN where the score changes by no more than round-off."""
    scale = np.abs(batch.scores(batch.images)) + np.abs(drops).max(axis=1)
    dead = np.ptp(drops, axis=1) <= _ROUND_OFF * scale
    return np.where(dead, np.nan, correlation(expected, drops))


def _correlated(batch: ExplainedBatch, measure: Measure, labels: Labels, baseline: float) -> Scores:
    """The scores, with a reason for each image that has none."""
    refused = blank_images(batch, labels, baseline)
    with np.errstate(invalid="ignore"):  # Of maps that are not finite: they are refused anyway.
        equal = np.ptp(summed(batch.places, labels), axis=1) == 0
    for row in np.flatnonzero(equal):
        refused.setdefault(int(row), "its map gives the same to every feature")
    why = "its score, or its relevance, is the same whichever subset is missing"
    return measured(batch, measure, refused, undefined=why)


def _labels(features: Features, batch: ExplainedBatch) -> Labels:
    labels = features.labels(*batch.height_width)
    if not labels.any():
        raise ValueError(f"features: expected at least 2; {features} makes one of the whole image")
    return labels


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(f"{name}: expected a share in (0, 1); got {share}")


def _check_draws(subsets: int, baseline: float) -> None:
    check_counts(2, subsets=subsets)  # To correlate over.
    check_pixels(baseline=baseline)
