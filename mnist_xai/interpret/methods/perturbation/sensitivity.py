"""Sensitivity analysis: how the score varies when the features of an image are varied at random."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import Indices
from mnist_xai.interpret.core.parameters import check_counts, check_even, check_pixels, check_seed
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import Features, Grid, feature_count, spread
from mnist_xai.interpret.methods.perturbation.masking import scores_of_masks


@register("sobol")
@dataclass(frozen=True)
class Sobol:
    """Total Sobol' indices: the variance that is left when all masks but `m_i` are known.

    `T_i = E[Var(S_c | m_j, j ≠ i)] / Var(S_c)` for masks `m` uniform in [0, 1], with Jansen's
    estimator `1/(2n) Σ_k (S_c(a_k) - S_c(c_ik))² / Var_k(S_c(a_k))`, where `c_ik` is `a_k` with
    `m_i` from `b_k`, and `(a_k, b_k)` are points of a scrambled Sobol' sequence.

    Attributes:
        features: What is dimmed together, all pixels alike.
        designs: Number of points `n`, a power of two.
        baseline: What features are dimmed to, in [0, 1].
        seed: Seed of the scrambling; the masks are the same for every image.
    """

    features: Features = field(default_factory=Grid)
    designs: int = 32
    baseline: float = 0.0
    seed: int = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="how much of the score's variance under random dimming a feature has a part in",
        caveat="it has no sign: evidence for and against look alike; what interacts is counted "
        "for each of its features",
        reference="Fel, Cadène, Chalvidal, Cord, Vigouroux, Serre 2021, section 3",
        signed=False,
        unit="forward",
    )

    def __post_init__(self) -> None:
        check_counts(2, designs=self.designs)
        if self.designs & (self.designs - 1):
            raise ValueError(f"designs: expected a power of two; got {self.designs}")
        check_pixels(baseline=self.baseline)
        check_seed(self.seed)

    def passes(self, network: Network) -> float:
        """One forward pass for each point `a_k` and `c_ik`: `n (F + 1)`."""
        # Jansen's estimator has no use for the scores of the b_k.
        return self.designs * (feature_count(self.features, network) + 1)

    def masks(self, count: int) -> Array:
        """The points `a_k`, then the `c_ik` feature by feature, `(n (F + 1), F)`."""
        sequence = qmc.Sobol(2 * count, seed=np.random.default_rng(self.seed))
        a, b = np.split(sequence.random(self.designs), 2, axis=1)
        chosen = np.eye(count + 1, count, -1, dtype=np.bool_)[:, np.newaxis]
        return np.where(chosen, b, a).reshape(-1, count).astype(np.float32)

    def __call__(
        self, network: Network, images: Array, targets: Indices, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, at least 0, each pixel the index of its feature."""
        labels = self.features.labels(*images.shape[1:3])
        masks = self.masks(labels.max() + 1)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        s = scores.reshape(len(images), -1, self.designs).astype(np.float64)
        variance = s[:, :1].var(axis=2, ddof=1)
        remaining = ((s[:, 1:] - s[:, :1]) ** 2).mean(axis=2) / 2
        # A score that never varies depends on nothing.
        return spread(remaining / np.where(variance > 0, variance, 1), labels)


@register("hsic")
@dataclass(frozen=True)
class HSIC:
    """Hilbert-Schmidt independence criterion: how much the score depends on keeping a feature.

    `1/(n-1)² tr(K_i H L H)` with `H = I - 1/n`, `K_i` the Dirac kernel of the zeros and ones of
    feature `i`, and `L = exp(-(s_k - s_l)² / (2 σ²))`, `σ` the median of the `|s_k - s_l|`.

    Attributes:
        features: What is switched off together.
        samples: Number of masks `n`, half of which keep any one feature (a Latin hypercube, cut
            at 1/2).
        baseline: The value of the pixels switched off, in [0, 1].
        seed: Seed of the masks, which are the same for every image.
    """

    features: Features = field(default_factory=Grid)
    samples: int = 1000
    baseline: float = 0.0
    seed: int = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="how much the score depends on whether a feature can be seen",
        caveat="it has no sign: evidence for and against look alike; features without any "
        "influence get a little, the less the more samples",
        reference="Novello, Fel, Vigouroux 2022, section 3",
        signed=False,
        unit="forward",
    )

    def __post_init__(self) -> None:
        check_even(samples=self.samples)
        check_pixels(baseline=self.baseline)
        check_seed(self.seed)

    def passes(self, network: Network) -> float:
        """One forward pass for each sample."""
        return self.samples

    def masks(self, count: int) -> NDArray[np.bool_]:
        """Which of so many features each sample keeps, `(n, F)`."""
        halves = np.arange(self.samples)[:, np.newaxis] < self.samples // 2
        rng = np.random.default_rng(self.seed)
        return rng.permuted(np.repeat(halves, count, axis=1), axis=0)

    def __call__(
        self, network: Network, images: Array, targets: Indices, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, at least 0, each pixel the criterion of its feature."""
        labels = self.features.labels(*images.shape[1:3])
        masks = self.masks(labels.max() + 1)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        # H K_i H = 2 z zᵀ, with z the centred zeros and ones.
        z = masks - 0.5
        values = [2 * ((_gaussian(s) @ z) * z).sum(axis=0) for s in scores.astype(np.float64)]
        return spread(np.maximum(values, 0) / (self.samples - 1) ** 2, labels)


def _gaussian(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Gaussian kernel of scores, its width the median distance of two: `(n, n)`."""
    distances = np.abs(scores[:, np.newaxis] - scores)
    width = np.median(distances[np.triu_indices(len(scores), 1)])
    # Where more than half of the distances are 0, any width tells equal from unequal.
    return np.exp(-(distances**2) / (2 * max(width, 1e-12) ** 2))
