"""Removals: how pixels that are removed from an image are filled.

Every choice influences the result, because the network also reacts to the filling. On MNIST a
black patch looks like background, a random patch looks like nothing that the network was trained
on, and the border of a patch can trace the shape that was removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import linalg

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.parameters import (
    Count,
    Hyperparameters,
    NonNegative,
    Pixel,
    Positive,
    Seed,
)


class Removal(Protocol):
    """Makes the images from which removed pixels get their new values.

    A removal can be hashed and compared.
    """

    def fills(self, images: Array) -> Iterator[Array]:
        """Yield the fills of each draw, `(N, H, W, C)`, or `(1, H, W, C)` shared by all images."""


@dataclass(frozen=True)
class Baseline(Hyperparameters):
    """One value for every pixel.

    Attributes:
        value: The value, in [0, 1].
    """

    value: Pixel = 0.0

    def fills(self, images: Array) -> Iterator[Array]:
        """Yield one constant image, `(1, H, W, C)`."""
        yield np.full((1, *images.shape[1:]), self.value, np.float32)


@dataclass(frozen=True)
class Uniform(Hyperparameters):
    """Independent random numbers, uniform in [0, 1), the same for every image.

    Attributes:
        draws: Number of draws; scores are averaged over them.
        seed: Seed of the numbers.
    """

    draws: Count = 10
    seed: Seed = 0

    def fills(self, images: Array) -> Iterator[Array]:
        """Yield images of noise, `(1, H, W, C)`, one for each draw."""
        rng = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            yield rng.random((1, *images.shape[1:]), np.float32)


@dataclass(frozen=True)
class Blur(Hyperparameters):
    """The image itself, blurred by a Gaussian; the nearest pixel continues it beyond its border.

    Attributes:
        sigma: Standard deviation of the Gaussian in pixels.
    """

    sigma: Positive = 5.0

    def fills(self, images: Array) -> Iterator[Array]:
        """Yield the blurred images, `(N, H, W, C)`."""
        widths = (self.sigma, self.sigma, 0)
        # One image at a time, so that images are not blurred into each other.
        yield np.stack([ndimage.gaussian_filter(x, widths, mode="nearest") for x in images])


@dataclass(frozen=True)
class NoisyImputation(Hyperparameters):
    """Weighted mean of the eight neighbours plus noise: `x_i = Σ_j w_ij x_j / Σ_j w_ij + ε_i`.

    The neighbours `j` lie inside the image and include removed pixels. `w` is `1/6` for direct
    neighbours and `1/12` for diagonal ones. The means of all removed pixels of an image form one
    sparse linear system, which is solved exactly; the noise is added afterwards.

    Attributes:
        noise: Standard deviation of `ε`.
        seed: Seed of `ε`. Each pixel has the same noise in every image.

    Source: Rong et al. 2022, noisy linear imputation.
    """

    noise: NonNegative = 0.01
    seed: Seed = 0

    def impute(self, image: Array, removed: NDArray[np.bool_]) -> Array:
        """Return the image with its removed pixels imputed, `(K, H, W, C)`.

        Args:
            image: The image, `(H, W, C)`.
            removed: True where a pixel is removed, `(K, H, W)`; at least one pixel must remain.
        """
        noise = np.random.default_rng(self.seed).standard_normal(image.shape) * self.noise
        return np.stack([_imputed(image, holes, noise) for holes in removed]).astype(np.float32)


def _imputed(
    image: Array, removed: NDArray[np.bool_], noise: NDArray[np.float64]
) -> NDArray[np.float64]:
    holes = removed.ravel()
    weights = _neighbours(*removed.shape)
    pixels = image.reshape(len(holes), -1).astype(np.float64)
    inner = weights[holes]
    system = sparse.diags_array(inner.sum(axis=1)) - inner[:, holes]
    # The system is symmetric and, because some pixels remain, positive definite: no pivots needed.
    solver = linalg.splu(
        system.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True}
    )
    pixels[holes] = solver.solve(inner[:, ~holes] @ pixels[~holes])
    pixels[holes] += noise.reshape(pixels.shape)[holes]
    return pixels.reshape(image.shape)


@lru_cache(maxsize=8)
def _neighbours(height: int, width: int) -> sparse.csr_array:
    """Return the weights `w_ij` of all pairs of pixels of an image, `(H W, H W)`."""
    number = np.arange(height * width).reshape(height, width)
    right, below, across, back = (
        (number[:, :-1], number[:, 1:], 1 / 6),
        (number[:-1], number[1:], 1 / 6),
        (number[:-1, :-1], number[1:, 1:], 1 / 12),
        (number[:-1, 1:], number[1:, :-1], 1 / 12),
    )
    half = sparse.csr_array((height * width, height * width))
    for first, second, weight in (right, below, across, back):
        weights = np.full(first.size, weight)
        half += sparse.csr_array((weights, (first.ravel(), second.ravel())), shape=half.shape)
    return sparse.csr_array(half + half.T)
