"""Randomisation: whether a map changes when what it should depend on does.

A map that stays as it was although the network has forgotten what it learnt, or although another
class is explained, does not explain the network, or the class. One that changes may still be wrong.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import check_counts, check_positive, check_seed
from mnist_xai.quality.base import (
    ExplainedBatch,
    MetricAbout,
    Scores,
    explain_in_chunks,
    measured,
    register,
)
from mnist_xai.quality.randomisation.random_networks import (
    Order,
    check_order,
    fully_random,
    randomised,
)
from mnist_xai.quality.randomisation.similarity import (
    Similarity,
    alike,
    check_similarity,
    flat_maps,
    is_flat,
)
from mnist_xai.quality.robustness.noisy_copies import normal_noise, smooth
from mnist_xai.quality.statistics import Values

Summary = Literal["mean", "last"]

_NOISE_CHANGES = "a map of noise changes with anything"


@register("parameter_randomisation")
@dataclass(frozen=True)
class ParameterRandomisation:
    """Similarity of the map and that of a network losing its weights: `1/L Σ_l ρ(Φ(x), Φ_l(x))`.

    `Φ_l` explains the same target of the network in which the layers down to the `l`-th from the
    top are random, or that layer alone; see `random_networks`. A map of a random network that is
    the same everywhere is like nothing: 0. Quantus begins the cascade, on TensorFlow, with a model
    that is random already, and has every layer draw the same random numbers.

    Attributes:
        order: `"cascading"` or `"independent"`.
        similarity: `"rank"`, of signed values; `"rank_of_magnitudes"`, under which maps that are
            multiplied by a mostly black image are alike whatever the weights; or `"ssim"`.
        summary: `"mean"` over the layers, or `"last"`, which after a cascade is that of the
            network with no weight left.
        seed: Seed of the random weights.
    """

    order: Order = "cascading"
    similarity: Similarity = "rank"
    summary: Summary = "mean"
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="randomisation",
        higher_is_better=False,
        shows="how much of the map is there without what the network learnt",
        caveat=f"{_NOISE_CHANGES}; where the image is black alike, maps are alike too",
        reference="Adebayo et al. 2018, sections 3 and 4",
        needs="method",
        range=(-1, 1),
    )

    def __post_init__(self) -> None:
        check_order(self.order)
        check_similarity(self.similarity)
        _check_summary(self.summary)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; a curve holds the similarity after each of `stages(network)`."""
        return measured(batch, self._measure, flat_maps(batch, self.similarity))

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        curve = []
        for _, network in randomised(batch.network, self.order, self.seed):
            found = batch.explain(batch.images, network).sum(axis=-1, dtype=np.float64)
            curve.append(alike(self.similarity, batch.places, found))
        return _summarised(curve, self.summary)


@register("smooth_parameter_randomisation")
@dataclass(frozen=True)
class SmoothParameterRandomisation:
    """The same for means over noisy copies: `1/L Σ_l ρ(Φ̄(x), Φ̄_l(x))`, `Φ̄(x) = 1/K Σ_k Φ(x + ε_k)`.

    `ε_k` is normal with a deviation of a share of the image's range; copies stay in [0, 1].

    Attributes:
        samples: Copies of each image.
        noise: The share.
        order: `"cascading"` or `"independent"`.
        similarity: `"rank"`, `"rank_of_magnitudes"` or `"ssim"`.
        summary: `"mean"` over the layers, or `"last"`.
        seed: Seed of the noise and of the random weights.
    """

    samples: int = 10
    noise: float = 0.1
    order: Order = "cascading"
    similarity: Similarity = "rank"
    summary: Summary = "mean"
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="randomisation",
        higher_is_better=False,
        shows="how much of the map is there without what the network learnt, the map's own "
        "noise averaged away",
        caveat="where the image is black alike, maps are alike too",
        reference="Hedström, Weber, Lapuschkin, Höhne 2023, section 4.1",
        needs="method",
        range=(-1, 1),
    )

    def __post_init__(self) -> None:
        check_counts(samples=self.samples)
        check_positive(noise=self.noise)
        check_order(self.order)
        check_similarity(self.similarity)
        _check_summary(self.summary)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; a curve holds the similarity after each of `stages(network)`."""
        why = "the mean map of its noisy copies is the same everywhere"
        return measured(batch, self._measure, flat_maps(batch, self.similarity), undefined=why)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        noise = normal_noise(batch, self.samples, self.seed)
        spans = np.ptp(batch.images.reshape(len(batch), -1), axis=1)
        scales = (self.noise * spans).astype(np.float32)

        def maps(network: Network) -> Values:
            return smooth(batch, noise, scales, network=network)

        first = maps(batch.network)
        curve = [
            alike(self.similarity, first, maps(network))
            for _, network in randomised(batch.network, self.order, self.seed)
        ]
        values, curves = _summarised(curve, self.summary)
        # Of the batch's map `measured` knows, of the mean map only this.
        return np.where(is_flat(self.similarity, first), np.nan, values), curves


@register("efficient_parameter_randomisation")
@dataclass(frozen=True)
class EfficientParameterRandomisation:
    """Rise of the map's entropy when all weights become random: `(H(Φ_L(x)) - H(Φ(x))) / H(Φ(x))`.

    `H = -Σ_b p_b ln p_b` with `p_b` the share of places whose value lies in the `b`-th of equal
    bins from the map's least value to its greatest. Quantus by its rules sets the number of bins by
    the whole data set, so that a score depends on the neighbours; here it is given.

    Attributes:
        bins: Number of bins.
        seed: Seed of the random weights.
    """

    bins: int = 100
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="randomisation",
        higher_is_better=True,
        shows="how much more complex the map is of a network that has learnt nothing",
        caveat="a map that is noise already cannot become more complex",
        reference="Hedström, Weber, Lapuschkin, Höhne 2023, section 4.2",
        needs="method",
        range=(-1, np.inf),
    )

    def __post_init__(self) -> None:
        check_counts(2, bins=self.bins)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; a curve holds the entropies before and after."""
        return measured(batch, self._measure, flat_maps(batch, "rank"))

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        with fully_random(batch.network, self.seed) as network:
            found = batch.explain(batch.images, network).sum(axis=-1, dtype=np.float64)
        before, after = (
            np.array([_histogram_entropy(one, self.bins) for one in maps])
            for maps in (batch.places, found)
        )
        return (after - before) / before, np.stack([before, after], axis=1)


