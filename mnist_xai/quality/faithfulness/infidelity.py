"""Infidelity: the squared error of a map as a linear model of the score."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Pixel, Positive, Seed
from mnist_xai.interpret.methods.perturbation.features import Pixels, summed
from mnist_xai.quality.base import (
    ExplainedBatch,
    MetricAbout,
    Refusals,
    Scores,
    register,
    score_images,
)
from mnist_xai.quality.faithfulness.correlation import (
    Subsets,
    blank_images,
    score_drops,
)
from mnist_xai.quality.parameters import one_of
from mnist_xai.quality.statistics import Values

Reading = Annotated[Literal["slopes", "shares"], one_of("slopes", "shares")]
"""How maps are read: as slopes of the score, or as shares of it."""


class Perturbation(Protocol):
    """Random changes `I` that are subtracted from images.

    They are drawn from a seed, for all images alike.
    """

    def refusals(self, batch: ExplainedBatch) -> Refusals:
        """Return the refusals of images that cannot change.

        Raises:
            ValueError: If no image of this size can be perturbed.
        """

    def predicted_and_actual_drops(
        self, batch: ExplainedBatch, maps: Reading, samples: int, seed: int
    ) -> tuple[Values, Values]:
        """Return the drops that the maps predict, `Iᵀ Φ`, and the real ones, `f(x) - f(x - I)`.

        Args:
            batch: The images and their maps.
            maps: How the maps are read.
            samples: Largest number of perturbations, `K`.
            seed: Seed of the perturbations.

        Returns:
            Predicted and real drops, `(N, K)` each.
        """


@dataclass(frozen=True)
class RemovedSquares(Hyperparameters):
    """Set squares to a baseline `b`: `I` is `x - b` inside a square and 0 outside.

    Positions are drawn without replacement. If there are at least as many samples as positions,
    each position is used once, and the mean over the positions is exact.

    Attributes:
        side: Side of a square in pixels.
        baseline: The value `b`, in [0, 1].
    """

    side: Count = 7
    baseline: Pixel = 0.0

    def refusals(self, batch: ExplainedBatch) -> Refusals:
        """Return the refusals of images that are the baseline everywhere."""
        if self.side > min(batch.height_width):
            raise ValueError(
                f"side: expected at most {min(batch.height_width)}, the shorter side of the "
                f"image; got {self.side}"
            )
        return blank_images(batch, Pixels().labels(*batch.height_width), self.baseline)

    def predicted_and_actual_drops(
        self, batch: ExplainedBatch, maps: Reading, samples: int, seed: int
    ) -> tuple[Values, Values]:
        """Return the predicted and the real drops, `(N, K)` each."""
        labels = Pixels().labels(*batch.height_width)
        off = self.squares(*batch.height_width, samples, seed)
        shares = batch.relevance
        if maps == "slopes":
            shares = (_slopes(batch) * (batch.images - np.float64(self.baseline))).sum(axis=-1)
        predicted = summed(shares, labels) @ off.T.astype(np.float64)
        return predicted, score_drops(batch, off, labels, self.baseline)

    def squares(self, height: int, width: int, samples: int, seed: int) -> Subsets:
        """Return the squares, true for the pixels inside, `(K, H·W)`."""
        pixels = np.arange(height * width).reshape(height, width)
        windows = sliding_window_view(pixels, (self.side, self.side))
        inside = windows.reshape(-1, self.side**2)  # (positions, side²)
        order = np.random.default_rng(seed).permutation(len(inside))[:samples]
        off = np.zeros((len(order), height * width), np.bool_)
        np.put_along_axis(off, inside[order], values=True, axis=1)
        return off


@dataclass(frozen=True)
class AddedNoise(Hyperparameters):
    """Subtract Gaussian noise from every channel of every pixel: `I ~ N(0, σ²)`.

    The noisy images may lie outside [0, 1].

    Attributes:
        sigma: Standard deviation `σ` of the noise.
    """

    sigma: Positive = 0.2

    def refusals(self, batch: ExplainedBatch) -> Refusals:  # noqa: ARG002  Perturbations share one signature.
        """Return no refusals: noise changes every image."""
        return {}

    def predicted_and_actual_drops(
        self,
        batch: ExplainedBatch,
        maps: Reading,  # noqa: ARG002  Perturbations share one signature.
        samples: int,
        seed: int,
    ) -> tuple[Values, Values]:
        """Return the predicted and the real drops, `(N, K)` each."""
        rng = np.random.default_rng(seed)
        slopes = _slopes(batch)
        scores = _scores_of_points(batch, batch.images)
        predicted, drops = [], []
        # As many draws at a time as fit into one chunk of the network, but at least one.
        step = max(1, batch.network.batch_size // len(batch))
        for start in range(0, samples, step):
            shape = (min(step, samples - start), *batch.images.shape[1:])
            noise = (self.sigma * rng.standard_normal(shape)).astype(np.float32)
            predicted.append(np.einsum("nhwc,khwc->nk", slopes, noise.astype(np.float64)))
            points = (batch.images - noise[:, np.newaxis]).reshape(-1, *shape[1:])  # (k·N, …)
            drops.append(scores - _scores_of_points(batch, points).reshape(len(noise), -1))
        return np.concatenate(predicted, axis=1), np.concatenate(drops).T


@register("infidelity")
@dataclass(frozen=True)
class Infidelity(Hyperparameters):
    """`E_I[(β Iᵀ Φ(x) - (f(x) - f(x - I)))²]`, in squares of the score's unit; 0 is best.

    By default `β = 1`, so the scale of a map counts. Maps without a unit, such as class activation
    maps, have no meaningful score then. With `scaled`, `β` is the best factor for each image,
    `E[Iᵀ Φ Δf] / E[(Iᵀ Φ)²]`, so only proportions count; `β` may be negative.

    A map of slopes is `Φ` itself. A map of shares sums to the score or to a difference of scores.
    It is already multiplied by the image, so `Iᵀ Φ` is its sum over the removed pixels. A good map
    scores badly if `maps` does not say which kind it is.

    (Quantus removes its squares one after the other and never restores one, so that `I` grows to
    the whole image; it draws nothing at random.)

    Attributes:
        perturbation: What is subtracted from the image.
        maps: Whether the maps are `"slopes"` or `"shares"` of the score.
        scaled: Whether each map is multiplied by its best `β`.
        samples: Number of perturbations.
        seed: Seed of the perturbations.
    """

    perturbation: Perturbation = RemovedSquares()
    maps: Reading = "slopes"
    scaled: bool = False
    samples: Count = 200
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=False,
        shows="the squared error of the map as a linear model of the score's drops",
        caveat="only maps of the unit that `maps` names can be compared; networks and images with "
        "larger scores have larger errors",
        reference="Yeh et al. 2019, definition 2.1",
        needs="network",
        range=(0, np.inf),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.maps == "shares" and isinstance(self.perturbation, AddedNoise):
            raise ValueError(
                "maps: expected slopes for perturbation=AddedNoise; got 'shares', which do not "
                "tell how noise changes the score"
            )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return score_images(batch, self._measure, self.perturbation.refusals(batch))

    def _measure(self, batch: ExplainedBatch) -> Values:
        predicted, drops = self.perturbation.predicted_and_actual_drops(
            batch, self.maps, self.samples, self.seed
        )
        if self.scaled:
            power = (predicted**2).sum(axis=1)
            # If all predictions are 0, beta makes no difference.
            beta = (predicted * drops).sum(axis=1) / np.where(power > 0, power, 1)
            predicted = beta[:, np.newaxis] * predicted
        return ((predicted - drops) ** 2).mean(axis=1)


def _slopes(batch: ExplainedBatch) -> Values:
    """Return the maps with the image's channels; a map of one channel applies to all of them."""
    return np.broadcast_to(batch.maps.astype(np.float64), batch.images.shape)


def _scores_of_points(batch: ExplainedBatch, points: Array) -> Values:
    """Return the scores of points around the images, `(K·N,)`; points may lie outside [0, 1]."""
    targets = np.tile(batch.targets, len(points) // len(batch))
    found = batch.network.scores_at(points, targets, score=batch.score)
    return found.astype(np.float64)
