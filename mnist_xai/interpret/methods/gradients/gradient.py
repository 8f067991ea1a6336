"""Gradients of a class score with respect to the image, and what is averaged from them."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import (
    check_at_least,
    check_counts,
    check_pixels,
    check_seed,
)
from mnist_xai.interpret.methods.base import About, Method, register
from mnist_xai.interpret.methods.gradients.averages import noisy_gradient, path_gradient

Targets = NDArray[np.int32]


def gradient_map(
    model: keras.Model | Network,
    images: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    score: Score = "logit",
) -> Array:
    """Compute the gradient of a class score with respect to the image: `∂S_c/∂x`.

    The score is the logit `z_c`, not the softmax: the softmax saturates, and the sum of its
    entries, of which document 000, section 8.3, takes the gradient, is 1 for every image.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: float `(N, H, W, C)` in [0, 1].
        targets: Integers `(N,)`, the classes `c`; by default each image's predicted class.
        score: `"logit"` or `"probability"`.

    Returns:
        `(N, H, W, C)`, signed, in units of the score for a pixel from black to white.

    Raises:
        TypeError, ValueError: For images or targets out of shape, type or range.

    Source: Simonyan, Vedaldi, Zisserman 2013, section 3.
    """
    network = Network.of(model)
    images = network.inputs.check_images(images)
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
        caveat="where the score has levelled off, pixels that made it what it is get nothing "
        "(saturation)",
        reference="Simonyan, Vedaldi, Zisserman 2013, section 3",
    )

    def passes(self, network: Network) -> float:
        """One gradient pass."""
        return 1

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score for a pixel from black to white."""
        return network.gradient(images, targets, score=score)[0]


@register("input_x_gradient")
@dataclass(frozen=True)
class InputXGradient:
    """Input times gradient: `x ⊙ ∂S_c/∂x`, the linear term of the Taylor expansion at `x`."""

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel contributes if the network were linear",
        caveat="black pixels get nothing, whatever their blackness says",
        reference="Shrikumar, Greenside, Shcherbina, Kundaje 2016, section 2",
    )

    def passes(self, network: Network) -> float:
        """One gradient pass."""
        return 1

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score."""
        return images * network.gradient(images, targets, score=score)[0]


Quadrature = Literal["gauss_legendre", "trapezoid", "riemann_left", "riemann_middle"]


def _gauss_legendre(steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _trapezoid(steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2  # Half the weight at either end: not, as elsewhere, all of it.
    return np.linspace(0, 1, steps), weights


QUADRATURES: dict[str, Callable[[int], tuple[NDArray[np.float64], NDArray[np.float64]]]] = {
    "gauss_legendre": _gauss_legendre,
    "trapezoid": _trapezoid,
    "riemann_left": lambda steps: (np.arange(steps) / steps, np.full(steps, 1 / steps)),
    "riemann_middle": lambda steps: ((np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)),
}
"""Nodes in [0, 1] and weights that sum to one, by name."""


@register("integrated_gradients")
@dataclass(frozen=True)
class IntegratedGradients:
    """Integrated gradients: `(x - x') ⊙ ∫₀¹ ∂S_c(x' + α (x - x'))/∂x dα`.

    Attributes:
        steps: Points of the quadrature.
        quadrature: One of `QUADRATURES`.
        baseline: The value of every pixel of `x'`, in [0, 1].
    """

    steps: int = 256
    quadrature: Quadrature = "gauss_legendre"
    baseline: float = 0.0

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel adds to the score on the way from the baseline to the image",
        caveat="pixels that look like the baseline get nothing; another baseline, another map",
        reference="Sundararajan, Taly, Yan 2017, section 3",
    )

    def __post_init__(self) -> None:
        least = 2 if self.quadrature == "trapezoid" else 1
        check_counts(least, steps=self.steps)
        if self.quadrature not in QUADRATURES:
            known = ", ".join(QUADRATURES)
            raise ValueError(f"quadrature: expected one of {known}; got {self.quadrature!r}")
        check_pixels(baseline=self.baseline)

    def passes(self, network: Network) -> float:
        """One gradient pass for each step."""
        return self.steps

    def baselines(self, images: Array) -> Array:
        """The images `x'`, `(N, H, W, C)`."""
        return np.full_like(images, self.baseline)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score, summing to `S_c(x) - S_c(x')`."""
        scales, weights = QUADRATURES[self.quadrature](self.steps)
        baseline = np.full_like(images[0], self.baseline)
        mean = path_gradient(
            network,
            images,
            targets,
            baseline,
            weights=weights,
            scales=scales,
            score=score,
        )
        return (images - baseline) * mean


