"""The gradient of a class score, integrated gradients, and averages over noisy copies."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import (
    ConstantBaseline,
    Count,
    Hyperparameters,
    NonNegative,
    Pixel,
    Seed,
    check_counts,
)
from mnist_xai.interpret.methods.base import About, Method, pixel_power, register
from mnist_xai.interpret.methods.gradients.averages import noisy_gradient, path_gradient


def gradient_map(
    model: keras.Model | Network,
    images: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    score: Score = "logit",
) -> Array:
    """Compute the gradient of a class score with respect to the image: `∂S_c/∂x`.

    By default the score is the logit `z_c`, because the softmax saturates. Document 000, section
    8.3, takes the gradient of the sum of the softmax, which is 1 for every image.

    Args:
        model: A Keras classifier, or a `Network` on one.
        images: `(N, H, W, C)`, as the model takes them.
        targets: Integers `(N,)`, the classes `c`; by default each image's predicted class.
        score: `"logit"`, `"probability"` or `"output"`.

    Returns:
        `(N, H, W, C)`, signed, in units of the score for one unit of a pixel.

    Raises:
        TypeError, ValueError: For images or targets of the wrong shape, type or range.

    Source: Simonyan, Vedaldi, Zisserman 2013, section 3.
    """
    network = Network.with_options(model, images=images)
    if targets is None:
        targets = network.logits(images).argmax(axis=1)
    maps, _ = network.gradient(images, targets, score=score)
    return maps


@register("gradient")
@dataclass(frozen=True)
class Gradient:
    """The gradient: `∂S_c/∂x`."""

    about: ClassVar[About] = About(
        family="gradient",
        shows="how the score changes when a pixel changes a little",
        caveat="where the score saturates, even the pixels that caused it get almost nothing",
        reference="Simonyan, Vedaldi, Zisserman 2013, section 3",
        pixel_power=1,
        needs_range=False,
    )

    def passes(self, network: Network) -> float:
        """Return 1: one gradient pass."""
        return 1

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score for a pixel from black to white."""
        return self.explain_with_logits(network, images, targets, score=score)[0]

    def explain_with_logits(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array], Array]:
        """Return the maps, no absorbed parts, and the logits."""
        maps, z = network.gradient_and_logits_at(images, targets, score=score)
        return maps, {}, z


@register("input_x_gradient")
@dataclass(frozen=True)
class InputXGradient:
    """Input times gradient: `x ⊙ ∂S_c/∂x`, the linear term of the Taylor expansion at `x`."""

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel would contribute to the score if the network were linear",
        caveat="black pixels get nothing, even where their blackness matters to the network",
        reference="Shrikumar, Greenside, Shcherbina, Kundaje 2016, section 2",
        needs_range=False,
    )

    def passes(self, network: Network) -> float:
        """Return 1: one gradient pass."""
        return 1

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score."""
        return self.explain_with_logits(network, images, targets, score=score)[0]

    def explain_with_logits(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array], Array]:
        """Return the maps, no absorbed parts, and the logits."""
        slopes, z = network.gradient_and_logits_at(images, targets, score=score)
        # x is the model's own input, so that this is the linear term of its Taylor expansion.
        return network.pixels.to_model(images) * network.pixels.per_value(slopes, 1), {}, z


Quadrature = Literal["gauss_legendre", "trapezoid", "riemann_left", "riemann_middle"]


def _gauss_legendre(steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _trapezoid(steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2  # The two end points count half.
    return np.linspace(0, 1, steps), weights


QUADRATURES: dict[str, Callable[[int], tuple[NDArray[np.float64], NDArray[np.float64]]]] = {
    "gauss_legendre": _gauss_legendre,
    "trapezoid": _trapezoid,
    "riemann_left": lambda steps: (np.arange(steps) / steps, np.full(steps, 1 / steps)),
    "riemann_middle": lambda steps: ((np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)),
}
"""Quadratures by name. Each returns nodes in [0, 1] and weights that sum to 1."""


@register("integrated_gradients")
@dataclass(frozen=True)
class IntegratedGradients(Hyperparameters, ConstantBaseline):
    """Integrated gradients: `(x - x') ⊙ ∫₀¹ ∂S_c(x' + α (x - x'))/∂x dα`.

    Attributes:
        steps: Number of points of the quadrature.
        quadrature: Name of the quadrature: `"gauss_legendre"`, `"trapezoid"`, `"riemann_left"` or
            `"riemann_middle"`.
        baseline: The value of every pixel of `x'`, in [0, 1].
    """

    steps: Count = 256
    quadrature: Quadrature = "gauss_legendre"
    baseline: Pixel = 0.0

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel adds to the score on the way from the baseline to the image",
        caveat="pixels equal to the baseline get nothing; the map depends on the baseline",
        reference="Sundararajan, Taly, Yan 2017, section 3",
    )

    def __post_init__(self) -> None:
        if self.quadrature == "trapezoid":
            check_counts(2, steps=self.steps)
        super().__post_init__()
        if self.quadrature not in QUADRATURES:
            known = ", ".join(QUADRATURES)
            raise ValueError(f"quadrature: expected one of {known}; got {self.quadrature!r}")

    def passes(self, network: Network) -> float:
        """Return the number of steps: one gradient pass for each."""
        return self.steps

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score, summing to `S_c(x) - S_c(x')`."""
        scales, weights = QUADRATURES[self.quadrature](self.steps)
        baseline = self.baselines(images[:1])
        mean = path_gradient(
            network, images, targets, baseline, weights=weights, scales=scales, score=score
        )
        return (images - baseline) * mean


