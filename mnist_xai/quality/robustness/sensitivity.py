"""Robustness: how much a map changes if the image changes a little.

Every metric compares each image with noisy copies of itself. The noise is the same for all images.
A good score does not mean that a map is right: a map that never changes is perfectly robust.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Seed
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, register, score_images
from mnist_xai.quality.parameters import Radius
from mnist_xai.quality.robustness.noisy_copies import (
    explained_copies,
    norms,
    uniform_noise,
)
from mnist_xai.quality.statistics import Values

_CAVEAT = "a map that is the same for all images is perfectly robust"


@register("max_sensitivity")
@dataclass(frozen=True)
class MaxSensitivity(Hyperparameters):
    """Largest change: `max_k ‖Φ(x + δ_k) - Φ(x)‖ / ‖Φ(x)‖`, `|δ_k| <= r` for every pixel.

    The target is that of the image, whatever the network predicts for a copy. (Quantus's
    normalisation, if it is switched on, divides by the largest value of a batch, so that a score
    depends on the other images.)

    Attributes:
        radius: Largest change of a pixel, `r`; copies stay in [0, 1].
        samples: Copies of each image.
        seed: Seed of the noise, which is the same for all images.
    """

    radius: Radius = 0.1
    samples: Count = 10
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="the largest change of the map, as a share of the map, under small noise",
        caveat=f"{_CAVEAT}; few samples underestimate the maximum",
        reference="Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, section 5",
        needs="method",
        range=(0, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold the change of each copy."""
        return score_images(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        changes = _sensitivities(batch, self.radius, self.samples, self.seed)
        return changes.max(axis=1), changes


@register("avg_sensitivity")
@dataclass(frozen=True)
class AvgSensitivity(Hyperparameters):
    """Mean change: `1/K Σ_k ‖Φ(x + δ_k) - Φ(x)‖ / ‖Φ(x)‖`, `|δ_k| <= r` for every pixel.

    Attributes:
        radius: Largest change of a pixel, `r`; copies stay in [0, 1].
        samples: Copies of each image.
        seed: Seed of the noise, which is the same for all images.
    """

    radius: Radius = 0.1
    samples: Count = 10
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="the mean change of the map, as a share of the map, under small noise",
        caveat=_CAVEAT,
        reference="Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, section 5, with the mean instead "
        "of the maximum, as in Bhatt et al. 2020, section 4",
        needs="method",
        range=(0, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold the change of each copy."""
        return score_images(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        changes = _sensitivities(batch, self.radius, self.samples, self.seed)
        return changes.mean(axis=1), changes


@register("local_lipschitz")
@dataclass(frozen=True)
class LocalLipschitz(Hyperparameters):
    """Steepest change: `max_k ‖Φ(x_k) - Φ(x)‖ / ‖x_k - x‖` over copies `x_k` of the image.

    The score has the unit of the map, so it compares images, not methods. (Quantus by default
    first divides the maps by the largest value of the batch, so that a score depends on the other
    images.)

    Attributes:
        radius: Largest change of a pixel; copies stay in [0, 1].
        samples: Copies of each image.
        seed: Seed of the noise, which is the same for all images.
    """

    radius: Radius = 0.1
    samples: Count = 10
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="how steeply the map changes with the image, in units of the map for a change "
        "of the image by 1",
        caveat=f"{_CAVEAT}; scores of maps with different units cannot be compared",
        reference="Alvarez-Melis and Jaakkola 2018, section 3",
        needs="method",
        range=(0, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold the ratio of each copy."""
        return score_images(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        noise = uniform_noise(batch, self.samples, self.radius, self.seed)
        ratios = np.zeros((len(batch), self.samples))
        for copies in explained_copies(batch, noise):
            distance = norms(copies.images.astype(np.float64) - batch.images[copies.rows])
            change = norms(copies.relevance - batch.relevance[copies.rows])
            # A copy that equals the image counts as no change.
            ratio = change / np.where(distance, distance, np.inf)
            ratios[copies.rows, copies.columns] = ratio
        return ratios.max(axis=1), ratios


def _sensitivities(batch: ExplainedBatch, radius: float, samples: int, seed: int) -> Values:
    """Return `‖Φ(x + δ_k) - Φ(x)‖ / ‖Φ(x)‖`, `(N, K)`."""
    noise = uniform_noise(batch, samples, radius, seed)
    changes = np.zeros((len(batch), samples))
    for copies in explained_copies(batch, noise):
        change = norms(copies.relevance - batch.relevance[copies.rows])
        changes[copies.rows, copies.columns] = change
    return changes / norms(batch.relevance)[:, np.newaxis]
