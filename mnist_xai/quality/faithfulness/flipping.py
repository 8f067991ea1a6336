"""Faithfulness by perturbation: how a score changes when pixels are exchanged in a map's order.

`mnist_xai.quality.faithfulness.curves` explains which score is used and how ties are broken.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.parameters import Count, Hyperparameters
from mnist_xai.interpret.methods.perturbation.features import Labels, Patches, Pixels, summed
from mnist_xai.quality.base import (
    ExplainedBatch,
    MetricAbout,
    Refusals,
    Scores,
    register,
    score_images,
)
from mnist_xai.quality.faithfulness.curves import (
    RemovalOrder,
    about_for_order,
    area,
    bounds_of,
    constant_maps,
    exchange_curves,
    order_positions,
    unchangeable_images,
)
from mnist_xai.quality.faithfulness.removal import Baseline, Removal, Uniform
from mnist_xai.quality.statistics import Values

HOLES_CAVEAT = "the network also reacts to the holes, which no training image has"

_FLIPPING = MetricAbout(
    family="faithfulness",
    higher_is_better=False,
    shows="how high the score stays while pixels are removed in the order of the map",
    caveat=HOLES_CAVEAT,
    reference="Bach et al. 2015, pixel-flipping; Petsiuk et al. 2018, deletion",
    needs="network",
)


@register("pixel_flipping")
@dataclass(frozen=True)
class PixelFlipping(Hyperparameters):
    """Area under the deletion curve: `∫₀¹ S_c(x^(q)) dq`, by trapezoids.

    `x^(q)` is the image without the share `q` of its pixels, the most relevant ones first. The
    curve begins with the whole image (Quantus's begins after the first step). Its x-axis is the
    share of pixels, not the number of steps.

    Attributes:
        step: Number of pixels removed in each step; the last step may have fewer. None for the
            number of pixels in a row.
        order: Whether the `"most"` or the `"least"` relevant pixel is removed first. For
            `"least"`, higher scores are better.
        removal: How removed pixels are filled.
    """

    step: Count | None = None
    order: RemovalOrder = "most"
    removal: Removal = field(default_factory=Baseline)

    @property
    def about(self) -> MetricAbout:
        """Description of the metric in this order."""
        return about_for_order(_FLIPPING, self.order)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the scores after each step."""
        labels = Pixels().labels(*batch.height_width)
        bounds = _bounds_in_pixels(batch, self.step)

        def measure(scorable: ExplainedBatch) -> tuple[Values, Values]:
            curves = removal_curves(scorable, labels, bounds, self.removal, order=self.order)
            return area(curves, bounds), curves

        return score_images(batch, measure, curve_refusals(batch, labels, self.removal))


@register("insertion")
@dataclass(frozen=True)
class Insertion(Hyperparameters):
    """Area under the insertion curve: `∫₀¹ S_c(x^(q)) dq`, by trapezoids.

    `x^(q)` has the share `q` of the image's pixels, the most relevant ones first. All other pixels
    are those of a start image.

    Attributes:
        step: Number of pixels inserted in each step; the last step may have fewer. None for the
            number of pixels in a row.
        start: The image before any pixel is inserted. The paper uses the blurred image, `Blur()`.
            The default is black: the background of MNIST, which shows no shape.
    """

    step: Count | None = None
    start: Removal = field(default_factory=Baseline)

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="how early the score rises while pixels are inserted in the order of the map",
        caveat=HOLES_CAVEAT,
        reference="Petsiuk et al. 2018, insertion",
        needs="network",
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the scores after each step."""
        labels = Pixels().labels(*batch.height_width)
        bounds = _bounds_in_pixels(batch, self.step)

        def measure(scorable: ExplainedBatch) -> tuple[Values, Values]:
            positions = order_positions(summed(scorable.relevance, labels))
            images = scorable.images
            curves = _mean(
                exchange_curves(scorable, start, images, positions, bounds, labels)
                for start in self.start.fills(images)
            )
            return area(curves, bounds), curves

        return score_images(batch, measure, curve_refusals(batch, labels, self.start))


@register("selectivity")
@dataclass(frozen=True)
class Selectivity(Hyperparameters):
    """Area under the curve while patches are removed: `∫₀¹ S_c(x^(q)) dq`, by trapezoids.

    `x^(q)` is the image without the share `q` of its square patches, those with the largest sum of
    relevance first. The curve begins with the whole image (Quantus's begins after the first patch).

    Attributes:
        side: Side of a patch in pixels; by default a seventh of the image's shorter side, but at
            least 4.
        removal: How removed patches are filled.
    """

    side: Count | None = None
    removal: Removal = field(default_factory=Baseline)

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=False,
        shows="how high the score stays while patches are removed in the order of the map",
        caveat=HOLES_CAVEAT,
        reference="Montavon et al. 2018, section 7.2",
        needs="network",
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the scores after each patch."""
        labels = Patches(self.side).labels(*batch.height_width)
        bounds = bounds_of(int(labels.max()) + 1, 1)

        def measure(scorable: ExplainedBatch) -> tuple[Values, Values]:
            curves = removal_curves(scorable, labels, bounds, self.removal)
            return area(curves, bounds), curves

        return score_images(batch, measure, curve_refusals(batch, labels, self.removal))


_REGIONS = MetricAbout(
    family="faithfulness",
    higher_is_better=True,
    shows="how far the score falls on average while patches are perturbed in the map's order",
    caveat=HOLES_CAVEAT,
    reference="Samek et al. 2017, region perturbation and the AOPC",
    needs="network",
)


@register("region_perturbation")
@dataclass(frozen=True)
class RegionPerturbation(Hyperparameters):
    """Area over the perturbation curve: `1/(L+1) Σ_{k=0}^{L} (S_c(x^(0)) - S_c(x^(k)))`.

    `x^(k)` is the image with `k` square patches perturbed, those with the largest sum of relevance
    first. Higher is better, because the score should fall (Quantus says that lower is better).

    Attributes:
        side: Side of a patch in pixels; by default a seventh of the image's shorter side, but at
            least 4. The paper uses 9, for images of 224 pixels and more.
        steps: The number `L` of patches perturbed; None, or too large a number, for all patches.
        order: Whether the `"most"` or the `"least"` relevant patch is perturbed first. For
            `"least"`, lower scores are better.
        removal: How perturbed patches are filled; scores are averaged over its draws.
    """

    side: Count | None = None
    steps: Count | None = None
    order: RemovalOrder = "most"
    removal: Removal = field(default_factory=Uniform)

    @property
    def about(self) -> MetricAbout:
        """Description of the metric in this order."""
        return about_for_order(_REGIONS, self.order)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the scores after each patch."""
        labels = Patches(self.side).labels(*batch.height_width)
        bounds = bounds_of(int(labels.max()) + 1, 1)[
            : None if self.steps is None else self.steps + 1
        ]

        def measure(scorable: ExplainedBatch) -> tuple[Values, Values]:
            curves = removal_curves(scorable, labels, bounds, self.removal, order=self.order)
            return curves[:, 0] - curves.mean(axis=1), curves

        return score_images(batch, measure, curve_refusals(batch, labels, self.removal))


def removal_curves(
    batch: ExplainedBatch,
    labels: Labels,
    bounds: NDArray[np.intp],
    removal: Removal,
    *,
    order: RemovalOrder = "most",
    values: Values | None = None,
) -> Values:
    """Return the scores while features are removed, `(N, K + 1)`, averaged over the draws.

    Args:
        batch: The images and their maps.
        labels: The feature of each pixel, `(H, W)`.
        bounds: Number of features removed after each step, `(K + 1,)`.
        removal: How removed features are filled.
        order: Which features are removed first.
        values: Values that order the features, `(N, F)`; by default their summed relevance.
    """
    positions = order_positions(
        summed(batch.relevance, labels) if values is None else values, order
    )
    fills = removal.fills(batch.images)
    return _mean(exchange_curves(batch, batch.images, f, positions, bounds, labels) for f in fills)


def curve_refusals(
    batch: ExplainedBatch, labels: Labels, removal: Removal, values: Values | None = None
) -> Refusals:
    """Return the refusals of images without a curve: constant maps and unchangeable images."""
    values = summed(batch.relevance, labels) if values is None else values
    return constant_maps(values) | unchangeable_images(batch, removal.fills(batch.images))


def _mean(curves: Iterable[Values]) -> Values:
    """Return the mean over draws; only one draw is in memory at a time."""
    total, count = np.zeros(()), 0
    for curve in curves:
        total, count = total + curve, count + 1
    return total / count


def _bounds_in_pixels(batch: ExplainedBatch, step: int | None) -> NDArray[np.intp]:
    height, width = batch.height_width
    return bounds_of(height * width, step or width)
