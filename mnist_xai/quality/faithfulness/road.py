"""Remove and debias (ROAD): imputes removed pixels, so that the holes themselves say little."""

from dataclasses import dataclass, field

import numpy as np

from mnist_xai.interpret.core.parameters import Hyperparameters
from mnist_xai.interpret.methods.perturbation.features import Pixels, summed
from mnist_xai.quality.base import (
    METRICS,
    ExplainedBatch,
    MetricAbout,
    Scores,
    register,
    score_images,
)
from mnist_xai.quality.faithfulness.curves import (
    RemovalOrder,
    about_for_order,
    constant_maps,
    order_positions,
)
from mnist_xai.quality.faithfulness.removal import NoisyImputation
from mnist_xai.quality.statistics import Values

_ROAD = MetricAbout(
    family="faithfulness",
    higher_is_better=False,
    shows="at how many of several shares of removed pixels the target is still predicted",
    caveat="when whole strokes are removed, the imputed values are guesses; among pixels of equal "
    "relevance, such as black ones in many maps, the order is by row",
    reference="Rong et al. 2022, remove and debias",
    needs="network",
    range=(0, 1),
)


@register("road")
@dataclass(frozen=True)
class ROAD(Hyperparameters):
    """Mean accuracy after removal and imputation: `1/K Σ_k [argmax_j z_j(x^(k)) = c]`.

    In `x^(k)` the share `q_k` of the pixels, the most relevant ones first, is imputed from the
    others. As in the paper, predictions are counted, so the score of the batch makes no
    difference. All images are scored (Quantus reports the first batch only).

    Attributes:
        shares: The shares `q_k` of pixels, rounded down to whole pixels.
        order: Whether the `"most"` or the `"least"` relevant pixel is removed first. For
            `"least"`, higher scores are better.
        removal: The imputation.
    """

    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    order: RemovalOrder = "most"
    removal: NoisyImputation = field(default_factory=NoisyImputation)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            raise ValueError(f"shares: expected shares in (0, 1); got {self.shares}")

    @property
    def about(self) -> MetricAbout:
        """Description of the metric in this order."""
        return about_for_order(_ROAD, self.order)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve is 1 at shares where the target is predicted, else 0."""
        values = summed(batch.relevance, Pixels().labels(*batch.height_width))
        flat = (batch.images == batch.images[:, :1, :1]).all(axis=(1, 2, 3))
        refused = constant_maps(values) | {
            int(row): "its image has a single colour, so imputation changes nothing"
            for row in np.flatnonzero(flat)
        }
        return score_images(batch, self._measure, refused)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        size = max(1, batch.network.batch_size // len(self.shares))
        parts = [
            self._hits(batch.take(slice(start, start + size)))
            for start in range(0, len(batch), size)
        ]
        curves = np.concatenate(parts)
        return curves.mean(axis=1), curves

    def _hits(self, batch: ExplainedBatch) -> Values:
        """Return 1.0 where the target is predicted at a share, else 0.0, `(N, K)`."""
        height, width = batch.height_width
        # 1e-9, because 0.29 * 100 is slightly less than 29 in floating point.
        counts = [int(share * height * width + 1e-9) for share in self.shares]
        positions = order_positions(batch.relevance.reshape(len(batch), -1), self.order)
        removed = positions.reshape(-1, 1, height, width) < np.reshape(counts, (-1, 1, 1))
        pairs = zip(batch.images, removed, strict=True)
        images = np.concatenate([self.removal.impute(*pair) for pair in pairs])
        z = batch.network.logits_at(images)
        hits = z.argmax(axis=1).reshape(len(batch), -1) == batch.targets[:, np.newaxis]
        return hits.astype(np.float64)


METRICS.add("road_least", ROAD(order="least"))
