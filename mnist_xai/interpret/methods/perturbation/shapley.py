"""Shapley values: what a feature adds to the score, averaged over the orders of adding features.

In the terms of game theory, the `M` features of an image are players, and a set `T` of features is
a coalition. Its value `v(T)` is the score of the image that keeps the features `T` and has the
baseline elsewhere. All methods here compute or estimate the same values,

    φ_i = Σ_{T ∌ i} |T|! (M - |T| - 1)! / M! (v(T ∪ {i}) - v(T)),

and their maps sum to `S_c(x) - S_c(x')`.
"""

from dataclasses import dataclass, field
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import (
    ConstantBaseline,
    Count,
    Hyperparameters,
    Pixel,
    Seed,
    check_even,
)
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Grid,
    Labels,
    explain_by_features,
    feature_count,
    shared,
)
from mnist_xai.interpret.methods.perturbation.masking import scores_of_masks

Coalitions = NDArray[np.bool_]

_MOST_PLAYERS = 16  # 65,536 passes for each image, some seconds; one more feature doubles them.


def every_coalition(players: int) -> Coalitions:
    """Return all coalitions of this number of players, `(2^M, M)`, from empty to full."""
    numbers = np.arange(2**players, dtype=np.int64)[:, np.newaxis]
    return (numbers >> np.arange(players) & 1).astype(np.bool_)


@register("exact_shapley")
@dataclass(frozen=True)
class ExactShapley(Hyperparameters, ConstantBaseline):
    """Shapley values: `φ_i = Σ_{T ∌ i} |T|! (M - |T| - 1)! / M! (v(T ∪ {i}) - v(T))`.

    Computed by this definition from the scores of all `2^M` sets of `M` features: `v(T)` is the
    score of the image that keeps the features `T` and has the baseline elsewhere.

    Attributes:
        features: The features, at most 16. The pixels of a feature share its value equally.
        baseline: The value of pixels that are switched off, in [0, 1].
    """

    features: Features = field(default_factory=lambda: Grid(3))
    baseline: Pixel = 0.0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="what each feature adds to the score, averaged over all orders of adding features",
        caveat="the network never saw images with only some features; the features are few and "
        "coarse",
        reference="Shapley 1953, section 3; Štrumbelj, Kononenko 2010, section 3",
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return the forward passes: one for each set of features, `2^M`."""
        return 2.0 ** feature_count(self.features, network)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score, summing to `S_c(x) - S_c(x')`.

        Raises:
            ValueError: For more than 16 features.
        """
        return explain_by_features(self._maps, self.features, network, images, targets, score)

    def _maps(
        self, network: Network, images: Array, targets: Targets, labels: Labels, score: Score
    ) -> Array:
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
        # The score of a set counts positively for its members and negatively for the others.
        size = coalitions.sum(axis=1)
        with_i = np.array([0, *(1 / (players * comb(players - 1, s)) for s in range(players))])
        without_i = np.append(with_i[1:], 0)
        weights = np.where(coalitions, with_i[size, np.newaxis], -without_i[size, np.newaxis])
        return shared(scores @ weights, labels)


@register("shapley_sampling")
@dataclass(frozen=True)
class ShapleySampling(Hyperparameters, ConstantBaseline):
    """Shapley values from random orders: `φ_i = 1/n Σ_k v(P_k(i) ∪ {i}) - v(P_k(i))`.

    `P_k(i)` are the features that come before `i` in order `k`, and `v(T)` is the score of the
    image that keeps the features `T` and has the baseline elsewhere.

    Attributes:
        features: The features. The pixels of a feature share its value equally.
        permutations: Number of orders `n`.
        antithetic: Whether every second order reverses the one before it; `n` must then be even.
        baseline: The value of pixels that are switched off, in [0, 1].
        seed: Seed of the orders. Every image gets the same orders.
    """

    features: Features = field(default_factory=Grid)
    permutations: Count = 20
    antithetic: bool = True
    baseline: Pixel = 0.0
    seed: Seed = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="what each feature adds to the score, averaged over random orders of adding features",
        caveat="the network never saw images with only some features; with few orders the map is "
        "noisy",
        reference="Castro, Gómez, Tejada 2009, section 3; Štrumbelj, Kononenko 2014, section 3; "
        "reversed orders: Mitchell, Cooper, Frank, Holmes 2022, section 3",
        unit="forward",
    )

    def __post_init__(self) -> None:
        if self.antithetic:  # Orders come in pairs.
            check_even(permutations=self.permutations)
        super().__post_init__()

    def passes(self, network: Network) -> float:
        """Return the forward passes: `n (M - 1)` in the orders, and 2 for no and all features."""
        return self.permutations * (feature_count(self.features, network) - 1) + 2

    def orders(self, players: int) -> NDArray[np.intp]:
        """Return the orders of this number of features, `(n, M)`."""
        rng = np.random.default_rng(self.seed)
        drawn = self.permutations // 2 if self.antithetic else self.permutations
        orders = rng.permuted(np.tile(np.arange(players), (drawn, 1)), axis=1)
        if not self.antithetic:
            return orders
        return np.stack([orders, orders[:, ::-1]], axis=1).reshape(-1, players)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score, summing to `S_c(x) - S_c(x')`."""
        return explain_by_features(self._maps, self.features, network, images, targets, score)

    def _maps(
        self, network: Network, images: Array, targets: Targets, labels: Labels, score: Score
    ) -> Array:
        players = int(labels.max()) + 1
        orders = self.orders(players)
        position = np.argsort(orders, axis=1)[:, np.newaxis]
        # Which features are there after adding 0, 1, …, M of them: (n, M + 1, M).
        coalitions = position < np.arange(players + 1)[:, np.newaxis]
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
