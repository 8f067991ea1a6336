"""Iterative removal of features: segments instead of squares, scores relative to the first one."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.methods.perturbation.features import Features, Grid, summed
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, measured, register
from mnist_xai.quality.faithfulness.curves import area, bounds_of
from mnist_xai.quality.faithfulness.flipping import HOLES, removal_curves, unfit
from mnist_xai.quality.faithfulness.removal import Baseline, Removal
from mnist_xai.quality.statistics import Values


@register("irof")
@dataclass(frozen=True)
class IROF:
    """Area over the curve of relative scores: `1 - ∫₀¹ S_c(x^(q)) / S_c(x) dq`, by trapezoids.

    `x^(q)` is the image without the share `q` of its segments, those of the greatest mean relevance
    first. A score that never falls gives 0 and one that falls to 0 at once nearly 1. (Quantus takes
    the area under `L - 1` steps from `L`, and gives 1 to a score that never falls.) Images whose
    score is not positive are refused: a share of it means nothing.

    Attributes:
        features: The segments. The paper's superpixels collapse into one on images of 28 pixels,
            so a grid is the default; `Segmentation` takes any other.
        removal: What is put in their place. The paper's is the mean of the data: on MNIST
            `Baseline(0.13)`.
    """

    features: Features = field(default_factory=Grid)
    removal: Removal = field(default_factory=Baseline)

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=True,
        shows="what share of the score is lost while segments are taken away in the map's order",
        caveat=HOLES + "; of logits, a share of the score is no share of the evidence",
        reference="Rieger and Hansen 2020, iterative removal of features",
        needs="network",
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the scores after each segment, not yet divided."""
        labels = self.features.labels(*batch.height_width)
        bounds = bounds_of(int(labels.max()) + 1, 1)
        sizes = np.bincount(labels.ravel())

        def measure(kept: ExplainedBatch) -> tuple[Values, Values]:
            values = summed(kept.places, labels) / sizes
            curves = removal_curves(kept, labels, bounds, self.removal, values=values)
            return 1 - area(curves, bounds) / curves[:, 0], curves

        refused = unfit(batch, labels, self.removal, summed(batch.places, labels) / sizes)
        for row in np.flatnonzero(batch.scores(batch.images) <= 0):
            refused[int(row)] = "its score is not positive, so that no share of it can be lost"
        return measured(batch, measure, refused)
