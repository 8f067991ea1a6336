"""What is put in the place of what is taken away from an image.

No choice is innocent: the score of an image with a hole in it is also a score of the hole. A black
patch on MNIST looks like background, a random one like nothing the network has seen, and a border
may draw the shape of what was there.
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
    check_at_least,
    check_counts,
    check_pixels,
    check_positive,
    check_seed,
)


class Removal(Protocol):
    """Images to cut the replacements from; a value that can be hashed and compared."""

    def fills(self, images: Array) -> Iterator[Array]:
        """One for each draw: `(N, H, W, C)`, or `(1, H, W, C)` where all images share it."""


@dataclass(frozen=True)
class Baseline:
    """One value for every pixel.

    Attributes:
        value: The value, in [0, 1].
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        check_pixels(value=self.value)

    def fills(self, images: Array) -> Iterator[Array]:
        """Images of one value."""
        yield np.full((1, *images.shape[1:]), self.value, np.float32)


@dataclass(frozen=True)
class Uniform:
    """Independent numbers, uniform in [0, 1), the same for every image.

    Attributes:
        draws: Over how many draws scores are averaged.
        seed: Seed of the numbers.
    """

    draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(draws=self.draws)
        check_seed(self.seed)

    def fills(self, images: Array) -> Iterator[Array]:
        """Images of noise, one at a time."""
        rng = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            yield rng.random((1, *images.shape[1:]), np.float32)


@dataclass(frozen=True)
class Blur:
    """The image itself, blurred by a Gaussian; its borders are held.

    Attributes:
        sigma: Width of the Gaussian in pixels.
    """

    sigma: float = 5.0

    def __post_init__(self) -> None:
        check_positive(sigma=self.sigma)

    def fills(self, images: Array) -> Iterator[Array]:
        """The images, blurred."""
        widths = (self.sigma, self.sigma, 0)
        # One image at a time, so that none is smoothed into its neighbour.
        yield np.stack([ndimage.gaussian_filter(x, widths, mode="nearest") for x in images])


@dataclass(frozen=True)
class NoisyImputation:
    """Every removed pixel the weighted mean of its neighbours, removed ones included, and noise.

    `x_i = Σ_j w_ij x_j / Σ_j w_ij + ε_i` over the eight neighbours `j` inside the image, with
    `w = 1/6` beside and `1/12` across the corner: a sparse linear system for all removed pixels of
    an image, solved exactly.

    Attributes:
        noise: Standard deviation of `ε`.
        seed: Seed of `ε`, which belongs to the pixel and is the same for every image.

    Source: Rong et al. 2022, noisy linear imputation.
    """

    noise: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(0, noise=self.noise)
        check_seed(self.seed)

    def without(self, image: Array, removed: NDArray[np.bool_]) -> Array:
        """The image `(H, W, C)` without some places but not all of them: `(K, H, W, C)`.

        Args:
            image: The image.
            removed: True where a pixel is taken away, `(K, H, W)`.
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
    # Symmetric and positive definite, as some pixel is kept: no pivots are needed.
    solver = linalg.splu(
        system.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True}
    )
    pixels[holes] = solver.solve(inner[:, ~holes] @ pixels[~holes])
    pixels[holes] += noise.reshape(pixels.shape)[holes]
    return pixels.reshape(image.shape)


@lru_cache(maxsize=8)
def _neighbours(height: int, width: int) -> sparse.csr_array:
    """The weights `w_ij` of all pixels of an image, `(H W, H W)`."""
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
