"""What is learnt from switching parts of an image off: masks, then scores, then maps."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import Indices
from mnist_xai.interpret.core.parameters import (
    check_counts,
    check_pixels,
    check_positive,
    check_seed,
    check_shares,
)
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Grid,
    Pixels,
    feature_count,
    shared,
    spread,
)
from mnist_xai.interpret.methods.perturbation.masking import (
    masked_scores,
    scores_of_masks,
)


@register("occlusion")
@dataclass(frozen=True)
class Occlusion:
    """Occlusion: the mean of `S_c(x) - S_c(x without a window)` over the windows on a pixel.

    Windows begin at every multiple of the stride until one reaches the edge, which cuts it off.

    Attributes:
        patch: Side of the square window in pixels.
        stride: Pixels from a window to the next one.
        baseline: The value of the pixels in the window, in [0, 1].
    """

    patch: int = 4
    stride: int = 2
    baseline: float = 0.0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="how much the score falls when a window around the pixel is painted over",
        caveat="parts that stand in for one another all look unimportant; the window is itself "
        "something to see",
        reference="Zeiler, Fergus 2014, section 4.2",
        unit="forward",
    )

    def __post_init__(self) -> None:
        check_counts(patch=self.patch, stride=self.stride)
        if self.stride > self.patch:
            raise ValueError(
                f"stride: expected at most the patch, {self.patch}, so that no pixel is left out; "
                f"got {self.stride}"
            )
        check_pixels(baseline=self.baseline)

    def passes(self, network: Network) -> float:
        """One forward pass for each window, and one for the image."""
        height, width = network.inputs.typical_shape[:2]
        return len(self._spans(height)) * len(self._spans(width)) + 1

    def _spans(self, side: int) -> NDArray[np.bool_]:
        """The pixels that each window covers along a side, `(windows, side)`."""
        if self.patch > side:
            raise ValueError(
                f"patch: expected at most the image's side, {side} pixels; got {self.patch}"
            )
        starts = np.arange(0, side - self.patch + self.stride, self.stride)[:, np.newaxis]
        pixels = np.arange(side)
        return (starts <= pixels) & (pixels < starts + self.patch)

    def __call__(
        self, network: Network, images: Array, targets: Indices, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score."""
        height, width = images.shape[1:3]
        rows, columns = self._spans(height), self._spans(width)
        windows = (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, height * width)
        # The last mask covers nothing.
        masks = ~np.vstack([windows, np.zeros_like(windows[:1])])
        labels = Pixels().labels(height, width)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        falls = (scores[:, -1:] - scores[:, :-1]) @ windows.astype(np.float32)
        return spread(falls / windows.sum(axis=0), labels)


