"""LIME: fit a linear model to the scores of masked images."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Pixel, Positive, Seed
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Grid,
    Labels,
    explain_by_features,
    shared,
)
from mnist_xai.interpret.methods.perturbation.masking import scores_of_masks


@register("lime")
@dataclass(frozen=True)
class LIME(Hyperparameters):
    """LIME: the weights `w` of a linear model fitted to the scores around the image.

    `argmin_{w, w_0} Σ_k π_k (S_c(x_k) - w_0 - w·z_k)² + α |w|²`, where the zeros and ones `z_k` say
    which features the masked image `x_k` keeps. The kernel `π_k = exp(-D_k² / (2 σ²))` gives more
    weight to masks near the whole image: `D_k` is the cosine distance of `z_k` from all ones. The
    pixels of a feature share its weight equally.

    Attributes:
        features: The features; the pixels of one are switched off together.
        samples: Number of masked images. The first keeps all features, the others keep each
            feature with probability 1/2.
        kernel_width: Width `σ` of the kernel.
        alpha: Weight `α` of the ridge penalty.
        baseline: The value of the pixels that are switched off, in [0, 1].
        seed: Seed of the masks. Every image gets the same masks.
    """

    features: Features = field(default_factory=Grid)
    samples: Count = 1000
    kernel_width: Positive = 0.25
    alpha: Positive = 1.0
    baseline: Pixel = 0.0
    seed: Seed = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="the weights of the linear model that best fits the network around the image",
        caveat="the kernel and the ridge penalty decide how interactions are split among features, "
        "and the penalty shrinks all weights",
        reference="Ribeiro, Singh, Guestrin 2016, section 3; the kernel as in the authors' code",
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return the number of samples: one forward pass for each."""
        return self.samples

    def masks(self, count: int) -> NDArray[np.bool_]:
        """Return the masks `z_k` for this number of features, `(n, F)`: which ones each keeps."""
        masks = np.random.default_rng(self.seed).random((self.samples, count)) < 0.5
        masks[0] = True
        return masks

    def weights(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the weight `π_k` of each mask, `(n,)`."""
        # The cosine of z and all ones is sqrt(mean(z)). A mask without features has distance 1.
        distance = 1 - np.sqrt(masks.mean(axis=1))
        return np.exp(-(distance**2) / (2 * self.kernel_width**2))

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score."""
        return explain_by_features(self._maps, self.features, network, images, targets, score)

    def _maps(
        self, network: Network, images: Array, targets: Targets, labels: Labels, score: Score
    ) -> Array:
        masks = self.masks(labels.max() + 1)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        weights = self.weights(masks)
        # Subtracting the weighted means removes the intercept, which has no penalty.
        mean = weights / weights.sum()
        z, y = masks - mean @ masks, (scores - (scores @ mean)[:, np.newaxis]).T
        normal = z.T @ (weights[:, np.newaxis] * z) + self.alpha * np.eye(z.shape[1])
        return shared(np.linalg.solve(normal, z.T @ (weights[:, np.newaxis] * y)).T, labels)
