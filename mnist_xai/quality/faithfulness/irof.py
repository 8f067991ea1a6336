"""Iterative removal of features (IROF): removes segments and uses scores relative to the first."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    FeaturesOfImages,
    Grid,
    Labels,
    summed,
)
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, register, score_images
from mnist_xai.quality.faithfulness.curves import area, bounds_of
from mnist_xai.quality.faithfulness.flipping import HOLES_CAVEAT, curve_refusals, removal_curves
from mnist_xai.quality.faithfulness.removal import Baseline, Removal
from mnist_xai.quality.statistics import Values


@register("irof")
@dataclass(frozen=True)
class IROF:
    """Area over the curve of relative scores: `1 - ∫₀¹ S_c(x^(q)) / S_c(x) dq`, by trapezoids.

    `x^(q)` is the image without the share `q` of its segments, those with the largest mean
    relevance first. The result is 0 if the score never falls, and nearly 1 if it falls to 0 at
    once. (Quantus subtracts the area under `L - 1` steps from `L`; it gives 1 if the score never
    falls.) Images whose score is not positive are refused, because a share of it has no meaning.

    Attributes:
        features: The segments. The default is a grid, because the paper's superpixels, here
            `Superpixels()`, merge into few on images of 28 pixels. `Segmentation` takes any others.
        removal: How removed segments are filled. The paper uses the mean of the data: on MNIST
            `Baseline(0.13)`.
    """

    features: Features = field(default_factory=Grid)
    removal: Removal = field(default_factory=Baseline)

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="what share of the score is lost while segments are removed in the map's order",
        caveat=HOLES_CAVEAT + "; a share of a logit is not a share of the evidence",
        reference="Rieger and Hansen 2020, iterative removal of features",
        needs="network",
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the undivided scores after each segment.

        With superpixels the curves differ in length, and are left out.
        """
        if not isinstance(self.features, FeaturesOfImages):
            return self._scores(batch, self.features.labels(*batch.height_width))
        each = [batch.take(slice(i, i + 1)) for i in range(len(batch))]
        found = [self._scores(one, self.features.labels_of(one.images[0])) for one in each]
        refused = {i: one.refused[0] for i, one in enumerate(found) if one.refused}
        return Scores(np.concatenate([one.values for one in found]), refused)

    def _scores(self, batch: ExplainedBatch, labels: Labels) -> Scores:
        bounds = bounds_of(int(labels.max()) + 1, 1)
        sizes = np.bincount(labels.ravel())

        def mean_relevance(some: ExplainedBatch) -> Values:
            return summed(some.relevance, labels) / sizes

        def measure(scorable: ExplainedBatch) -> tuple[Values, Values]:
            values = mean_relevance(scorable)
            curves = removal_curves(scorable, labels, bounds, self.removal, values=values)
            return 1 - area(curves, bounds) / curves[:, 0], curves

        refused = curve_refusals(batch, labels, self.removal, mean_relevance(batch))
        for row in np.flatnonzero(batch.scores(batch.images) <= 0):
            refused[int(row)] = "its score is not positive, so a share of it has no meaning"
        return score_images(batch, measure, refused)
