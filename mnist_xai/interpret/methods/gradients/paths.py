"""Integrated gradients along other paths: from a blurred image, or around steep gradients.

The integral along a path `x_0, x_1, …` is the sum `Σ_k ∂S_c/∂x(p_k) ⊙ (x_(k+1) - x_k)`, with the
gradient taken at a point `p_k` of the leg from `x_k` to `x_(k+1)`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from mnist_xai.interpret.core.defaults import by_size
from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import (
    ConstantBaseline,
    Count,
    Hyperparameters,
    Pixel,
    Positive,
    Share,
)
from mnist_xai.interpret.methods.base import About, register

Leg = tuple[Array, Array]  # Points `p_k` and moves `x_(k+1) - x_k`, both (N, H, W, C).


def add_legs(
    network: Network,
    images: Array,
    targets: Targets,
    legs_of: Callable[[Array], Iterable[Leg]],
    score: Score,
) -> Array:
    """Sum gradient times move over the legs of each image's path, `Σ_k ∂S_c/∂x(p_k) ⊙ d_k`.

    Args:
        network: The network.
        images: float `(N, H, W, C)`.
        targets: Integers `(N,)`.
        legs_of: Function from images `(n, H, W, C)` to the legs of their paths.
        score: Whether `S_c` is the logit or the probability.

    Returns:
        `(N, H, W, C)`.
    """
    size, sums = network.batch_size, []
    for start in range(0, len(images), size):
        x, c = images[start : start + size], targets[start : start + size]
        total = np.zeros(x.shape)
        legs = iter(legs_of(x))
        # With few images, run several legs at once: one image costs as much as ten in a pass.
        while block := list(islice(legs, max(size // len(x), 1))):
            points, moves = (np.stack(parts) for parts in zip(*block, strict=True))
            slopes, _ = network.gradient_at(
                points.reshape(-1, *x.shape[1:]), np.tile(c, len(points)), score=score
            )
            total += (slopes.reshape(moves.shape) * moves).sum(axis=0, dtype=np.float64)
        sums.append(total.astype(np.float32))
    return np.concatenate(sums)


# --- Blur integrated gradients -----------------------------------------------------------


def blurred(images: Array, sigma: float) -> Array:
    """Convolve each channel with a Gaussian, `L(x, σ) = g_σ * x`. Pixels outside are black.

    Args:
        images: `(N, H, W, C)` in [0, 1].
        sigma: `σ`, the standard deviation in pixels, at least 0. The Gaussian is cut off at `4 σ`.

    Returns:
        `(N, H, W, C)` in [0, 1].
    """
    if sigma == 0:
        return images
    # As a matrix product, because Gaussians wider than the image make a convolution slow.
    rows, columns = (
        gaussian_filter1d(np.eye(side), sigma, axis=0, mode="constant").astype(np.float32)
        for side in images.shape[1:3]
    )
    n, h, w, c = images.shape
    down = np.matmul(rows, images.reshape(n, h, w * c)).reshape(n, h, w, c)
    return np.clip(np.matmul(columns, down), 0, 1)  # Rounding may leave [0, 1].


@register("blur_integrated_gradients")
@dataclass(frozen=True)
class BlurIntegratedGradients(Hyperparameters):
    """Blur integrated gradients: `∫ ∂S_c/∂x (L(x, σ)) ⊙ ∂L(x, σ)/∂σ dσ` from `σ_max` down to 0.

    The integral is a sum over the legs between blurred images `L(x, σ_k)`. The gradient is taken
    in the middle of each leg, which is exact for quadratic scores.

    Attributes:
        steps: Number of legs `K`; by default 512, and 256 for images with more than 64 pixels on
            the shorter side.
        sigma: `σ_max` as a share of the image's shorter side. At a quarter, which is 7 pixels for
            MNIST, a network recognises digits only by chance. The scales are
            `σ_k = σ_max (1 - k/K)²`: denser towards the sharp image, which changes fastest there.
    """

    steps: Count | None = None
    sigma: Positive = 0.25

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel adds to the score while the image turns from blurred to sharp",
        caveat="pixels around a stroke get attribution too, because they lose the brightness that "
        "the stroke gains",
        reference="Xu, Venugopalan, Sundararajan 2020, section 3",
    )

    def passes(self, network: Network) -> float:
        """Return the number of steps: one gradient pass for each."""
        return self._steps(network.inputs.typical_shape)

    def _steps(self, shape: tuple[int, ...]) -> int:
        return self.steps or by_size(shape, 512, 256)

    def baselines(self, images: Array) -> Array:
        """Return the most blurred images, `(N, H, W, C)`."""
        return blurred(images, self._scales(images)[0])

    def _scales(self, images: Array) -> list[float]:
        largest, steps = self.sigma * min(images.shape[1:3]), self._steps(images.shape[1:])
        return [largest * (1 - k / steps) ** 2 for k in range(steps + 1)]

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
class GuidedIntegratedGradients(Hyperparameters, ConstantBaseline):
    """Guided integrated gradients: `∫ ∂S_c/∂x (γ(t)) ⊙ γ'(t) dt` along a path of small gradients.

    The path `γ` leads from `x'` to `x`, and each step shortens the L1 distance to `x` by the same
    amount. In each step the pixels with the smallest `|∂S_c/∂x|` move as far as `max_dist` allows,
    then the next smallest, until the distance is reached. Gauss-Legendre quadrature integrates
    each leg: the ends of a leg are not typical, because many pixels there equal those of `x'` or
    `x`.

    Attributes:
        steps: Number of legs; by default 64, and 32 for images with more than 64 pixels on the
            shorter side.
        points: Number of points of the quadrature on each leg.
        fraction: Share of the pixels that move together, in (0, 1], among the pixels that differ
            from the baseline. Among all pixels, a tenth would be a whole stroke of a digit and the
            path nearly straight. At 1 the path is straight.
        max_dist: How far a pixel may be ahead of the straight path or behind it, as a share of
            its whole way, in [0, 1]. At 0 the path is straight. At 1 it is free: the map then
            differs most from integrated gradients, and needs many more points for its sum.
        baseline: The value of every pixel of `x'`, in [0, 1].
    """

    steps: Count | None = None
    points: Count = 8
    fraction: Share = 0.1
    max_dist: float = 0.02
    baseline: Pixel = 0.0

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel adds to the score along a path where gradients are small",
        caveat="the path depends on the network: two networks that agree on every image of the "
        "straight path can get different maps",
        reference="Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi 2021, section 3",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.max_dist <= 1:
            raise ValueError(f"max_dist: expected a share in [0, 1]; got {self.max_dist}")

    def passes(self, network: Network) -> float:
        """Return the gradient passes: in each step, one to find the path and one for each point."""
        return self._steps(network.inputs.typical_shape) * (1 + self.points)

    def _steps(self, shape: tuple[int, ...]) -> int:
        return self.steps or by_size(shape, 64, 32)

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
        """Follow the paths of some images and sum up gradients times moves."""
        way = images.reshape(len(images), -1).astype(np.float64) - self.baseline
        total = np.abs(way).sum(axis=1, keepdims=True)
        weight = np.abs(way) / np.where(total > 0, total, 1)

        done = np.zeros_like(way)  # The share of its way that each pixel has moved so far.
        sums = np.zeros(images.shape)
        steps = self._steps(images.shape[1:])
        for step in range(1, steps + 1):
            here = (self.baseline + done * way).reshape(images.shape)
            slope, _ = network.gradient_at(here, targets, score=score)
            steepness = np.abs(slope).reshape(way.shape)
            next_done = self._advance(done, steepness, weight, step / steps)
            move = ((next_done - done) * way).reshape(images.shape)
            sums += self._integrate(network, here, move, targets, score)
            done = next_done
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
        done: NDArray[np.float64],
        steepness: Array,
        weight: NDArray[np.float64],
        alpha: float,
    ) -> NDArray[np.float64]:
        """Move pixels until the weighted mean of `done` is `alpha`, flattest pixels first.

        The weights are the pixels' shares of the L1 distance from the baseline, so that `1 - alpha`
        of the distance remains.

        Args:
            done: The share of its way that each pixel has moved so far, `(N, P)`.
            steepness: `|∂S_c/∂x|`, `(N, P)`.
            weight: The weights, `(N, P)`.
            alpha: The weighted mean of `done` after the step, in (0, 1].

        Returns:
            The share of its way that each pixel has moved after the step, `(N, P)`.
        """
        if alpha == 1:
            return np.ones_like(done)
        furthest = min(alpha + self.max_dist, 1)
        done = np.maximum(done, alpha - self.max_dist)
        differ = (weight > 0).sum(axis=1, keepdims=True)
        rank = np.floor(self.fraction * np.maximum(differ - 1, 0)).astype(int)
        while True:
            movable = (weight > 0) & (done < furthest)
            size = np.where(movable, steepness, np.inf)
            threshold = np.take_along_axis(np.sort(size, axis=1), rank, axis=1)
            left = np.where(movable & (size <= threshold), furthest - done, 0)
            reach = (weight * left).sum(axis=1, keepdims=True)
            need = alpha - (weight * done).sum(axis=1, keepdims=True)
            share = np.clip(need / np.where(reach > 0, reach, np.inf), 0, 1)
            # Set pixels to `furthest` exactly: rounding could leave them movable for ever.
            done = np.where((share == 1) & (left > 0), furthest, done + share * left)
            if not ((need > reach) & (reach > 0)).any():
                return done
