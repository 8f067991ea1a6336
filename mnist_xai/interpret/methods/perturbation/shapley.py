"""Shapley values: what each feature adds to the score, averaged over the orders of arrival.

The features of an image play a game: `v(T)` is the score of the image that keeps the features
`T` and has the baseline elsewhere. All methods here estimate the same value,

    φ_i = Σ_{T ∌ i} |T|! (M - |T| - 1)! / M! (v(T ∪ {i}) - v(T)),

and their maps sum to `S_c(x) - S_c(x')`.
"""

from dataclasses import dataclass, field
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import PAIRS, Indices
from mnist_xai.interpret.core.parameters import check_counts, check_even, check_pixels, check_seed
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Grid,
    feature_count,
    present,
    shared,
)
from mnist_xai.interpret.methods.perturbation.masking import (
    masked_scores,
    scores_of_masks,
)

Coalitions = NDArray[np.bool_]

_MOST_PLAYERS = 16  # 65,536 passes for an image: seconds; each further feature doubles them.


def every_coalition(players: int) -> Coalitions:
    """Every set of so many players, `(2^M, M)`, the empty one first and the whole one last."""
    numbers = np.arange(2**players, dtype=np.int64)[:, np.newaxis]
    return (numbers >> np.arange(players) & 1).astype(np.bool_)