@dataclass(frozen=True)
class _NoisyCopies(Hyperparameters):
    """Base of the methods that average over noisy copies `x + ε_k`, `ε_k ~ N(0, σ²)`.

    Attributes:
        method: The method `M` that explains each copy.
        samples: Number of copies `n`.
        sigma: Standard deviation `σ` of the noise; 1 is the difference of white and black.
        seed: Seed of the noise. Every image gets the same noise.
    """

    method: Method = field(default_factory=Gradient)
    samples: Count = 50
    sigma: NonNegative = 0.15
    seed: Seed = 0

    @property
    def pixel_power(self) -> int:
        """Return the power of pixels in the unit of the maps, that of the wrapped method."""
        return pixel_power(self.method)

    def passes(self, network: Network) -> float:
        """Return the passes of the wrapped method for all copies."""
        return self.samples * self.method.passes(network)

    def _noise(self, shape: tuple[int, ...]) -> Array:
        draws = np.random.default_rng(self.seed).standard_normal((self.samples, *shape), np.float32)
        return draws * np.float32(self.sigma)

    def _maps(
        self, network: Network, images: Array, targets: Targets, score: Score
    ) -> Iterator[Array]:
        """Yield the maps of one noisy copy of all images after the other."""
        noise, count = self._noise(images.shape[1:]), len(images)
        # With few images, explain several copies at once: they fill the batch.
        size = max(1, network.batch_size // count)
        for start in range(0, len(noise), size):
            copies = images + noise[start : start + size, np.newaxis]
            points = copies.reshape(-1, *images.shape[1:])
            maps = self.method(network, points, np.tile(targets, len(copies)), score=score)
            yield from maps.reshape(len(copies), count, *maps.shape[1:])


@register("smoothgrad")
@dataclass(frozen=True)
class SmoothGrad(_NoisyCopies):
    """SmoothGrad, the mean of a method's maps over noisy copies: `1/n Σ_k M(x + ε_k)`."""

    about: ClassVar[About] = About(
        family="gradient",
        shows="how the score changes with a pixel, averaged over noisy copies of the image",
        caveat="the network never saw noisy images; pixels at which the score saturates for all "
        "copies still get almost nothing",
        reference="Smilkov, Thorat, Kim, Viégas, Wattenberg 2017, section 3",
    )

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return maps of the wrapped method's shape and units."""
        if not isinstance(self.method, Gradient):
            return _mean(self._maps(network, images, targets, score), self.samples)
        # Gradients are averaged behind the linear first layer, which is then run once.
        noise = self._noise(images.shape[1:])
        return noisy_gradient(network, images, targets, noise, score=score)


@register("smoothgrad_squared")
@dataclass(frozen=True)
class SmoothGradSquared(_NoisyCopies):
    """The mean square of a method's maps over noisy copies: `1/n Σ_k M(x + ε_k)²`."""

    about: ClassVar[About] = About(
        family="gradient",
        shows="where the score changes strongly around the image, in either direction",
        caveat="the map has no sign, so evidence for and against the class look alike",
        reference="Hooker, Erhan, Kindermans, Kim 2019, section 4.1",
        signed=False,
    )

    @property
    def pixel_power(self) -> int:
        """Return twice the power of the wrapped method, because its maps are squared."""
        return 2 * pixel_power(self.method)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return maps of the wrapped method's shape, at least 0, in its units squared."""
        squares = (maps**2 for maps in self._maps(network, images, targets, score))
        return _mean(squares, self.samples)


@register("vargrad")
@dataclass(frozen=True)
class VarGrad(_NoisyCopies):
    """VarGrad, the variance of a method's maps over noisy copies: `Var_k M(x + ε_k)`."""

    about: ClassVar[About] = About(
        family="gradient",
        shows="where the gradient varies around the image",
        caveat="the map has no sign, and a pixel with a strong but constant influence gets nothing",
        reference="Adebayo, Gilmer, Goodfellow, Kim 2018, section 2",
        signed=False,
    )

    @property
    def pixel_power(self) -> int:
        """Return twice the power of the wrapped method, because its maps are squared."""
        return 2 * pixel_power(self.method)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return maps of the wrapped method's shape, at least 0, in its units squared."""
        mean: Array = np.zeros((), np.float32)
        total: Array = np.zeros((), np.float32)
        # Welford's recurrence, because the difference of two large sums loses precision.
        for k, maps in enumerate(self._maps(network, images, targets, score), start=1):
            step = maps - mean
            mean = mean + step / np.float32(k)
            total = total + step * (maps - mean)
        return total / np.float32(self.samples)


def _mean(maps: Iterator[Array], count: int) -> Array:
    return functools.reduce(np.add, (one / np.float32(count) for one in maps))
