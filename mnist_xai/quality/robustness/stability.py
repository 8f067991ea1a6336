"""Relative stability: how much a map changes for a change of the network's input or output.

Only copies count that are predicted as the image is: where the prediction changes, so may the map.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.parameters import check_positive, check_seed, check_shares
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, measured, register
from mnist_xai.quality.robustness.noisy_copies import (
    Copies,
    check_noise,
    explained_copies,
    logits_of_copies,
    norms,
    uniform_noise,
)
from mnist_xai.quality.statistics import Values

_MISLEADS = (
    "a map that is the same for all images is perfectly stable; places where the map is near 0 "
    "weigh most"
)


@register("relative_input_stability")
@dataclass(frozen=True)
class RelativeInputStability:
    """`max_k ‖(Φ(x) - Φ(x_k)) / Φ(x)‖ / max(‖(x - x_k) / x‖, ε)`, place by place.

    Over the copies `x_k` that are predicted as the image is. The paper says nothing of places
    where `Φ(x)` or `x` is 0, of which there are many; here a divisor's magnitude is at least a
    share of the largest in its map or image, so that the unit of a map does not count. Quantus
    puts `ε` in the place of zeros, whatever the unit, gives no score when a single copy is
    predicted otherwise, and by default only brightens.

    Attributes:
        radius: Largest change of a pixel; copies stay in [0, 1].
        samples: Copies of each image.
        epsilon: Least denominator, `ε`.
        floor: Least magnitude by which is divided, as a share of the largest.
        seed: Seed of the noise, which all images share.
    """

    radius: float = 0.1
    samples: int = 10
    epsilon: float = 1e-6
    floor: float = 0.01
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="the relative change of the map for a relative change of the image",
        caveat=_MISLEADS,
        reference="Agarwal et al. 2022, section 3.1",
        needs="method",
        range=(0, np.inf),
    )

    def __post_init__(self) -> None:
        check_noise(self.radius, self.samples)
        _check_divisors(self.epsilon, self.floor)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold every copy's ratio, NaN for those left out."""
        return _scored(batch, self, self._moved)

    def _moved(self, batch: ExplainedBatch, some: Copies, logits: Values) -> Values:  # noqa: ARG002
        x = batch.images[some.rows].astype(np.float64)
        return np.maximum(norms((x - some.images) / _divisors(x, self.floor)), self.epsilon)


@register("relative_output_stability")
@dataclass(frozen=True)
class RelativeOutputStability:
    """`max_k ‖(Φ(x) - Φ(x_k)) / Φ(x)‖ / max(‖z(x) - z(x_k)‖, ε)`, `z` the logits.

    Over the copies `x_k` that are predicted as the image is; the rest as for relative input
    stability.

    Attributes:
        radius: Largest change of a pixel; copies stay in [0, 1].
        samples: Copies of each image.
        epsilon: Least denominator, `ε`.
        floor: Least magnitude by which is divided, as a share of the largest.
        seed: Seed of the noise, which all images share.
    """

    radius: float = 0.1
    samples: int = 10
    epsilon: float = 1e-6
    floor: float = 0.01
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="the relative change of the map for a change of the logits",
        caveat=_MISLEADS,
        reference="Agarwal et al. 2022, section 3.3",
        needs="method",
        range=(0, np.inf),
    )

    def __post_init__(self) -> None:
        check_noise(self.radius, self.samples)
        _check_divisors(self.epsilon, self.floor)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold every copy's ratio, NaN for those left out."""
        return _scored(batch, self, self._moved)

    def _moved(self, batch: ExplainedBatch, some: Copies, logits: Values) -> Values:  # noqa: ARG002
        return np.maximum(norms(logits), self.epsilon)


_Moved = Callable[[ExplainedBatch, Copies, Values], Values]


def _scored(
    batch: ExplainedBatch, metric: RelativeInputStability | RelativeOutputStability, moved: _Moved
) -> Scores:
    def measure(batch: ExplainedBatch) -> tuple[Values, Values]:
        noise = uniform_noise(batch, metric.samples, metric.radius, metric.seed)
        z = batch.network.logits(batch.images).astype(np.float64)
        others = logits_of_copies(batch, noise)
        ratios = np.zeros(others.shape[:2])
        for some in explained_copies(batch, noise):
            maps, pairs = batch.places[some.rows], (some.rows, some.columns)
            change = norms((maps - some.places) / _divisors(maps, metric.floor))
            ratios[pairs] = change / moved(batch, some, z[some.rows] - others[pairs])
        same = others.argmax(axis=-1) == z.argmax(axis=-1)[:, np.newaxis]
        ratios[~same] = np.nan
        largest = np.where(same, ratios, -np.inf).max(axis=1)
        return np.where(same.any(axis=1), largest, np.nan), ratios

    return measured(batch, measure, undefined="every noisy copy is predicted to be another class")


def _divisors(values: Values, floor: float) -> Values:
    """The values, those near 0 moved away from it, to a share of the largest of their row."""
    sizes = np.abs(values)
    least = floor * sizes.max(axis=tuple(range(1, values.ndim)), keepdims=True)
    divisors: Values = np.copysign(np.maximum(sizes, least), values)
    # An image that is black all over has no largest value: its change counts as it is.
    return np.where(divisors == 0, 1.0, divisors)


def _check_divisors(epsilon: float, floor: float) -> None:
    check_positive(epsilon=epsilon)
    check_shares(floor=floor)
