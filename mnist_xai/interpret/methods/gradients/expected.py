"""Expected gradients: integrated gradients averaged over baselines drawn from data."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Seed
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.gradients.paths import Leg, add_legs


@dataclass(frozen=True, eq=False)
class Background:
    """The images from which baselines are drawn.

    Two backgrounds with equal images are equal and have the same hash.

    Attributes:
        images: Floats `(B, H, W, C)`, as the model takes them; a read-only copy.

    Raises:
        TypeError, ValueError: For images of another type or shape, or with values that are not
            finite.
    """

    images: Array

    def __post_init__(self) -> None:
        given = np.asarray(self.images)
        if given.dtype.kind != "f":
            raise TypeError(f"images: expected floats; got {given.dtype}")
        if given.ndim != 4 or not given.size:
            raise ValueError(f"images: expected (B, H, W, C), at least one; got {given.shape}")
        if not np.isfinite(given).all():
            raise ValueError("images: expected finite values; some are NaN or infinite")
        copied = given.astype(np.float32, order="C")
        copied.setflags(write=False)
        object.__setattr__(self, "images", copied)

    def of_shape(self, shape: tuple[int, ...]) -> Array:
        """Return the images.

        Raises:
            ValueError: For images of another shape than this `(H, W, C)`.
        """
        if self.images.shape[1:] != shape:
            raise ValueError(f"background: expected images {shape}; got {self.images.shape[1:]}")
        return self.images

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


def check_background(background: Background | None) -> None:
    """Raise ValueError unless this is a `Background` or None."""
    if not (background is None or isinstance(background, Background)):
        raise ValueError(
            f"background: expected Background(images) or None; got {type(background).__name__}"
        )


def unit_baselines(network: Network, background: Background | None, baselines: Array) -> Array:
    """Return baselines in unit coordinates: those of a background are as the model takes them.

    Raises:
        ValueError: For a background outside the network's range.
    """
    if background is None:
        return baselines
    try:
        return network.inputs.check_images(baselines)
    except ValueError as error:
        raise ValueError(f"background: {error}") from error


def expected_gradients_over(
    network: Network,
    images: ArrayLike,
    targets: ArrayLike,
    baselines: ArrayLike,
    alphas: ArrayLike,
    *,
    score: Score = "logit",
) -> Array:
    """Average over given draws: `1/K Σ_k (x - x'_k) ⊙ ∂S_c/∂x (x'_k + α_k (x - x'_k))`.

    Use it to reproduce the result of another program from that program's draws.

    Args:
        network: The network.
        images: Unit images `(N, H, W, C)`, `x`.
        targets: Integers `(N,)`, the classes `c`.
        baselines: `x'_k`, unit images shared by all images, `(K, H, W, C)`.
        alphas: `α_k`, `(K,)` in [0, 1].
        score: Whether `S_c` is the logit or the probability.

    Returns:
        `(N, H, W, C)`, in units of the score.

    Raises:
        TypeError, ValueError: For arrays of the wrong shape, type or range.

    Source: Erion, Janizek, Sturmfels, Lundberg, Lee 2021, section 2; Lundberg, Lee 2017.
    """
    images, others = map(network.inputs.check_points, (images, baselines))
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

    return add_legs(
        network, images, network.inputs.check_targets(targets, len(images)), legs, score
    )


@register("expected_gradients")
@dataclass(frozen=True)
class ExpectedGradients(Hyperparameters):
    """Expected gradients: `E_(x', α) (x - x') ⊙ ∂S_c/∂x (x' + α (x - x'))`, `α ~ U(0, 1)`.

    This is the mean of integrated gradients over the baselines `x'`, estimated from random draws
    of `x'` and `α` as in GradientSHAP. Every image gets the same draws.

    Attributes:
        background: The images from which `x'` is drawn; the method is meant for images like those
            that the network was trained on. By default `x'` is uniform noise: it needs no data,
            but the network never saw such images.
        samples: Number of draws `K` of a baseline and an `α`.
        seed: Seed of the draws.
        stratified: Whether `α_k` is drawn from the `k`-th of `K` equal parts of [0, 1], and all
            background images are drawn equally often, up to one draw. This keeps the expectation
            and lowers the sampling error. Otherwise all draws are independent.
    """

    background: Background | None = None
    samples: Count = 256
    seed: Seed = 0
    stratified: bool = True

    about: ClassVar[About] = About(
        family="gradient",
        shows="what each pixel adds to the score on the way from a typical baseline to the image",
        caveat="the promised sum holds only up to sampling error; without a background the "
        "baselines are noise, which the network never saw",
        reference="Erion, Janizek, Sturmfels, Lundberg, Lee 2021, section 2",
    )

    def __post_init__(self) -> None:
        check_background(self.background)
        super().__post_init__()

    def passes(self, network: Network) -> float:
        """Return the number of draws: one gradient pass for each."""
        return self.samples

    def draws(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Return baselines `(K, H, W, C)` and `α`, `(K,)`, for images of shape `(H, W, C)`."""
        rng = np.random.default_rng(self.seed)
        k = self.samples
        alphas = rng.random(k)
        if self.stratified:
            alphas = (np.arange(k) + alphas) / k
        if self.background is None:
            return rng.random((k, *shape), np.float32), alphas.astype(np.float32)
        images = self.background.of_shape(shape)
        if self.stratified:
            # The inner shuffle chooses the images that are drawn once more than the others. The
            # outer shuffle makes the α of an image independent of its position.
            index = rng.permutation(np.resize(rng.permutation(len(images)), k))
        else:
            index = rng.integers(len(images), size=k)
        return images[index], alphas.astype(np.float32)

    def _unit_draws(self, network: Network, shape: tuple[int, ...]) -> tuple[Array, Array]:
        baselines, alphas = self.draws(shape)
        return unit_baselines(network, self.background, baselines), alphas

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score."""
        baselines, alphas = self._unit_draws(network, images.shape[1:])
        return expected_gradients_over(network, images, targets, baselines, alphas, score=score)

    def explain_and_absorb(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array]]:
        """Return the maps and the mean score of the baselines: together they sum to `S_c(x)`."""
        baselines, alphas = self._unit_draws(network, images.shape[1:])
        maps = expected_gradients_over(network, images, targets, baselines, alphas, score=score)
        return maps, {"baselines": mean_score(network, baselines, targets, score)}


def mean_score(network: Network, baselines: Array, targets: Targets, score: Score) -> Array:
    """Return the mean score of the baselines for each target, `(N,)`."""
    values = network.runner.head.values(network.logits_at(baselines), score)
    means: Array = np.asarray(values).mean(axis=0)
    return means[targets]