@dataclass(frozen=True)
class _Noisy:
    """What is averaged over noisy copies `x + ε_k`, `ε_k ~ N(0, σ²)`.

    Attributes:
        method: The method `M` that explains each copy.
        samples: Number of copies `n`.
        sigma: Standard deviation `σ` of the noise, in units of a pixel from black to white.
        seed: Seed of the noise, which is the same for every image.
    """

    method: Method = field(default_factory=Gradient)
    samples: int = 50
    sigma: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(samples=self.samples)
        check_at_least(0, sigma=self.sigma)
        check_seed(self.seed)

    def passes(self, network: Network) -> float:
        """The wrapped method's for each copy."""
        return self.samples * self.method.passes(network)

    def _noise(self, shape: tuple[int, ...]) -> Array:
        draws = np.random.default_rng(self.seed).standard_normal((self.samples, *shape), np.float32)
        return draws * np.float32(self.sigma)

    def _maps(
        self, network: Network, images: Array, targets: Targets, score: Score
    ) -> Iterator[Array]:
        """The maps of the noisy copies, one copy after the other."""
        for noise in self._noise(images.shape[1:]):
            yield self.method(network, images + noise, targets, score=score)


@register("smoothgrad")
@dataclass(frozen=True)
class SmoothGrad(_Noisy):
    """The mean over noisy copies of another method: `1/n Σ_k M(x + ε_k)`."""

    about: ClassVar[About] = About(
        family="gradient",
        shows="how the score changes with a pixel, on average around the image",
        caveat="the noisy copies are images that the network never saw; what saturates at all of "
        "them still gets nothing",
        reference="Smilkov, Thorat, Kim, Viégas, Wattenberg 2017, section 3",
    )

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return maps of the wrapped method's shape and units."""
        if not isinstance(self.method, Gradient):
            return _mean(self._maps(network, images, targets, score), self.samples)
        # The mean of gradients can be taken behind a linear first layer.
        noise = self._noise(images.shape[1:])
        return noisy_gradient(network, images, targets, noise, score=score)


@register("smoothgrad_squared")
@dataclass(frozen=True)
class SmoothGradSquared(_Noisy):
    """The mean square over noisy copies of another method: `1/n Σ_k M(x + ε_k)²`."""

    about: ClassVar[About] = About(
        family="gradient",
        shows="where the score changes strongly around the image, in either direction",
        caveat="it has no sign: evidence for and against look alike",
        reference="Hooker, Erhan, Kindermans, Kim 2019, section 4.1",
        signed=False,
    )

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return maps of the wrapped method's shape, at least 0, in its units squared."""
        squares = (maps**2 for maps in self._maps(network, images, targets, score))
        return _mean(squares, self.samples)


@register("vargrad")
@dataclass(frozen=True)
class VarGrad(_Noisy):
    """The variance over noisy copies of another method: `Var_k M(x + ε_k)`."""

    about: ClassVar[About] = About(
        family="gradient",
        shows="where the gradient is unsteady around the image",
        caveat="it has no sign, and a pixel of steady strong influence gets nothing",
        reference="Adebayo, Gilmer, Goodfellow, Kim 2018, section 2",
        signed=False,
    )

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return maps of the wrapped method's shape, at least 0, in its units squared."""
        mean: Array = np.zeros((), np.float32)
        total: Array = np.zeros((), np.float32)
        # Welford's recurrence: a difference of large squares would be rounding.
        for k, maps in enumerate(self._maps(network, images, targets, score), start=1):
            step = maps - mean
            mean = mean + step / np.float32(k)
            total = total + step * (maps - mean)
        return total / np.float32(self.samples)


def _mean(maps: Iterator[Array], count: int) -> Array:
    return functools.reduce(np.add, (one / np.float32(count) for one in maps))
