"""RISE: average random masks, weighted by the scores of the images that they show."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pairs import Change, scores_of_pairs
from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Seed, Share
from mnist_xai.interpret.methods.base import About, register


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
        down, grids, across = self._factors(height, width)
        return (down @ grids @ across.swapaxes(1, 2)).astype(np.float32)

    def _factors(self, height: int, width: int) -> tuple[NDArray[np.float64], ...]:
        """Return `D_k`, `G_k` and `A_k` with `m_k = D_k G_k A_kᵀ`: masks are too large to hold."""
        rng = np.random.default_rng(self.seed)
        grids = rng.random((self.samples, self.cells, self.cells)) < self.probability
        down, across = (self._interpolation(side, rng) for side in (height, width))
        return down, grids.astype(np.float64), across

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
        count, height, width = images.shape[:3]
        down, grids, across = self._factors(height, width)
        rows, columns = np.indices((count, self.samples), np.int32).reshape(2, -1)
        numbers = tf.TensorSpec([None, None, None], tf.float64)
        scores = scores_of_pairs(
            network,
            _masked_images,
            (),
            [
                (images, network.runner.image_spec),
                *((factor, numbers) for factor in (down, grids, across)),
            ],
            targets,
            rows,
            columns,
            score=score,
        ).reshape(count, -1)
        total: Array = np.zeros((), np.float32)
        for start in range(0, self.samples, size := max(1, _MASKS // (height * width))):
            b = slice(start, start + size)
            masks = (down[b] @ grids[b] @ across[b].swapaxes(1, 2)).astype(np.float32)
            total = total + scores[:, b] @ masks.reshape(len(masks), -1)
        maps: Array = total / np.float32(self.samples * self.probability)
        return maps.reshape(count, height, width, 1)


_MASKS = 2**24  # Numbers in the masks that are held at once.


def _masked_images(network: Network) -> Change:
    """Return the change that multiplies an image by a mask, which is made from its factors."""

    def change(
        row: tf.Tensor,
        column: tf.Tensor,
        images: tf.Tensor,
        down: tf.Tensor,
        grids: tf.Tensor,
        across: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        d, g, a = (tf.gather(factor, column) for factor in (down, grids, across))
        masks = tf.cast(tf.matmul(tf.matmul(d, g), a, transpose_b=True), tf.float32)
        return tf.gather(images, row) * masks[..., tf.newaxis], {}

    return change
