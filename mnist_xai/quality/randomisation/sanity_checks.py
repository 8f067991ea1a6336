"""Sanity checks: whether a map changes if the network or the class changes.

A map that stays the same although the network loses its trained weights does not explain the
network. A map that stays the same although another class is explained does not explain the class.
A map that changes may still be wrong.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Positive, Seed
from mnist_xai.quality.base import (
    ExplainedBatch,
    MetricAbout,
    Scores,
    explain_in_chunks,
    register,
    score_images,
)
from mnist_xai.quality.parameters import AtLeastTwo, one_of
from mnist_xai.quality.randomisation.random_networks import (
    LayerOrder,
    fully_random,
    randomised,
)
from mnist_xai.quality.randomisation.similarity import (
    Similarity,
    flat_maps,
    is_flat,
    similarities,
)
from mnist_xai.quality.robustness.noisy_copies import mean_maps, normal_noise
from mnist_xai.quality.statistics import Values

Summary = Annotated[Literal["mean", "last"], one_of("mean", "last")]

_NOISE_CAVEAT = "a map of pure noise always changes"
_BLACK_CAVEAT = "maps that are zero on the black background are similar for that reason alone"


@register("parameter_randomisation")
@dataclass(frozen=True)
class ParameterRandomisation(Hyperparameters):
    """Similarity to the maps of networks with random layers: `1/L Σ_l ρ(Φ(x), Φ_l(x))`.

    `Φ_l` explains the same target. In its network, the layers from the last one down to the `l`-th
    are random, or only the `l`-th (see `random_networks`). Constant maps of random networks have
    similarity 0. (On TensorFlow, Quantus starts the cascade with a model that is random already,
    and all layers draw the same random numbers.)

    Attributes:
        order: `"cascading"` or `"independent"`.
        similarity: `"rank"`: rank correlation of signed values; `"rank_of_magnitudes"`, by which
            maps that are multiplied by a mostly black image are similar whatever the weights; or
            `"ssim"`.
        summary: `"mean"` over the layers; or `"last"`, which after a cascade is the similarity to
            the map of the network without trained weights.
        seed: Seed of the random weights.
    """

    order: LayerOrder = "cascading"
    similarity: Similarity = "rank"
    summary: Summary = "mean"
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="randomisation",
        higher_is_better=False,
        shows="how similar the map is to maps of networks that have lost their trained weights",
        caveat=f"{_NOISE_CAVEAT}; {_BLACK_CAVEAT}",
        reference="Adebayo et al. 2018, sections 3 and 4",
        needs="method",
        range=(-1, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the similarity for each of `randomised_layers`."""
        return score_images(batch, self._measure, flat_maps(batch, self.similarity))

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        curve = []
        for _, network in randomised(batch.network, self.order, self.seed):
            relevance = batch.explain(batch.images, network).sum(axis=-1, dtype=np.float64)
            curve.append(similarities(self.similarity, batch.relevance, relevance))
        return _summarise(curve, self.summary)


