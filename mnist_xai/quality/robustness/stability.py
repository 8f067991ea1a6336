"""Relative stability: how much a map changes relative to a change of the network's input or output.

Only copies with the same prediction as the image count: if the prediction changes, the map may
change too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Positive, Seed, Share
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, register, score_images
from mnist_xai.quality.parameters import Radius
from mnist_xai.quality.robustness.noisy_copies import (
    Copies,
    explained_copies,
    logits_of_copies,
    norms,
    uniform_noise,
)
from mnist_xai.quality.statistics import Values

_CAVEAT = (
    "a map that is the same for all images is perfectly stable; pixels with relevance near 0 "
    "count most"
)


@register("relative_input_stability")
@dataclass(frozen=True)
class RelativeInputStability(Hyperparameters):
    """`max_k ‖(Φ(x) - Φ(x_k)) / Φ(x)‖ / max(‖(x - x_k) / x‖, ε)`, divided pixel by pixel.

    The maximum is over the copies `x_k` with the same prediction as the image. The paper does not
    say what to do where `Φ(x)` or `x` is 0, which is common. Here the magnitude of a divisor is at
    least a share of the largest one in its map or image, so that the unit of a map makes no
    difference. (Quantus replaces zeros by `ε`, whatever the unit; it gives no score if the
    prediction of a single copy differs; and by default its copies are only brighter.)

    Attributes:
        radius: Largest change of a pixel; copies stay in [0, 1].
        samples: Copies of each image.
        epsilon: Smallest denominator of the ratio, `ε`.
        floor: Smallest magnitude of a pixel's divisor, as a share of the largest, in (0, 1].
        seed: Seed of the noise, which is the same for all images.
    """

    radius: Radius = 0.1
    samples: Count = 10
    epsilon: Positive = 1e-6
    floor: Share = 0.01
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="the relative change of the map for a relative change of the image",
        caveat=_CAVEAT,
        reference="Agarwal et al. 2022, section 3.1",
        needs="method",
        range=(0, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold the ratio of each copy, NaN if it does not count."""
        return _score_stability(batch, self, self._denominators)

    def _denominators(self, batch: ExplainedBatch, copies: Copies, logits: Values) -> Values:  # noqa: ARG002
        x = batch.images[copies.rows].astype(np.float64)
        return np.maximum(norms((x - copies.images) / _divisors(x, self.floor)), self.epsilon)


@register("relative_output_stability")
@dataclass(frozen=True)
class RelativeOutputStability(Hyperparameters):
    """`max_k ‖(Φ(x) - Φ(x_k)) / Φ(x)‖ / max(‖z(x) - z(x_k)‖, ε)`, with the logits `z`.

    The maximum is over the copies `x_k` with the same prediction as the image. Divisors near 0 are
    treated as in relative input stability.

    Attributes:
        radius: Largest change of a pixel; copies stay in [0, 1].
        samples: Copies of each image.
        epsilon: Smallest denominator of the ratio, `ε`.
        floor: Smallest magnitude of a pixel's divisor, as a share of the largest, in (0, 1].
        seed: Seed of the noise, which is the same for all images.
    """

    radius: Radius = 0.1
    samples: Count = 10
    epsilon: Positive = 1e-6
    floor: Share = 0.01
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=False,
        shows="the relative change of the map for a change of the logits",
        caveat=_CAVEAT,
        reference="Agarwal et al. 2022, section 3.3",
        needs="method",
        range=(0, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; the curves hold the ratio of each copy, NaN if it does not count."""
        return _score_stability(batch, self, self._denominators)

    def _denominators(self, batch: ExplainedBatch, copies: Copies, logits: Values) -> Values:  # noqa: ARG002
        return np.maximum(norms(logits), self.epsilon)


_Denominators = Callable[[ExplainedBatch, Copies, Values], Values]


def _score_stability(
    batch: ExplainedBatch,
    metric: RelativeInputStability | RelativeOutputStability,
    denominators: _Denominators,
) -> Scores:
    def measure(batch: ExplainedBatch) -> tuple[Values, Values]:
        noise = uniform_noise(batch, metric.samples, metric.radius, metric.seed)
        z = batch.network.logits_at(batch.images).astype(np.float64)
        others = logits_of_copies(batch, noise)
        ratios = np.zeros(others.shape[:2])
        for copies in explained_copies(batch, noise):
            maps, pairs = batch.relevance[copies.rows], (copies.rows, copies.columns)
            change = norms((maps - copies.relevance) / _divisors(maps, metric.floor))
            ratios[pairs] = change / denominators(batch, copies, z[copies.rows] - others[pairs])
        same = others.argmax(axis=-1) == z.argmax(axis=-1)[:, np.newaxis]
        ratios[~same] = np.nan
        largest = np.where(same, ratios, -np.inf).max(axis=1)
        return np.where(same.any(axis=1), largest, np.nan), ratios

    return score_images(batch, measure, undefined="every noisy copy is predicted as another class")


def _divisors(values: Values, floor: float) -> Values:
    """Return the values; magnitudes below a share of the largest in their row are raised to it."""
    sizes = np.abs(values)
    least = floor * sizes.max(axis=tuple(range(1, values.ndim)), keepdims=True)
    divisors: Values = np.copysign(np.maximum(sizes, least), values)
    # All divisors of a black image are 0: its change counts undivided.
    return np.where(divisors == 0, 1.0, divisors)
