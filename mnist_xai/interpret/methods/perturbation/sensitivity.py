"""Sensitivity analysis: how the score varies when random features of an image are masked."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from mnist_xai.interpret.core.defaults import by_size
from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import (
    EvenCount,
    Hyperparameters,
    Pixel,
    Seed,
    check_counts,
)
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Grid,
    Labels,
    explain_by_features,
    feature_count,
    spread,
)
from mnist_xai.interpret.methods.perturbation.masking import scores_of_masks


@register("sobol")
@dataclass(frozen=True)
class Sobol(Hyperparameters):
    """Total Sobol' indices: the share of variance that remains if all masks except `m_i` are known.

    `T_i = E[Var(S_c | m_j, j ≠ i)] / Var(S_c)` for masks `m` uniform in [0, 1]. Jansen's estimator
    is `1/(2n) Σ_k (S_c(a_k) - S_c(c_ik))² / Var_k(S_c(a_k))`, where `(a_k, b_k)` are points of a
    scrambled Sobol' sequence, and `c_ik` is `a_k` with `m_i` taken from `b_k`.

    Attributes:
        features: The features; all pixels of one are mixed with the baseline equally.
        designs: Number of points `n`, a power of two; by default 32, and 16 for images with more
            than 64 pixels on the shorter side.
        baseline: The value of pixels of a feature that is fully masked, in [0, 1].
        seed: Seed of the scrambling. Every image gets the same masks.
    """

    features: Features = field(default_factory=Grid)
    designs: int | None = None
    baseline: Pixel = 0.0
    seed: Seed = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="the share of the score's variance under random masks in which a feature takes part",
        caveat="the map has no sign, so evidence for and against the class look alike; an "
        "interaction counts in full for each of its features",
        reference="Fel, Cadène, Chalvidal, Cord, Vigouroux, Serre 2021, section 3",
        signed=False,
        unit="forward",
    )

    def __post_init__(self) -> None:
        if self.designs is not None:
            check_counts(2, designs=self.designs)
            if self.designs & (self.designs - 1):
                raise ValueError(f"designs: expected a power of two; got {self.designs}")
        super().__post_init__()

    def passes(self, network: Network) -> float:
        """Return the forward passes: one for each point `a_k` and `c_ik`, `n (F + 1)` in all."""
        # Jansen's estimator does not use the scores of the b_k.
        designs = self._designs(network.inputs.typical_shape)
        return designs * (feature_count(self.features, network) + 1)

    def _designs(self, shape: tuple[int, ...]) -> int:
        return self.designs or by_size(shape, 32, 16)

    def masks(self, count: int, designs: int) -> Array:
        """Return the points `a_k`, then the `c_ik` feature by feature, `(n (F + 1), F)`."""
        sequence = qmc.Sobol(2 * count, seed=np.random.default_rng(self.seed))
        a, b = np.split(sequence.random(designs), 2, axis=1)
        chosen = np.eye(count + 1, count, -1, dtype=np.bool_)[:, np.newaxis]
        return np.where(chosen, b, a).reshape(-1, count).astype(np.float32)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, at least 0: each pixel has the index of its feature."""
        return explain_by_features(self._maps, self.features, network, images, targets, score)

    def _maps(
        self, network: Network, images: Array, targets: Targets, labels: Labels, score: Score
    ) -> Array:
        designs = self._designs(images.shape[1:])
        masks = self.masks(labels.max() + 1, designs)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        s = scores.reshape(len(images), -1, designs).astype(np.float64)
        variance = s[:, :1].var(axis=2, ddof=1)
        remaining = ((s[:, 1:] - s[:, :1]) ** 2).mean(axis=2) / 2
        # If the score never varies, all indices are 0.
        return spread(remaining / np.where(variance > 0, variance, 1), labels)


@register("hsic")
@dataclass(frozen=True)
class HSIC(Hyperparameters):
    """Hilbert-Schmidt independence criterion: how strongly the score depends on keeping a feature.

    `1/(n-1)² tr(K_i H L H)` with `H = I - 1/n`, the Dirac kernel `K_i` of the zeros and ones of
    feature `i`, and the Gaussian kernel `L = exp(-(s_k - s_l)² / (2 σ²))` of the scores, with `σ`
    the median of all `|s_k - s_l|`.

    Attributes:
        features: The features; the pixels of one are switched off together.
        samples: Number of masks `n`, an even number. Each feature is kept by half of the masks (a
            Latin hypercube, thresholded at 1/2).
        baseline: The value of the pixels that are switched off, in [0, 1].
        seed: Seed of the masks. Every image gets the same masks.
    """

    features: Features = field(default_factory=Grid)
    samples: EvenCount = 1000
    baseline: Pixel = 0.0
    seed: Seed = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="how strongly the score depends on whether a feature is visible",
        caveat="the map has no sign, so evidence for and against the class look alike; features "
        "without influence get a small value, which shrinks with more samples",
        reference="Novello, Fel, Vigouroux 2022, section 3",
        signed=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return the number of samples: one forward pass for each."""
        return self.samples

    def masks(self, count: int) -> NDArray[np.bool_]:
        """Return the masks for this number of features, `(n, F)`: which ones each keeps."""
        halves = np.arange(self.samples)[:, np.newaxis] < self.samples // 2
        rng = np.random.default_rng(self.seed)
        return rng.permuted(np.repeat(halves, count, axis=1), axis=0)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, at least 0: each pixel has the criterion of its feature."""
        return explain_by_features(self._maps, self.features, network, images, targets, score)

    def _maps(
        self, network: Network, images: Array, targets: Targets, labels: Labels, score: Score
    ) -> Array:
        masks = self.masks(labels.max() + 1)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        # H K_i H = 2 z zᵀ for the centred zeros and ones z of feature i.
        z = masks - 0.5
        values = [2 * ((_gaussian(s) @ z) * z).sum(axis=0) for s in scores.astype(np.float64)]
        return spread(np.maximum(values, 0) / (self.samples - 1) ** 2, labels)


def _gaussian(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Gaussian kernel of scores, as wide as the median distance of two, `(n, n)`."""
    distances = np.abs(scores[:, np.newaxis] - scores)
    width = np.median(distances[np.triu_indices(len(scores), 1)])
    # The median is 0 if more than half of the distances are 0. Any small width then separates
    # equal from unequal scores.
    return np.exp(-(distances**2) / (2 * max(width, 1e-12) ** 2))