@register("exact_shapley")
@dataclass(frozen=True)
class ExactShapley:
    """Shapley values: `φ_i = Σ_{T ∌ i} |T|! (M - |T| - 1)! / M! (v(T ∪ {i}) - v(T))`.

    By this definition, from the scores of all `2^M` sets of `M` features: `v(T)` is the score of
    the image that keeps the features `T` and has the baseline elsewhere.

    Attributes:
        features: The players, 16 at most. Each one's value is shared equally by its pixels.
        baseline: The value of absent pixels, in [0, 1].
    """

    features: Features = field(default_factory=lambda: Grid(3))
    baseline: float = 0.0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="what each feature adds to the score, averaged over all orders of arrival",
        caveat="most sets of features are images that the network never saw; the features are "
        "few and coarse",
        reference="Shapley 1953, section 3; Štrumbelj, Kononenko 2010, section 3",
        unit="forward",
    )

    def __post_init__(self) -> None:
        check_pixels(baseline=self.baseline)

    def passes(self, network: Network) -> float:
        """One forward pass for each set of features: `2^M`."""
        return 2.0 ** feature_count(self.features, network)

    def baselines(self, images: Array) -> Array:
        """The images `x'`, `(N, H, W, C)`."""
        return np.full_like(images, self.baseline)

    def __call__(
        self, network: Network, images: Array, targets: Indices, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score, summing to `S_c(x) - S_c(x')`.

        Raises:
            ValueError: For more than 16 features.
        """
        labels = self.features.labels(*images.shape[1:3])
        players = int(labels.max()) + 1
        if players > _MOST_PLAYERS:
            raise ValueError(
                f"features: expected at most {_MOST_PLAYERS}, because {players} of them take "
                f"2^{players} = {2**players:,} passes for each image; ShapleySampling and "
                "KernelSHAP take as many as you say"
            )
        coalitions = every_coalition(players)
        scores = scores_of_masks(
            network, images, targets, coalitions, labels, baseline=self.baseline, score=score
        )
        # A set of size s counts for its members, and against the others.
        size = coalitions.sum(axis=1)
        with_i = np.array([0, *(1 / (players * comb(players - 1, s)) for s in range(players))])
        without_i = np.append(with_i[1:], 0)
        weights = np.where(coalitions, with_i[size, np.newaxis], -without_i[size, np.newaxis])
        return shared(scores @ weights, labels)


@register("shapley_sampling")
@dataclass(frozen=True)
class ShapleySampling:
    """Shapley values averaged over random orders: `φ_i = 1/n Σ_k v(P_k(i) ∪ {i}) - v(P_k(i))`.

    `P_k(i)` are the features that come before `i` in the order `k`, and `v(T)` is the score of the
    image that keeps the features `T` and has the baseline elsewhere.

    Attributes:
        features: The players. Each one's value is shared equally by its pixels.
        permutations: Number of orders `n`.
        antithetic: Whether every other order is the one before it, reversed; `n` is then even.
        baseline: The value of absent pixels, in [0, 1].
        seed: Seed of the orders, which are the same for every image.
    """

    features: Features = field(default_factory=Grid)
    permutations: int = 20
    antithetic: bool = True
    baseline: float = 0.0
    seed: int = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="what each feature adds to the score, averaged over random orders of arrival",
        caveat="most sets of features are images that the network never saw; few orders leave "
        "noise",
        reference="Castro, Gómez, Tejada 2009, section 3; Štrumbelj, Kononenko 2014, section 3; "
        "reversed orders: Mitchell, Cooper, Frank, Holmes 2022, section 3",
        unit="forward",
    )

    def __post_init__(self) -> None:
        check = check_even if self.antithetic else check_counts  # Orders come in pairs.
        check(permutations=self.permutations)
        check_pixels(baseline=self.baseline)
        check_seed(self.seed)

    def passes(self, network: Network) -> float:
        """One forward pass for each feature but one of every order, and two for the ends."""
        return self.permutations * (feature_count(self.features, network) - 1) + 2

    def baselines(self, images: Array) -> Array:
        """The images `x'`, `(N, H, W, C)`."""
        return np.full_like(images, self.baseline)

    def orders(self, players: int) -> NDArray[np.intp]:
        """The orders of so many features, `(n, M)`."""
        rng = np.random.default_rng(self.seed)
        drawn = self.permutations // 2 if self.antithetic else self.permutations
        orders = rng.permuted(np.tile(np.arange(players), (drawn, 1)), axis=1)
        if not self.antithetic:
            return orders
        return np.stack([orders, orders[:, ::-1]], axis=1).reshape(-1, players)

    def __call__(
        self, network: Network, images: Array, targets: Indices, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score, summing to `S_c(x) - S_c(x')`."""
        labels = self.features.labels(*images.shape[1:3])
        players = int(labels.max()) + 1
        orders = self.orders(players)
        arrival = np.argsort(orders, axis=1)[:, np.newaxis]
        # Who is there after 0, 1, …, M arrivals: (n, M + 1, M).
        coalitions = arrival < np.arange(players + 1)[:, np.newaxis]
        scores = scores_of_masks(
            network,
            images,
            targets,
            coalitions.reshape(-1, players),
            labels,
            baseline=self.baseline,
            score=score,
        )
        steps = np.diff(scores.reshape(len(images), *coalitions.shape[:2]).astype(np.float64))
        gains = np.take_along_axis(steps, np.argsort(orders, axis=1)[np.newaxis], axis=2)
        return shared(gains.mean(axis=1), labels)


@register("kernel_shap")
@dataclass(frozen=True)
class KernelSHAP:
    """Shapley values as the weighted least squares that the Shapley kernel makes of them.

    `argmin_φ Σ_T π(T) (v(T) - v(∅) - Σ_{i ∈ T} φ_i)²` subject to `Σ_i φ_i = v(all) - v(∅)`, with
    `π(T) = (M - 1) / (binom(M, |T|) |T| (M - |T|))`, and `v(T)` the score of the image that keeps
    the features `T` and has the baseline elsewhere. The players are the features that differ from
    the baseline; the others change no score, and their value is 0.

    Attributes:
        features: The players. Each one's value is shared equally by its pixels.
        samples: Number of sets `T`, drawn in pairs of a set and its complement, sizes as the
            kernel weighs them. Where there are no more than so many sets, all of them are taken
            and the values are exact.
        baseline: The value of absent pixels, in [0, 1].
        seed: Seed of the sets, which are the same for images with as many players.
    """

    features: Features = field(default_factory=Grid)
    samples: int = 1000
    baseline: float = 0.0
    seed: int = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="what each feature adds to the score, averaged over all orders of arrival",
        caveat="most sets of features are images that the network never saw; few sets leave noise",
        reference="Lundberg, Lee 2017, section 4.1; pairs: Covert, Lee 2021, section 4",
        unit="forward",
    )

    def __post_init__(self) -> None:
        check_even(samples=self.samples)
        check_pixels(baseline=self.baseline)
        check_seed(self.seed)

    def passes(self, network: Network) -> float:
        """One forward pass for each sample, and two for the ends: at most."""
        return self.samples + 2

    def baselines(self, images: Array) -> Array:
        """The images `x'`, `(N, H, W, C)`."""
        return np.full_like(images, self.baseline)

    def coalitions(self, players: int) -> tuple[Coalitions, NDArray[np.float64]]:
        """Sets of so many players, the empty and the whole one left out, and their weights."""
        if players < 2:
            return np.zeros((0, players), np.bool_), np.zeros(0)
        if 2.0**players - 2 <= self.samples:
            sets = every_coalition(players)[1:-1]
            size = sets.sum(axis=1)
            binomial = np.array([comb(players, s) for s in size])
            return sets, (players - 1) / (binomial * size * (players - size))
        rng = np.random.default_rng(self.seed)
        sizes = np.arange(1, players)
        chances = 1 / (sizes * (players - sizes))
        size = rng.choice(sizes, self.samples // 2, p=chances / chances.sum())
        order = rng.permuted(np.tile(np.arange(players), (len(size), 1)), axis=1)
        half = order < size[:, np.newaxis]
        sets, counts = np.unique(np.concatenate([half, ~half]), axis=0, return_counts=True)
        return sets, counts.astype(np.float64)

    def __call__(
        self, network: Network, images: Array, targets: Indices, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score, summing to `S_c(x) - S_c(x')`."""
        labels = self.features.labels(*images.shape[1:3])
        players = present(images, labels, self.baseline)
        games = {m: _Game.of(*self.coalitions(m)) for m in np.unique(players.sum(axis=1)).tolist()}
        values = np.zeros(players.shape)
        step = max(1, PAIRS // (self.samples + 2))
        for start in range(0, len(images), step):
            block = range(start, min(start + step, len(images)))
            played = [games[int(players[i].sum())] for i in block]
            masks = [game.masks(players[i]) for i, game in zip(block, played, strict=True)]
            rows = np.repeat(np.arange(len(block)), [len(mask) for mask in masks])
            scores = masked_scores(
                network,
                images[start : start + step],
                targets[start : start + step],
                np.concatenate(masks),
                labels,
                rows.astype(np.int32),
                np.arange(len(rows), dtype=np.int32),
                baseline=self.baseline,
                score=score,
            )
            ends = np.cumsum([len(mask) for mask in masks])[:-1]
            for i, game, v in zip(block, played, np.split(scores, ends), strict=True):
                values[i, players[i]] = game.values(v.astype(np.float64))
        return shared(values, labels)


@dataclass(frozen=True, eq=False)
class _Game:
    """The least squares of some sets, solved once for all scores.

    Attributes:
        sets: The sets, the empty one before them and the whole one after, `(K + 2, M)`.
        solution: From what equal values leave unexplained to the values, `(M, K)`.
    """

    sets: Coalitions
    solution: NDArray[np.float64]

    @classmethod
    def of(cls, sets: Coalitions, weights: NDArray[np.float64]) -> "_Game":
        players = sets.shape[1]
        ends = np.repeat([[False], [True]], players, axis=1)
        roots = np.sqrt(weights)[:, np.newaxis]
        # Rows without their mean see only values that sum to zero, which is the constraint.
        centred = sets - sets.mean(axis=1, keepdims=True) if len(sets) else sets.astype(float)
        solution = np.linalg.pinv(roots * centred) * roots.T
        return cls(np.concatenate([ends[:1], sets, ends[1:]]), solution)

    def masks(self, players: NDArray[np.bool_]) -> Coalitions:
        """The sets as masks of all features, of which these play: `(K + 2, F)`."""
        masks = np.zeros((len(self.sets), len(players)), np.bool_)
        masks[:, players] = self.sets
        return masks

    def values(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The players' values of the sets' scores, `(K + 2,)`: `(M,)`."""
        players = self.sets.shape[1]
        equal = (scores[-1] - scores[0]) / max(players, 1)
        unexplained = scores[1:-1] - scores[0] - equal * self.sets[1:-1].sum(axis=1)
        return equal + self.solution @ unexplained