@register("random_logit")
@dataclass(frozen=True)
class RandomLogit:
    """Mean similarity with the maps of other classes: `1/K Σ_k ρ(Φ_c(x), Φ_{c+d_k}(x))`.

    Classes are counted round, and the distances `d_k` are the same for every image. Quantus draws
    the other class by the image's place in its batch, and takes the structural similarity of maps
    laid out as one line.

    Attributes:
        others: How many other classes, drawn by the seed; None for all of them.
        similarity: `"ssim"`, `"rank"` or `"rank_of_magnitudes"`.
        seed: Seed of the distances.
    """

    others: int | None = None
    similarity: Similarity = "ssim"
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="randomisation",
        higher_is_better=False,
        shows="how much of the map is there whatever class is explained",
        caveat=f"{_NOISE_CHANGES}; places may rightly matter to several classes",
        reference="Sixt, Granz, Landgraf 2020, section 4.2",
        needs="method",
        range=(-1, 1),
    )

    def __post_init__(self) -> None:
        check_similarity(self.similarity)
        if self.others is not None:
            check_counts(others=self.others)
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; a curve holds the similarity at each distance.

        Raises:
            ValueError: For a network with fewer other classes than are asked for.
        """
        distances = self.distances(batch.network.classes)

        def measure(batch: ExplainedBatch) -> tuple[Values, Values]:
            return _summarised([self._likeness(batch, d) for d in distances.tolist()], "mean")

        return measured(batch, measure, flat_maps(batch, self.similarity))

    def distances(self, classes: int) -> NDArray[np.int_]:
        """The distances `d_k` for so many classes, ascending when all are taken."""
        if self.others is None:
            return np.arange(1, classes)
        if self.others >= classes:
            raise ValueError(f"others: expected at most {classes - 1} classes; got {self.others}")
        rng = np.random.default_rng(self.seed)
        return 1 + rng.permutation(classes - 1)[: self.others]

    def _likeness(self, batch: ExplainedBatch, distance: int) -> Values:
        others = ((batch.targets + distance) % batch.network.classes).astype(np.int32)
        maps = explain_in_chunks(batch.method, batch.network, batch.images, others, batch.score)
        return alike(self.similarity, batch.places, maps.sum(axis=-1, dtype=np.float64))


def _summarised(curve: list[Values], summary: Summary) -> tuple[Values, Values]:
    curves = np.stack(curve, axis=1)
    return (curves.mean(axis=1) if summary == "mean" else curves[:, -1]), curves


def _histogram_entropy(places: Values, bins: int) -> float:
    if not np.isfinite(places).all() or places.max() == places.min():
        return 0.0
    # In units of its own range: a map of tiny numbers has bins as well.
    low, high = places.min(), places.max()
    counts, _ = np.histogram((places - low) / (high - low), bins, (0, 1))
    p = counts[counts > 0] / places.size
    return float(-(p * np.log(p)).sum())


def _check_summary(summary: str) -> None:
    if summary not in ("mean", "last"):
        raise ValueError(f"summary: expected mean or last; got {summary!r}")
