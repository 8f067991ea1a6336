"""Faithfulness by place: what a score does when places are exchanged in the order of a map.

Which score, and how ties are broken, is said in `mnist_xai.quality.faithfulness.curves`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.parameters import check_counts
from mnist_xai.interpret.methods.perturbation.features import Labels, Patches, Pixels, summed
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Refusals, Scores, measured, register
from mnist_xai.quality.faithfulness.curves import (
    Order,
    area,
    bounds_of,
    check_order,
    exchange_curves,
    ranks,
    towards,
    without_change,
    without_order,
)
from mnist_xai.quality.faithfulness.removal import Baseline, Removal, Uniform
from mnist_xai.quality.statistics import Values

HOLES = "the network answers to the holes, which are like no image that it was trained on"

_FLIPPING = MetricAbout(
    family="faithfulness",
    higher_is_better=False,
    shows="how far the score stays up while places are taken away in the order of the map",
    caveat=HOLES,
    reference="Bach et al. 2015, pixel-flipping; Petsiuk et al. 2018, deletion",
    needs="network",
)


@register("pixel_flipping")
@dataclass(frozen=True)
class PixelFlipping:
    """Area under the deletion curve: `∫₀¹ S_c(x^(q)) dq`, by trapezoids.

    `x^(q)` is the image without the share `q` of its places, the most relevant ones first. The
    curve begins with the whole image (Quantus's begins after the first step) and its area is that
    over shares, not over numbers of steps.

    Attributes:
        step: Places taken away at a time, the last time maybe fewer; by default as many as a row
            has.
        order: Whether the `"most"` or the `"least"` relevant place is taken first. Of the latter
            more is better.
        removal: What is put in their place.
    """

    step: int | None = None
    order: Order = "most"
    removal: Removal = field(default_factory=Baseline)

    def __post_init__(self) -> None:
        _check_step(self.step)
        check_order(self.order)

    @property
    def about(self) -> MetricAbout:
        """What the metric promises, in this order."""
        return towards(_FLIPPING, self.order)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the scores after each step."""
        labels = Pixels().labels(*batch.height_width)
        bounds = _places(batch, self.step)

        def measure(kept: ExplainedBatch) -> tuple[Values, Values]:
            curves = removal_curves(kept, labels, bounds, self.removal, order=self.order)
            return area(curves, bounds), curves

        return measured(batch, measure, unfit(batch, labels, self.removal))


@register("insertion")
@dataclass(frozen=True)
class Insertion:
    """Area under the insertion curve: `∫₀¹ S_c(x^(q)) dq`, by trapezoids.

    `x^(q)` has the share `q` of the image's places, the most relevant ones first, and elsewhere
    what it starts from.

    Attributes:
        step: Places brought in at a time, the last time maybe fewer; by default as many as a row
            has.
        start: What the image is before any place is brought in. The paper's is the image itself,
            blurred: `Blur()`; a black one is the background of MNIST and shows no shape.
    """

    step: int | None = None
    start: Removal = field(default_factory=Baseline)

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="how early the score comes up when places are brought in in the order of the map",
        caveat=HOLES,
        reference="Petsiuk et al. 2018, insertion",
        needs="network",
    )

    def __post_init__(self) -> None:
        _check_step(self.step)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the scores after each step."""
        labels = Pixels().labels(*batch.height_width)
        bounds = _places(batch, self.step)

        def measure(kept: ExplainedBatch) -> tuple[Values, Values]:
            positions = ranks(summed(kept.places, labels))
            starts = self.start.fills(kept.images)
            curves = _mean(
                exchange_curves(kept, s, kept.images, positions, bounds, labels) for s in starts
            )
            return area(curves, bounds), curves

        return measured(batch, measure, unfit(batch, labels, self.start))


@register("selectivity")
@dataclass(frozen=True)
class Selectivity:
    """Area under the curve when patches are taken away: `∫₀¹ S_c(x^(q)) dq`, by trapezoids.

    `x^(q)` is the image without the share `q` of its square patches, those of the greatest summed
    relevance first. The curve begins with the whole image (Quantus's begins after the first patch).

    Attributes:
        side: Side of a patch in pixels.
        removal: What is put in their place.
    """

    side: int = 4
    removal: Removal = field(default_factory=Baseline)

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=False,
        shows="how far the score stays up while patches are taken away in the order of the map",
        caveat=HOLES,
        reference="Montavon et al. 2018, section 7.2",
        needs="network",
    )

    def __post_init__(self) -> None:
        check_counts(side=self.side)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the scores after each patch."""
        labels = Patches(self.side).labels(*batch.height_width)
        bounds = bounds_of(int(labels.max()) + 1, 1)

        def measure(kept: ExplainedBatch) -> tuple[Values, Values]:
            curves = removal_curves(kept, labels, bounds, self.removal)
            return area(curves, bounds), curves

        return measured(batch, measure, unfit(batch, labels, self.removal))


_REGIONS = MetricAbout(
    family="faithfulness",
    higher_is_better=True,
    shows="how far the score falls on average while patches are perturbed in the map's order",
    caveat=HOLES,
    reference="Samek et al. 2017, region perturbation and the AOPC",
    needs="network",
)


@register("region_perturbation")
@dataclass(frozen=True)
class RegionPerturbation:
    """Area over the perturbation curve: `1/(L+1) Σ_{k=0}^{L} (S_c(x^(0)) - S_c(x^(k)))`.

    `x^(k)` is the image with `k` square patches perturbed, those of the greatest summed relevance
    first. More is better, since the score should fall (Quantus calls less better).

    Attributes:
        side: Side of a patch in pixels; the paper's 9 are of images of 224 pixels and more.
        steps: The number `L` of patches perturbed; by default, and at most, all.
        order: Whether the `"most"` or the `"least"` relevant patch is perturbed first. Of the
            latter less is better.
        removal: What they are perturbed to; the mean is taken over its draws.
    """

    side: int = 4
    steps: int | None = None
    order: Order = "most"
    removal: Removal = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        check_counts(side=self.side, steps=1 if self.steps is None else self.steps)
        check_order(self.order)

    @property
    def about(self) -> MetricAbout:
        """What the metric promises, in this order."""
        return towards(_REGIONS, self.order)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the scores after each patch."""
        labels = Patches(self.side).labels(*batch.height_width)
        bounds = bounds_of(int(labels.max()) + 1, 1)[
            : None if self.steps is None else self.steps + 1
        ]

        def measure(kept: ExplainedBatch) -> tuple[Values, Values]:
            curves = removal_curves(kept, labels, bounds, self.removal, order=self.order)
            return curves[:, 0] - curves.mean(axis=1), curves

        return measured(batch, measure, unfit(batch, labels, self.removal))


def removal_curves(
    batch: ExplainedBatch,
    labels: Labels,
    bounds: NDArray[np.intp],
    removal: Removal,
    *,
    order: Order = "most",
    values: Values | None = None,
) -> Values:
    """Scores while features are taken away, `(N, K + 1)`, means over the draws of the removal.

    Args:
        batch: The maps on batch.
        labels: The feature of each pixel, `(H, W)`.
        bounds: Features taken away after each step, `(K + 1,)`.
        removal: What is put in their place.
        order: Which are taken first.
        values: What the features are ordered by, `(N, F)`; by default their summed relevance.
    """
    positions = ranks(summed(batch.places, labels) if values is None else values, order)
    fills = removal.fills(batch.images)
    return _mean(exchange_curves(batch, batch.images, f, positions, bounds, labels) for f in fills)


def unfit(
    batch: ExplainedBatch, labels: Labels, removal: Removal, values: Values | None = None
) -> Refusals:
    """What a curve cannot be drawn of: maps without an order, images without a change."""
    values = summed(batch.places, labels) if values is None else values
    return without_order(values) | without_change(batch, removal.fills(batch.images))


def _mean(curves: Iterable[Values]) -> Values:
    """Mean over draws, of which one at a time is held."""
    total, count = np.zeros(()), 0
    for curve in curves:
        total, count = total + curve, count + 1
    return total / count


def _places(batch: ExplainedBatch, step: int | None) -> NDArray[np.intp]:
    height, width = batch.height_width
    return bounds_of(height * width, step or width)


def _check_step(step: int | None) -> None:
    if step is not None:
        check_counts(step=step)