@register("feature_ablation")
@dataclass(frozen=True)
class FeatureAblation:
    """Feature ablation: `S_c(x) - S_c(x without the feature)`, for every pixel of the feature.

    Attributes:
        features: What is switched off at a time.
        baseline: The value of the pixels switched off, in [0, 1].
    """

    features: Features = field(default_factory=Grid)
    baseline: float = 0.0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="how much the score falls without this feature alone",
        caveat="features that stand in for one another all look unimportant",
        reference="Zeiler, Fergus 2014, section 4.2, with features in place of windows",
        unit="forward",
    )

    def __post_init__(self) -> None:
        check_pixels(baseline=self.baseline)

    def passes(self, network: Network) -> float:
        """One forward pass for each feature, and one for the image."""
        return feature_count(self.features, network) + 1

    def __call__(
        self, network: Network, images: Array, targets: Indices, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score."""
        labels = self.features.labels(*images.shape[1:3])
        masks = ~np.eye(labels.max() + 2, labels.max() + 1, dtype=np.bool_)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        return spread(scores[:, -1:] - scores[:, :-1], labels)


@register("rise")
@dataclass(frozen=True)
class RISE:
    """RISE: `1/(n p) Σ_k S_c(x ⊙ m_k) m_k`, the mean score of the images that show a pixel.

    A mask `m_k` is a coarse grid of random zeros and ones, made larger than the image by bilinear
    interpolation, and cut out at a random place within a cell.

    Attributes:
        samples: Number of masks `n`.
        cells: Cells of the coarse grid along each side.
        probability: Probability `p` that a cell is kept.
        seed: Seed of the masks, which are the same for every image.
    """

    samples: int = 1000
    cells: int = 7
    probability: float = 0.5
    seed: int = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="the mean score of dimmed images in which the pixel can be seen",
        caveat="the whole map is raised by the mean score of all masked images, so that only "
        "differences within it count; few masks leave speckles",
        reference="Petsiuk, Das, Saenko 2018, section 3",
        signed=False,
        unit="forward",
    )

    def __post_init__(self) -> None:
        check_counts(samples=self.samples, cells=self.cells)
        check_shares(probability=self.probability)
        check_seed(self.seed)

    def passes(self, network: Network) -> float:
        """One forward pass for each mask."""
        return self.samples

    def masks(self, height: int, width: int) -> Array:
        """The masks `m_k`, `(n, H, W)`, in [0, 1]."""
        rng = np.random.default_rng(self.seed)
        grids = rng.random((self.samples, self.cells, self.cells)) < self.probability
        down, across = (self._stretch(side, rng) for side in (height, width))
        return (down @ grids @ across.swapaxes(1, 2)).astype(np.float32)

    def _stretch(self, side: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Bilinear weights of the cells for the pixels along a side, `(n, side, cells)`."""
        # Rounded up, not down as in the paper: else a grid may not cover the image.
        cell = -(-side // self.cells)
        shifts = rng.integers(0, cell, self.samples, endpoint=True)[:, np.newaxis]
        scale = self.cells / ((self.cells + 1) * cell)
        centres = (np.arange(side) + shifts + 0.5) * scale - 0.5
        distance = np.clip(centres, 0, self.cells - 1)[..., np.newaxis] - np.arange(self.cells)
        return np.maximum(1 - np.abs(distance), 0)

    def __call__(
        self, network: Network, images: Array, targets: Indices, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score."""
        height, width = images.shape[1:3]
        masks = self.masks(height, width).reshape(self.samples, -1)
        labels = Pixels().labels(height, width)
        rows, columns = np.indices((len(images), self.samples), np.int32).reshape(2, -1)
        scores = masked_scores(
            network, images, targets, masks, labels, rows, columns, score=score
        ).reshape(len(images), -1)
        return spread(scores @ masks / (self.samples * self.probability), labels)


@register("lime")
@dataclass(frozen=True)
class LIME:
    """LIME: the weights `w` of a linear model fitted to the scores around the image.

    `argmin_{w, w_0} Σ_k π_k (S_c(x_k) - w_0 - w·z_k)² + α |w|²`, where `z_k` says which features
    the masked image `x_k` keeps and `π_k = exp(-D_k² / (2 σ²))` weighs it by the cosine distance
    `D_k` of `z_k` from keeping all. The pixels of a feature share its weight equally.

    Attributes:
        features: What is switched off together.
        samples: Number of masked images, the first of which keeps all, the others each feature
            with probability 1/2.
        kernel_width: Width `σ` of the kernel.
        alpha: Weight `α` of the ridge.
        baseline: The value of the pixels switched off, in [0, 1].
        seed: Seed of the masks, which are the same for every image.
    """

    features: Features = field(default_factory=Grid)
    samples: int = 1000
    kernel_width: float = 0.25
    alpha: float = 1.0
    baseline: float = 0.0
    seed: int = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="the linear model that comes nearest to the network around the image",
        caveat="what depends on several features at once is shared out by the kernel and the "
        "ridge, and the ridge shrinks all weights",
        reference="Ribeiro, Singh, Guestrin 2016, section 3; the kernel as in the authors' code",
        unit="forward",
    )

    def __post_init__(self) -> None:
        check_counts(samples=self.samples)
        check_positive(kernel_width=self.kernel_width, alpha=self.alpha)
        check_pixels(baseline=self.baseline)
        check_seed(self.seed)

    def passes(self, network: Network) -> float:
        """One forward pass for each sample."""
        return self.samples

    def masks(self, count: int) -> NDArray[np.bool_]:
        """Which of so many features each sample `z_k` keeps, `(n, F)`."""
        kept = np.random.default_rng(self.seed).random((self.samples, count)) < 0.5
        kept[0] = True
        return kept

    def weights(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The weight `π_k` of each sample, `(n,)`."""
        # The cosine between zeros and ones and all ones; no features at all are at distance 1.
        distance = 1 - np.sqrt(masks.mean(axis=1))
        return np.exp(-(distance**2) / (2 * self.kernel_width**2))

    def __call__(
        self, network: Network, images: Array, targets: Indices, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score."""
        labels = self.features.labels(*images.shape[1:3])
        masks = self.masks(labels.max() + 1)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        weights = self.weights(masks)
        # Without the weighted means the intercept, which the ridge leaves alone, is gone.
        mean = weights / weights.sum()
        z, y = masks - mean @ masks, (scores - (scores @ mean)[:, np.newaxis]).T
        normal = z.T @ (weights[:, np.newaxis] * z) + self.alpha * np.eye(z.shape[1])
        return shared(np.linalg.solve(normal, z.T @ (weights[:, np.newaxis] * y)).T, labels)
