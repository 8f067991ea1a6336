"""RISE: average random masks, weighted by the scores of the images that they show."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Seed, Share
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import Pixels, spread
from mnist_xai.interpret.methods.perturbation.masking import masked_scores


@register("rise")
@dataclass(frozen=True)
class RISE(Hyperparameters):
    """RISE: `1/(n p) Σ_k S_c(x ⊙ m_k) m_k`, the mean score of the masked images that show a pixel.

    A mask `m_k` starts as a coarse grid of random zeros and ones. Bilinear interpolation makes it
    larger than the image, and a part of the image's size is cut out, at a random offset of up to
    one cell.

    Attributes:
        samples: Number of masks `n`.
        cells: Number of cells of the coarse grid along each side.
        probability: Probability `p` that a cell is shown.
        seed: Seed of the masks. Every image gets the same masks.
    """

    samples: Count = 1000
    cells: Count = 7
    probability: Share = 0.5
    seed: Seed = 0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="the mean score of the masked images in which the pixel is visible",
        caveat="the mean score of all masked images is added to every pixel, so only differences "
        "within a map count; with few masks the map is noisy",
        reference="Petsiuk, Das, Saenko 2018, section 3",
        signed=False,
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return the number of masks: one forward pass for each."""
        return self.samples

    def masks(self, height: int, width: int) -> Array:
        """Return the masks `m_k`, `(n, H, W)` in [0, 1]."""
        rng = np.random.default_rng(self.seed)
        grids = rng.random((self.samples, self.cells, self.cells)) < self.probability
        down, across = (self._interpolation(side, rng) for side in (height, width))
        return (down @ grids @ across.swapaxes(1, 2)).astype(np.float32)

    def _interpolation(self, side: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the bilinear weights of cells for pixels along a side, `(n, side, cells)`."""
        # Rounded up. The paper rounds down, and then the grid may not cover the image.
        cell = -(-side // self.cells)
        shifts = rng.integers(0, cell, self.samples, endpoint=True)[:, np.newaxis]
        scale = self.cells / ((self.cells + 1) * cell)
        centres = (np.arange(side) + shifts + 0.5) * scale - 0.5
        distance = np.clip(centres, 0, self.cells - 1)[..., np.newaxis] - np.arange(self.cells)
        return np.maximum(1 - np.abs(distance), 0)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
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
