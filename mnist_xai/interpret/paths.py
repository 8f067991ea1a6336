"""Integrated gradients along other paths: from drawn baselines, through blur, around steep pixels.

What adds up along any path `x_0, x_1, …` is `Σ_k ∂S_c/∂x(p_k) ⊙ (x_(k+1) - x_k)`, with the gradient
taken at a point `p_k` of the leg from `x_k` to `x_(k+1)`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from mnist_xai.interpret.method import About
from mnist_xai.interpret.network import Array, Network, Score

Targets = NDArray[np.int32]
Leg = tuple[Array, Array]  # Points `p_k` and moves `x_(k+1) - x_k`, both (N, H, W, C).


# --- Expected gradients ------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Background:
    """Images that baselines are drawn from, as a value: equal and hashed by shape and pixels.

    Attributes:
        images: Floats `(B, H, W, C)` in [0, 1]; copied, and read-only from then on.

    Raises:
        TypeError, ValueError: For anything else.
    """

    images: Array

    def __post_init__(self) -> None:
        given = np.asarray(self.images)
        if given.dtype.kind != "f":
            raise TypeError(f"images: expected floats in [0, 1]; got {given.dtype}")
        if given.ndim != 4 or not given.size:
            raise ValueError(f"images: expected (B, H, W, C), at least one; got {given.shape}")
        if not (given.min() >= 0 and given.max() <= 1):  # NaN, too, is neither.
            raise ValueError(
                f"images: expected values in [0, 1]; got {given.min():.4g} to {given.max():.4g}"
            )
        copied = given.astype(np.float32, order="C")
        copied.setflags(write=False)
        object.__setattr__(self, "images", copied)

    @property
    def _value(self) -> tuple[tuple[int, ...], bytes]:
        return self.images.shape, self.images.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Background) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        digest = sha256(self.images.tobytes()).hexdigest()[:8]
        return f"Background({len(self.images)} images {self.images.shape[1:]}, {digest})"


def expected_gradients_over(
    network: Network,
    images: ArrayLike,
    targets: ArrayLike,
    baselines: ArrayLike,
    alphas: ArrayLike,
    *,
    score: Score = "logit",
) -> Array:
    """Mean over given draws: `1/K Σ_k (x - x'_k) ⊙ ∂S_c/∂x (x'_k + α_k (x - x'_k))`.

    With the draws of another program, it gives that program's answer.

    Args:
        network: The network.
        images: float `(N, H, W, C)` in [0, 1], `x`.
        targets: Integers `(N,)`, the classes `c`.
        baselines: `x'_k`, shared by all images, `(K, H, W, C)`.
        alphas: `α_k`, `(K,)` in [0, 1].
        score: Whether `S_c` is the logit or the probability.

    Returns:
        `(N, H, W, C)`, in units of the score.

    Raises:
        TypeError, ValueError: For arrays out of shape, type or range.

    Source: Erion, Janizek, Sturmfels, Lundberg, Lee 2021, section 2; Lundberg, Lee 2017.
    """
    images, others = network.check_images(images), network.check_points(baselines)
    scales = np.asarray(alphas, np.float32)
    if scales.shape != (len(others),) or not ((scales >= 0) & (scales <= 1)).all():
        raise ValueError(
            f"alphas: expected {len(others)} numbers in [0, 1], one for each baseline; "
            f"got {scales.shape}"
        )
    if others.shape[1:] != images.shape[1:]:
        raise ValueError(f"baselines: expected images {images.shape[1:]}; got {others.shape[1:]}")

    def legs(x: Array) -> Iterator[Leg]:
        for other, scale in zip(others, scales, strict=True):
            yield other + scale * (x - other), (x - other) / np.float32(len(others))

    return _add_legs(network, images, network.check_targets(targets, len(images)), legs, score)


@dataclass(frozen=True)
class ExpectedGradients:
    """Expected gradients: `E_(x', α) (x - x') ⊙ ∂S_c/∂x (x' + α (x - x'))`, `α ~ U(0, 1)`.

    The mean of integrated gradients over the baselines `x'`; sampled, it is GradientSHAP. The
    draws come from the seed and are the same for every image.

    Attributes:
        background: The images that `x'` is drawn from. The method means data of the kind that the
            network was trained on; without a background `x'` is uniform noise, which needs no
            data but is nothing that the network ever saw.
        samples: Number of draws `K` of a baseline and an `α`.
        seed: Seed of the draws.
        stratified: Whether `α_k` is drawn from the `k`-th of `K` equal parts of [0, 1], and each
            background image as often as every other, give or take one. The expectation stays the
            same, the sampling error becomes smaller. Otherwise all draws are independent.
    """

    background: Background | None = None
    samples: int = 256
    seed: int = 0
    stratified: bool = True

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel adds to the score on the way from a typical baseline to the image",
        misleads="the maps sum to the score less the baselines' mean score up to sampling error "
        "only; and noise as a baseline is no image that the network knows",
        reference="Erion, Janizek, Sturmfels, Lundberg, Lee 2021, section 2",
    )

    def __post_init__(self) -> None:
        if not (self.background is None or isinstance(self.background, Background)):
            raise ValueError(
                "background: expected Background(images) or None; "
                f"got {type(self.background).__name__}"
            )
        if self.samples < 1:
            raise ValueError(f"samples: expected at least 1; got {self.samples}")
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0; got {self.seed}")

    def passes(self, network: Network) -> float:
        """One gradient pass for each draw."""
        return self.samples

    def draws(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """The baselines `(K, H, W, C)` and the `α` `(K,)` for images `(H, W, C)`."""
        rng = np.random.default_rng(self.seed)
        k = self.samples
        alphas = rng.random(k)
        if self.stratified:
            alphas = (np.arange(k) + alphas) / k
        if self.background is None:
            return rng.random((k, *shape), np.float32), alphas.astype(np.float32)
        images = self.background.images
        if images.shape[1:] != shape:
            raise ValueError(f"background: expected images {shape}; got {images.shape[1:]}")
        if self.stratified:
            # A random order of the images, again and again, and then of all draws: so neither
            # which of them come once more nor their α depends on where they stand.
            index = rng.permutation(np.resize(rng.permutation(len(images)), k))
        else:
            index = rng.integers(len(images), size=k)
        return images[index], alphas.astype(np.float32)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score."""
        baselines, alphas = self.draws(images.shape[1:])
        return expected_gradients_over(network, images, targets, baselines, alphas, score=score)


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
        misleads="pixels around a stroke, which lose what the stroke gains, get their share too",
        reference="Xu, Venugopalan, Sundararajan 2020, section 3",
    )

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: expected at least 1; got {self.steps}")
        if not 0 < self.sigma < np.inf:
            raise ValueError(f"sigma: expected a finite share above 0; got {self.sigma}")

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

        return _add_legs(network, images, targets, legs, score)


# --- Guided integrated gradients ---------------------------------------------------------


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
        misleads="the way depends on the network: two networks that agree on every image of the "
        "straight path can get different maps",
        reference="Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi 2021, section 3",
    )

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: expected at least 1; got {self.steps}")
        if self.points < 1:
            raise ValueError(f"points: expected at least 1; got {self.points}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction: expected a share in (0, 1]; got {self.fraction}")
        if not 0 <= self.max_dist <= 1:
            raise ValueError(f"max_dist: expected a share in [0, 1]; got {self.max_dist}")
        if not 0 <= self.baseline <= 1:
            raise ValueError(f"baseline: expected a pixel in [0, 1]; got {self.baseline}")

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
        maps = []
        for start in range(0, len(images), network.batch_size):
            rows = slice(start, start + network.batch_size)
            maps.append(self._walk(network, images[rows], targets[rows], score))
        return np.concatenate(maps)

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

        return _add_legs(network, here.astype(np.float32), targets, legs, score)

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


# --- What they share ---------------------------------------------------------------------


def _add_legs(
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
