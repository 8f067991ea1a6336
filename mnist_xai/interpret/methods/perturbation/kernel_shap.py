"""Kernel SHAP: Shapley values as the solution of weighted least squares.

See `shapley.py` for players, coalitions and their values.
"""

from dataclasses import dataclass, field
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.defaults import MOST_FORWARD, by_size
from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import PAIRS
from mnist_xai.interpret.core.parameters import (
    ConstantBaseline,
    EvenCount,
    Hyperparameters,
    Pixel,
    Seed,
)
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Grid,
    Labels,
    explain_by_features,
    present,
    shared,
)
from mnist_xai.interpret.methods.perturbation.masking import masked_scores
from mnist_xai.interpret.methods.perturbation.shapley import Coalitions, every_coalition


@register("kernel_shap")
@dataclass(frozen=True)
class KernelSHAP(Hyperparameters, ConstantBaseline):
    """Kernel SHAP: Shapley values as the solution of weighted least squares.

    `argmin_φ Σ_T π(T) (v(T) - v(∅) - Σ_{i ∈ T} φ_i)²` subject to `Σ_i φ_i = v(all) - v(∅)`, with
    the Shapley kernel `π(T) = (M - 1) / (binom(M, |T|) |T| (M - |T|))`. `v(T)` is the score of the
    image that keeps the features `T` and has the baseline elsewhere. Only the features that differ
    from the baseline take part; the others change no score, and their value is 0.

    Attributes:
        features: The features. The pixels of a feature share its value equally.
        samples: Number of sets `T`, an even number: each is drawn together with its complement, and
            the kernel gives the probabilities of their sizes. If there are no more than `samples`
            sets, all are used and the values are exact. By default 1,000, and 998 for images with
            more than 64 pixels on the shorter side.
        baseline: The value of pixels that are switched off, in [0, 1].
        seed: Seed of the sets. Images with equally many features that differ from the baseline get
            the same sets.
    """

    features: Features = field(default_factory=Grid)
    samples: EvenCount | None = None
    baseline: Pixel = 0.0
    seed: Seed = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="what each feature adds to the score, averaged over all orders of adding features",
        caveat="the network never saw images with only some features; with few sets the map is "
        "noisy",
        reference="Lundberg, Lee 2017, section 4.1; pairs: Covert, Lee 2021, section 4",
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return the most forward passes: one for each sample, and 2 for no and all features."""
        return self._samples(network.inputs.typical_shape) + 2

    def _samples(self, shape: tuple[int, ...]) -> int:
        return self.samples or by_size(shape, 1000, MOST_FORWARD - 2)

    def coalitions(self, players: int, samples: int) -> tuple[Coalitions, NDArray[np.float64]]:
        """Return coalitions of this number of players, and the weight of each in the regression.

        The empty and the full coalition are left out.
        """
        if players < 2:
            return np.zeros((0, players), np.bool_), np.zeros(0)
        if 2.0**players - 2 <= samples:
            sets = every_coalition(players)[1:-1]
            size = sets.sum(axis=1)
            binomial = np.array([comb(players, s) for s in size])
            return sets, (players - 1) / (binomial * size * (players - size))
        rng = np.random.default_rng(self.seed)
        sizes = np.arange(1, players)
        chances = 1 / (sizes * (players - sizes))
        size = rng.choice(sizes, samples // 2, p=chances / chances.sum())
        order = rng.permuted(np.tile(np.arange(players), (len(size), 1)), axis=1)
        half = order < size[:, np.newaxis]
        sets, counts = np.unique(np.concatenate([half, ~half]), axis=0, return_counts=True)
        return sets, counts.astype(np.float64)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score, summing to `S_c(x) - S_c(x')`."""
        return explain_by_features(self._maps, self.features, network, images, targets, score)

    def _maps(
        self, network: Network, images: Array, targets: Targets, labels: Labels, score: Score
    ) -> Array:
        players = present(images, labels, self.baseline)
        counts = np.unique(players.sum(axis=1)).tolist()
        samples = self._samples(images.shape[1:])
        regressions = {m: _Regression.of(*self.coalitions(m, samples)) for m in counts}
        values = np.zeros(players.shape)
        step = max(1, PAIRS // (samples + 2))
        for start in range(0, len(images), step):
            block = range(start, min(start + step, len(images)))
            fits = [regressions[int(players[i].sum())] for i in block]
            masks = [fit.masks(players[i]) for i, fit in zip(block, fits, strict=True)]
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
            for i, fit, v in zip(block, fits, np.split(scores, ends), strict=True):
                values[i, players[i]] = fit.values(v.astype(np.float64))
        return shared(values, labels)


@dataclass(frozen=True, eq=False)
class _Regression:
    """The weighted least squares of Kernel SHAP for some coalitions, solved once for all scores.

    Attributes:
        sets: The empty coalition, the `K` given ones, and the full one, `(K + 2, M)`.
        solution: Matrix `(M, K)` that maps the residuals of equal values to corrections of them.
    """

    sets: Coalitions
    solution: NDArray[np.float64]

    @classmethod
    def of(cls, sets: Coalitions, weights: NDArray[np.float64]) -> "_Regression":
        """Return the regression on coalitions `(K, M)` with weights `(K,)`."""
        players = sets.shape[1]
        ends = np.repeat([[False], [True]], players, axis=1)
        roots = np.sqrt(weights)[:, np.newaxis]
        # Centred rows ignore the sum of the corrections, so the solution of least norm sums to 0:
        # this is the constraint.
        centred = sets - sets.mean(axis=1, keepdims=True) if len(sets) else sets.astype(float)
        solution = np.linalg.pinv(roots * centred) * roots.T
        return cls(np.concatenate([ends[:1], sets, ends[1:]]), solution)

    def masks(self, players: NDArray[np.bool_]) -> Coalitions:
        """Return the coalitions as masks of all features, `(K + 2, F)`; others are switched off."""
        masks = np.zeros((len(self.sets), len(players)), np.bool_)
        masks[:, players] = self.sets
        return masks

    def values(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the players' values `(M,)` for the scores of the coalitions, `(K + 2,)`."""
        players = self.sets.shape[1]
        equal = (scores[-1] - scores[0]) / max(players, 1)
        unexplained = scores[1:-1] - scores[0] - equal * self.sets[1:-1].sum(axis=1)
        return equal + self.solution @ unexplained
