"""Robustness: how much a map changes when the image changes a little.

Every metric compares an image with noisy copies of itself, the same noise for all images. A map
that never changes is perfectly robust and says nothing, so that none of them says that a map is
right.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.parameters import check_seed
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, measured, register
from mnist_xai.quality.robustness.noisy_copies import (
    check_noise,
    explained_copies,
    norms,
    uniform_noise,
)
from mnist_xai.quality.statistics import Values

_STEADY = "a map that is the same for all images is perfectly robust"


@register("max_sensitivity")
@dataclass(frozen=True)
class MaxSensitivity:
    """Largest change: `max_k ‖Φ(x + δ_k) - Φ(x)‖ / ‖Φ(x)‖`, `|δ_k| <= r` for every pixel.

    The target stays that of the image, whatever is predicted for a copy. Quantus's normalisation,
    where it is switched on, divides by the largest value of a batch, so that a score depends on
    the image's neighbours.

    Attributes:
        radius: Largest change of a pixel, `r`; copies stay in [0, 1].
        samples: Copies of each image.
        seed: Seed of the noise, which all images share.
    """

    radius: float = 0.1
    samples: int = 10
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="the largest change of the map, as a share of the map, under small noise",
        caveat=f"{_STEADY}; the maximum of few samples is too small",
        reference="Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, section 5",
        needs="method",
        range=(0, np.inf),
    )

    def __post_init__(self) -> None:
        check_noise(self.radius, self.samples)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold every copy's change."""
        return measured(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        changes = _sensitivities(batch, self.radius, self.samples, self.seed)
        return changes.max(axis=1), changes


@register("avg_sensitivity")
@dataclass(frozen=True)
class AvgSensitivity:
    """Mean change: `1/K Σ_k ‖Φ(x + δ_k) - Φ(x)‖ / ‖Φ(x)‖`, `|δ_k| <= r` for every pixel.

    Attributes:
        radius: Largest change of a pixel, `r`; copies stay in [0, 1].
        samples: Copies of each image.
        seed: Seed of the noise, which all images share.
    """

    radius: float = 0.1
    samples: int = 10
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="the mean change of the map, as a share of the map, under small noise",
        caveat=_STEADY,
        reference="Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, section 5, with the mean in the "
        "maximum's place, as in Bhatt et al. 2020, section 4",
        needs="method",
        range=(0, np.inf),
    )

    def __post_init__(self) -> None:
        check_noise(self.radius, self.samples)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold every copy's change."""
        return measured(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        changes = _sensitivities(batch, self.radius, self.samples, self.seed)
        return changes.mean(axis=1), changes


@register("local_lipschitz")
@dataclass(frozen=True)
class LocalLipschitz:
    """Steepest change: `max_k ‖Φ(x_k) - Φ(x)‖ / ‖x_k - x‖` over copies `x_k` of the image.

    It has the map's unit, and so compares images, not methods. Quantus by default first divides
    the maps by the largest value of the batch, which makes a score depend on the neighbours.

    Attributes:
        radius: Largest change of a pixel; copies stay in [0, 1].
        samples: Copies of each image.
        seed: Seed of the noise, which all images share.
    """

    radius: float = 0.1
    samples: int = 10
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="how steeply the map changes with the image, in units of the map for a change "
        "of the image by 1",
        caveat=f"{_STEADY}; maps of another unit have other scores",
        reference="Alvarez-Melis and Jaakkola 2018, section 3",
        needs="method",
        range=(0, np.inf),
    )

    def __post_init__(self) -> None:
        check_noise(self.radius, self.samples)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold every copy's ratio."""
        return measured(batch, self._measure)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        noise = uniform_noise(batch, self.samples, self.radius, self.seed)
        ratios = np.zeros((len(batch), self.samples))
        for some in explained_copies(batch, noise):
            moved = norms(some.images.astype(np.float64) - batch.images[some.rows])
            change = norms(some.places - batch.places[some.rows])
            # A copy that is the image has the image's map.
            ratios[some.rows, some.columns] = change / np.where(moved, moved, np.inf)
        return ratios.max(axis=1), ratios


def _sensitivities(batch: ExplainedBatch, radius: float, samples: int, seed: int) -> Values:
    """`‖Φ(x + δ_k) - Φ(x)‖ / ‖Φ(x)‖`, `(N, K)`."""
    noise = uniform_noise(batch, samples, radius, seed)
    changes = np.zeros((len(batch), samples))
    for some in explained_copies(batch, noise):
        changes[some.rows, some.columns] = norms(some.places - batch.places[some.rows])
    return changes / norms(batch.places)[:, np.newaxis]
