"""Remove and debias: what is taken away is filled in so that the hole itself says little."""

from dataclasses import dataclass, field

import numpy as np

from mnist_xai.interpret.methods.perturbation.features import Pixels, summed
from mnist_xai.quality.base import METRICS, ExplainedBatch, MetricAbout, Scores, measured, register
from mnist_xai.quality.faithfulness.curves import Order, check_order, ranks, towards, without_order
from mnist_xai.quality.faithfulness.removal import NoisyImputation
from mnist_xai.quality.statistics import Values

_ROAD = MetricAbout(
    family="faithfulness",
    higher_is_better=False,
    shows="at how many shares of places taken away the target is still predicted",
    caveat="whole strokes are taken, and what is filled in is a guess; of a map that says the "
    "same of many places, as one that is zero on black does, the order of rows decides",
    reference="Rong et al. 2022, remove and debias",
    needs="network",
    range=(0, 1),
)


@register("road")
@dataclass(frozen=True)
class ROAD:
    """Mean accuracy after removal and imputation: `1/K Σ_k [argmax_j z_j(x^(k)) = c]`.

    `x^(k)` is the image with the share `q_k` of its places, the most relevant ones first, imputed
    from the others. Predictions are counted, as in the paper, so the score that the batch names
    makes no difference. Every image is counted (Quantus reports its first batch alone).

    Attributes:
        shares: The shares `q_k` of places, rounded down to whole places.
        order: Whether the `"most"` or the `"least"` relevant place is taken first. Of the latter
            more is better.
        removal: The imputation.
    """

    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    order: Order = "most"
    removal: NoisyImputation = field(default_factory=NoisyImputation)

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            raise ValueError(f"shares: expected shares in (0, 1); got {self.shares}")
        check_order(self.order)

    @property
    def about(self) -> MetricAbout:
        """What the metric promises, in this order."""
        return towards(_ROAD, self.order)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve is 1 where the target is predicted, and else 0."""
        values = summed(batch.places, Pixels().labels(*batch.height_width))
        flat = (batch.images == batch.images[:, :1, :1]).all(axis=(1, 2, 3))
        refused = without_order(values) | {
            int(row): "its image is of one colour, which imputation gives back"
            for row in np.flatnonzero(flat)
        }
        return measured(batch, self._measure, refused)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        size = max(1, batch.network.batch_size // len(self.shares))
        parts = [
            self._hits(batch.take(slice(start, start + size)))
            for start in range(0, len(batch), size)
        ]
        curves = np.concatenate(parts)
        return curves.mean(axis=1), curves

    def _hits(self, batch: ExplainedBatch) -> Values:
        """Whether the target is predicted at each share, `(N, K)`."""
        height, width = batch.height_width
        # So that 0.29 of 100 places are 29, although in floating point they are less.
        counts = [int(share * height * width + 1e-9) for share in self.shares]
        places = ranks(batch.places.reshape(len(batch), -1), self.order)
        removed = places.reshape(-1, 1, height, width) < np.reshape(counts, (-1, 1, 1))
        pairs = zip(batch.images, removed, strict=True)
        images = np.concatenate([self.removal.without(*pair) for pair in pairs])
        z = batch.network.logits_at(images)
        hits = z.argmax(axis=1).reshape(len(batch), -1) == batch.targets[:, np.newaxis]
        return hits.astype(np.float64)


METRICS.add("road_least", ROAD(order="least"))
