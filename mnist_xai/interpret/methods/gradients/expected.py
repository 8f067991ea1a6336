"""Expected gradients: integrated gradients averaged over baselines drawn from data."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import check_counts, check_seed
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.gradients.paths import Leg, add_legs

Targets = NDArray[np.int32]


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

    def of_shape(self, shape: tuple[int, ...]) -> Array:
        """The images, or ValueError when they are not `(H, W, C)` of this shape."""
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
    """Raise ValueError for anything but images to draw baselines from, or None."""
    if not (background is None or isinstance(background, Background)):
        raise ValueError(
            f"background: expected Background(images) or None; got {type(background).__name__}"
        )


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
    images, others = network.inputs.check_images(images), network.inputs.check_points(baselines)
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
        caveat="the maps sum to what they should up to sampling error only; and noise as a "
        "baseline is no image that the network knows",
        reference="Erion, Janizek, Sturmfels, Lundberg, Lee 2021, section 2",
    )

    def __post_init__(self) -> None:
        check_background(self.background)
        check_counts(samples=self.samples)
        check_seed(self.seed)

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
        images = self.background.of_shape(shape)
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

    def explain_and_absorb(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array]]:
        """The maps, and the baselines' mean score, to which they add up to the image's."""
        baselines, alphas = self.draws(images.shape[1:])
        maps = expected_gradients_over(network, images, targets, baselines, alphas, score=score)
        return maps, {"baselines": mean_score(network, baselines, targets, score)}


def mean_score(network: Network, baselines: Array, targets: Targets, score: Score) -> Array:
    """The mean score of baselines for each target, `(N,)`."""
    values = network.logits(baselines) if score == "logit" else network.probabilities(baselines)
    means: Array = values.mean(axis=0)
    return means[targets]