@register("smooth_parameter_randomisation")
@dataclass(frozen=True)
class SmoothParameterRandomisation(Hyperparameters):
    """Parameter randomisation of mean maps over noisy copies: `1/L Σ_l ρ(Φ̄(x), Φ̄_l(x))`.

    `Φ̄(x) = 1/K Σ_k Φ(x + ε_k)`, where `ε_k` is normal noise; its standard deviation is a share of
    the image's range. Copies stay in [0, 1].

    Attributes:
        samples: Copies of each image, `K`.
        noise: Standard deviation of the noise as a share of the image's range.
        order: `"cascading"` or `"independent"`.
        similarity: `"rank"`, `"rank_of_magnitudes"` or `"ssim"`.
        summary: `"mean"` over the layers, or `"last"`.
        seed: Seed of the noise and of the random weights.
    """

    samples: Count = 10
    noise: Positive = 0.1
    order: LayerOrder = "cascading"
    similarity: Similarity = "rank"
    summary: Summary = "mean"
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="randomisation",
        higher_is_better=False,
        shows="how similar the map, its noise averaged out, is to maps of networks that have lost "
        "their trained weights",
        caveat=_BLACK_CAVEAT,
        reference="Hedström, Weber, Lapuschkin, Höhne 2023, section 4.1",
        needs="method",
        range=(-1, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the similarity for each of `randomised_layers`."""
        refused = flat_maps(batch, self.similarity)
        undefined = "the mean map of its noisy copies is the same everywhere"
        return score_images(batch, self._measure, refused, undefined=undefined)

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        noise = normal_noise(batch, self.samples, self.seed)
        spans = np.ptp(batch.images.reshape(len(batch), -1), axis=1)
        scales = (self.noise * spans).astype(np.float32)

        def maps(network: Network) -> Values:
            return mean_maps(batch, noise, scales, network=network)

        first = maps(batch.network)
        curve = [
            similarities(self.similarity, first, maps(network))
            for _, network in randomised(batch.network, self.order, self.seed)
        ]
        values, curves = _summarise(curve, self.summary)
        # `flat_maps` refuses flat maps of the batch, but not flat mean maps.
        return np.where(is_flat(self.similarity, first), np.nan, values), curves


@register("efficient_parameter_randomisation")
@dataclass(frozen=True)
class EfficientParameterRandomisation(Hyperparameters):
    """Relative rise of the map's entropy for random weights: `(H(Φ_L(x)) - H(Φ(x))) / H(Φ(x))`.

    `Φ_L` is the map of the network in which all weights are random. `H = -Σ_b p_b ln p_b`, where
    `p_b` is the share of pixels with relevance in the `b`-th of equal bins from the smallest to the
    largest value of the map. (Quantus's rules choose the number of bins by the whole data set, so
    that a score depends on the other images.)

    Attributes:
        bins: Number of bins, at least 2.
        seed: Seed of the random weights.
    """

    bins: AtLeastTwo = 100
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="randomisation",
        higher_is_better=True,
        shows="how much more complex the map becomes if all weights are random",
        caveat="a map that is noise already cannot become more complex",
        reference="Hedström, Weber, Lapuschkin, Höhne 2023, section 4.2",
        needs="method",
        range=(-1, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the entropies before and after."""
        return score_images(batch, self._measure, flat_maps(batch, "rank"))

    def _measure(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        with fully_random(batch.network, self.seed) as network:
            random_maps = batch.explain(batch.images, network).sum(axis=-1, dtype=np.float64)
        before, after = (
            np.array([_histogram_entropy(one, self.bins) for one in maps])
            for maps in (batch.relevance, random_maps)
        )
        return (after - before) / before, np.stack([before, after], axis=1)


@register("random_logit")
@dataclass(frozen=True)
class RandomLogit(Hyperparameters):
    """Mean similarity to the maps of other classes: `1/K Σ_k ρ(Φ_c(x), Φ_{c+d_k}(x))`.

    After the last class comes the first. The distances `d_k` are the same for every image. (In
    Quantus the other class depends on the image's position in its batch, and the structural
    similarity is that of flattened maps.)

    Attributes:
        others: Number of other classes, drawn by the seed; None for all of them, and all of them
            where the network has fewer.
        similarity: `"ssim"`, `"rank"` or `"rank_of_magnitudes"`.
        seed: Seed of the distances.
    """

    others: Count | None = None
    similarity: Similarity = "ssim"
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="randomisation",
        higher_is_better=False,
        shows="how similar the map is to the maps of other classes",
        caveat=f"{_NOISE_CAVEAT}; a pixel may matter to several classes, and a correct map then "
        "says so",
        reference="Sixt, Granz, Landgraf 2020, section 4.2",
        needs="method",
        range=(-1, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; its curve has the similarity at each distance."""
        distances = self.distances(batch.network.classes)

        def measure(batch: ExplainedBatch) -> tuple[Values, Values]:
            return _summarise([self._similarity_at(batch, d) for d in distances.tolist()], "mean")

        return score_images(batch, measure, flat_maps(batch, self.similarity))

    def distances(self, classes: int) -> NDArray[np.int_]:
        """Return the distances `d_k` between classes, `(K,)`; ascending if `others` is None."""
        if self.others is None:
            return np.arange(1, classes)
        rng = np.random.default_rng(self.seed)
        return 1 + rng.permutation(classes - 1)[: self.others]

    def _similarity_at(self, batch: ExplainedBatch, distance: int) -> Values:
        others = ((batch.targets + distance) % batch.network.classes).astype(np.int32)
        maps = explain_in_chunks(batch.method, batch.network, batch.images, others, batch.score)
        return similarities(self.similarity, batch.relevance, maps.sum(axis=-1, dtype=np.float64))


def _summarise(curve: list[Values], summary: Summary) -> tuple[Values, Values]:
    curves = np.stack(curve, axis=1)
    return (curves.mean(axis=1) if summary == "mean" else curves[:, -1]), curves


def _histogram_entropy(relevance: Values, bins: int) -> float:
    if not np.isfinite(relevance).all() or relevance.max() == relevance.min():
        return 0.0
    # Relative to the map's range, so that maps of tiny numbers fill all bins too.
    low, high = relevance.min(), relevance.max()
    counts, _ = np.histogram((relevance - low) / (high - low), bins, (0, 1))
    p = counts[counts > 0] / relevance.size
    return float(-(p * np.log(p)).sum())
