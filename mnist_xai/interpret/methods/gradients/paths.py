"""Integrated gradients along other paths: out of a blur, and around steep pixels.

What adds up along any path `x_0, x_1, …` is `Σ_k ∂S_c/∂x(p_k) ⊙ (x_(k+1) - x_k)`, with the gradient
taken at a point `p_k` of the leg from `x_k` to `x_(k+1)`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import (
    check_counts,
    check_pixels,
    check_positive,
    check_shares,
)
from mnist_xai.interpret.methods.base import About, register

Targets = NDArray[np.int32]
Leg = tuple[Array, Array]  # Points `p_k` and moves `x_(k+1) - x_k`, both (N, H, W, C).


def add_legs(
    network: Network,
    images: Array,
    targets: Targets,
    legs_of: Callable[[Array], Iterable[Leg]],
    score: Score,
) -> Array:
    """Sum gradient times move over the legs of each image's path, `Σ_k ∂S_c/∂x(p_k) ⊙ d_k`."""
    size, sums = network.batch_size, []
    for start in range(0, len(images), size):
        x, c = images[start : start + size], targets[start : start + size]
        total = np.zeros(x.shape)
        legs = iter(legs_of(x))
        # Of few images, many legs at once: a pass of one image costs as much as one of ten.
        while together := list(islice(legs, max(size // len(x), 1))):
            points, moves = (np.stack(parts) for parts in zip(*together, strict=True))
            slopes, _ = network.gradient(
                points.reshape(-1, *x.shape[1:]), np.tile(c, len(points)), score=score
            )
            total += (slopes.reshape(moves.shape) * moves).sum(axis=0, dtype=np.float64)
        sums.append(total.astype(np.float32))
    return np.concatenate(sums)


# --- Blur integrated gradients -----------------------------------------------------------


def blurred(images: Array, sigma: float) -> Array:
    """Convolve each channel with a Gaussian, `L(x, σ) = g_σ * x`; black lies around the image.

    Args:
        images: `(N, H, W, C)` in [0, 1].
        sigma: `σ`, the standard deviation in pixels, at least 0. The Gaussian ends at `4 σ`.

    Returns:
        `(N, H, W, C)` in [0, 1].
    """
    if sigma == 0:
        return images
    # A convolution along an axis is a matrix, which is faster where Gaussians exceed the image.
    rows, columns = (
        gaussian_filter1d(np.eye(side), sigma, axis=0, mode="constant").astype(np.float32)
        for side in images.shape[1:3]
    )
    n, h, w, c = images.shape
    down = np.matmul(rows, images.reshape(n, h, w * c)).reshape(n, h, w, c)
    return np.clip(np.matmul(columns, down), 0, 1)  # Rounding may leave [0, 1].


@register("blur_integrated_gradients")
@dataclass(frozen=True)
class BlurIntegratedGradients:
    """Blur integrated gradients: `∫ ∂S_c/∂x (L(x, σ)) ⊙ ∂L(x, σ)/∂σ dσ` from `σ_max` down to 0.

    The integral is a sum over the legs between blurred images `L(x, σ_k)`, with the gradient in
    the middle of each, which is exact for quadratic scores.

    Attributes:
        steps: Number of legs `K`.
        sigma: `σ_max` as a share of the image's shorter side. At a quarter, 7 pixels of MNIST's,
            a network recognises digits no better than by chance. The scales are
            `σ_k = σ_max (1 - k/K)²`: denser towards the image, where it changes fastest.
    """

    steps: int = 512
    sigma: float = 0.25

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel adds to the score while the image comes out of its blur",
        caveat="pixels around a stroke, which lose what the stroke gains, get their share too",
        reference="Xu, Venugopalan, Sundararajan 2020, section 3",
    )

    def __post_init__(self) -> None:
        check_counts(steps=self.steps)
        check_positive(sigma=self.sigma)

    def passes(self, network: Network) -> float:
        """One gradient pass for each step."""
        return self.steps

    def baselines(self, images: Array) -> Array:
        """The most blurred images, `(N, H, W, C)`."""
        return blurred(images, self._scales(images)[0])

    def _scales(self, images: Array) -> list[float]:
        largest = self.sigma * min(images.shape[1:3])
        return [largest * (1 - k / self.steps) ** 2 for k in range(self.steps + 1)]

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score, summing to `S_c(x) - S_c(L(x, σ_max))`."""

        def legs(x: Array) -> Iterator[Leg]:
            start, *rest = self._scales(x)
            here = blurred(x, start)
            for scale in rest:
                there = blurred(x, scale)
                yield (here + there) * np.float32(0.5), there - here
                here = there

        return add_legs(network, images, targets, legs, score)


# --- Guided integrated gradients ---------------------------------------------------------


@register("guided_integrated_gradients")
@dataclass(frozen=True)
class GuidedIntegratedGradients:
    """Guided integrated gradients: `∫ ∂S_c/∂x (γ(t)) ⊙ γ'(t) dt` along a path of small gradients.

    The path `γ` goes from `x'` to `x` so that the L1 distance to `x` shrinks evenly. At each step
    the pixels of smallest `|∂S_c/∂x|` move as far as they may, then the next smallest, until the
    distance is as small as it should be. Each leg is integrated by Gauss-Legendre quadrature: its
    ends lie where many pixels are as in `x'` or `x`, and gradients there are not typical.

    Attributes:
        steps: Number of legs.
        points: Points of the quadrature on each leg.
        fraction: Share of the pixels that move together, in (0, 1]. It is a share of those that
            differ from the baseline: of all pixels, a tenth is a whole stroke of a digit, and
            the path would be nearly straight. At 1 it is straight.
        max_dist: How far a pixel may be ahead of the straight path or behind it, as a share of
            its whole way, in [0, 1]. At 0 the path is straight, at 1 it is free: then the map
            differs most from integrated gradients, and many more points are needed for its sum.
        baseline: The value of every pixel of `x'`, in [0, 1].
    """

    steps: int = 64
    points: int = 8
    fraction: float = 0.1
    max_dist: float = 0.02
    baseline: float = 0.0

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel adds to the score on a way that keeps to where the score is flat",
        caveat="the way depends on the network: two networks that agree on every image of the "
        "straight path can get different maps",
        reference="Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi 2021, section 3",
    )

    def __post_init__(self) -> None:
        check_counts(steps=self.steps, points=self.points)
        check_shares(fraction=self.fraction)
        if not 0 <= self.max_dist <= 1:
            raise ValueError(f"max_dist: expected a share in [0, 1]; got {self.max_dist}")
        check_pixels(baseline=self.baseline)

    def passes(self, network: Network) -> float:
        """For each step, one gradient pass to find the way and one for each point of the leg."""
        return self.steps * (1 + self.points)

    def baselines(self, images: Array) -> Array:
        """The images `x'`, `(N, H, W, C)`."""
        return np.full_like(images, self.baseline)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score, summing to `S_c(x) - S_c(x')`."""
        walks = (
            self._walk(network, images[rows], targets[rows], score)
            for rows in network.chunks(len(images))
        )
        return np.concatenate(list(walks))

    def _walk(self, network: Network, images: Array, targets: Targets, score: Score) -> Array:
        whole = images.reshape(len(images), -1).astype(np.float64) - self.baseline
        total = np.abs(whole).sum(axis=1, keepdims=True)
        weight = np.abs(whole) / np.where(total > 0, total, 1)

        gone = np.zeros_like(whole)  # The share of its way that each pixel is past.
        sums = np.zeros(images.shape)
        for step in range(1, self.steps + 1):
            here = (self.baseline + gone * whole).reshape(images.shape)
            slope, _ = network.gradient(here, targets, score=score)
            there = self._advance(
                gone, np.abs(slope).reshape(whole.shape), weight, step / self.steps
            )
            move = ((there - gone) * whole).reshape(images.shape)
            sums += self._integrate(network, here, move, targets, score)
            gone = there
        return sums.astype(np.float32)

    def _integrate(
        self,
        network: Network,
        here: NDArray[np.float64],
        move: NDArray[np.float64],
        targets: Targets,
        score: Score,
    ) -> Array:
        """Integrate the gradient along one straight leg."""
        nodes, weights = np.polynomial.legendre.leggauss(self.points)

        def legs(_: Array) -> Iterator[Leg]:
            for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
                yield (here + node * move).astype(np.float32), (weight * move).astype(np.float32)

        return add_legs(network, here.astype(np.float32), targets, legs, score)

    def _advance(
        self,
        gone: NDArray[np.float64],
        steepness: Array,
        weight: NDArray[np.float64],
        alpha: float,
    ) -> NDArray[np.float64]:
        """Move pixels until the weighted mean of what is gone of their ways is `alpha`.

        The weights are the pixels' shares of the L1 distance from the baseline, so that then
        `1 - alpha` of the distance is left.
        """
        if alpha == 1:
            return np.ones_like(gone)
        furthest = min(alpha + self.max_dist, 1)
        gone = np.maximum(gone, alpha - self.max_dist)
        differ = (weight > 0).sum(axis=1, keepdims=True)
        rank = np.floor(self.fraction * np.maximum(differ - 1, 0)).astype(int)
        while True:
            movable = (weight > 0) & (gone < furthest)
            size = np.where(movable, steepness, np.inf)
            threshold = np.take_along_axis(np.sort(size, axis=1), rank, axis=1)
            left = np.where(movable & (size <= threshold), furthest - gone, 0)
            reach = (weight * left).sum(axis=1, keepdims=True)
            need = alpha - (weight * gone).sum(axis=1, keepdims=True)
            share = np.clip(need / np.where(reach > 0, reach, np.inf), 0, 1)
            # Exactly as far as they may, or rounding would leave them movable.
            gone = np.where((share == 1) & (left > 0), furthest, gone + share * left)
            if not ((need > reach) & (reach > 0)).any():
                return gone
