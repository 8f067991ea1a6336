"""Infidelity: by how much a map, taken as a linear model of the score, mispredicts it."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.parameters import (
    check_counts,
    check_pixels,
    check_positive,
    check_seed,
)
from mnist_xai.interpret.methods.perturbation.features import Pixels, summed
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Refusals, Scores, measured, register
from mnist_xai.quality.faithfulness.correlation import (
    Subsets,
    blank_images,
    score_drops,
)
from mnist_xai.quality.statistics import Values

Reading = Literal["slopes", "shares"]


class Perturbation(Protocol):
    """What is taken from an image, `I`: a value, drawn from a seed and the same for all images."""

    def refused(self, batch: ExplainedBatch) -> Refusals:
        """Images from which nothing is taken; ValueError where that is so for any image."""

    def answers(
        self, batch: ExplainedBatch, maps: Reading, samples: int, seed: int
    ) -> tuple[Values, Values]:
        """What the map expects, `Iᵀ Φ`, and what happens, `f(x) - f(x - I)`: both `(N, K)`."""


@dataclass(frozen=True)
class RemovedSquares:
    """Squares are set to a baseline `b`: `I` is `x - b` inside and 0 outside.

    Places are drawn without replacement; as many samples as there are places, or more, take each
    once, and then the mean over the places is exact.

    Attributes:
        side: Side of a square in pixels.
        baseline: Its value `b`, in [0, 1].
    """

    side: int = 7
    baseline: float = 0.0

    def __post_init__(self) -> None:
        check_counts(side=self.side)
        check_pixels(baseline=self.baseline)

    def refused(self, batch: ExplainedBatch) -> Refusals:
        """Images that are the baseline everywhere."""
        if self.side > min(batch.height_width):
            raise ValueError(
                f"side: expected at most {min(batch.height_width)}, a side of the image; "
                f"got {self.side}"
            )
        return blank_images(batch, Pixels().labels(*batch.height_width), self.baseline)

    def answers(
        self, batch: ExplainedBatch, maps: Reading, samples: int, seed: int
    ) -> tuple[Values, Values]:
        """What the map expects and what happens, `(N, K)`."""
        labels = Pixels().labels(*batch.height_width)
        off = self.squares(*batch.height_width, samples, seed)
        taken = batch.places
        if maps == "slopes":
            taken = (_slopes(batch) * (batch.images - np.float64(self.baseline))).sum(axis=-1)
        expected = summed(taken, labels) @ off.T.astype(np.float64)
        return expected, score_drops(batch, off, labels, self.baseline)

    def squares(self, height: int, width: int, samples: int, seed: int) -> Subsets:
        """The squares, `(K, H·W)`."""
        places = np.arange(height * width).reshape(height, width)
        windows = sliding_window_view(places, (self.side, self.side))
        inside = windows.reshape(-1, self.side**2)  # (places, side²)
        order = np.random.default_rng(seed).permutation(len(inside))[:samples]
        off = np.zeros((len(order), height * width), np.bool_)
        np.put_along_axis(off, inside[order], values=True, axis=1)
        return off


@dataclass(frozen=True)
class AddedNoise:
    """Gaussian noise is taken from every channel of every pixel: `I ~ N(0, σ²)`.

    What is left may lie outside [0, 1].

    Attributes:
        sigma: Its standard deviation `σ`.
    """

    sigma: float = 0.2

    def __post_init__(self) -> None:
        check_positive(sigma=self.sigma)

    def refused(self, batch: ExplainedBatch) -> Refusals:  # noqa: ARG002  Perturbations share one signature.
        """None."""
        return {}

    def answers(
        self,
        batch: ExplainedBatch,
        maps: Reading,  # noqa: ARG002  Perturbations share one signature.
        samples: int,
        seed: int,
    ) -> tuple[Values, Values]:
        """What the map expects and what happens, `(N, K)`."""
        rng = np.random.default_rng(seed)
        slopes = _slopes(batch)
        kept = _scores_of_points(batch, batch.images)
        expected, drops = [], []
        # Draws at a time: no more points than the network takes at once, if there are few images.
        step = max(1, batch.network.batch_size // len(batch))
        for start in range(0, samples, step):
            shape = (min(step, samples - start), *batch.images.shape[1:])
            noise = (self.sigma * rng.standard_normal(shape)).astype(np.float32)
            expected.append(np.einsum("nhwc,khwc->nk", slopes, noise.astype(np.float64)))
            points = (batch.images - noise[:, np.newaxis]).reshape(-1, *shape[1:])  # (k·N, …)
            drops.append(kept - _scores_of_points(batch, points).reshape(len(noise), -1))
        return np.concatenate(expected, axis=1), np.concatenate(drops).T


@register("infidelity")
@dataclass(frozen=True)
class Infidelity:
    """`E_I[(β Iᵀ Φ(x) - (f(x) - f(x - I)))²]`, in squares of the score's unit; 0 is best.

    `β` is 1, so that the scale of a map counts: a map without unit, as that of a class activation,
    has no score worth the name then. `scaled` takes instead the `β` that suits the image best,
    `E[Iᵀ Φ Δf] / E[(Iᵀ Φ)²]`, under which only proportions count; `β` may be negative.

    A map of slopes is `Φ` itself. A map of shares, which sum to the score or to a difference of
    scores, is already multiplied by the image, so that `Iᵀ Φ` is its sum over what is removed.
    Read as what it is not, a good map scores badly.

    (Quantus removes its squares one after the other and never puts one back, so that `I` grows to
    the whole image; it draws nothing.)

    Attributes:
        perturbation: What is taken from the image.
        maps: Whether the maps are slopes or shares of the score.
        scaled: Whether each map is scaled by its best `β`.
        samples: Number of perturbations.
        seed: Seed of the perturbations.
    """

    perturbation: Perturbation = RemovedSquares()
    maps: Reading = "slopes"
    scaled: bool = False
    samples: int = 200
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="faithfulness",
        higher_is_better=False,
        shows="the squared error of the map as a linear model of what the image loses",
        caveat="maps of another unit than slopes, or than shares where these are asked for, are "
        "compared; the scores of networks, or of images, of unequal scale are averaged",
        reference="Yeh et al. 2019, definition 2.1",
        needs="network",
        range=(0, np.inf),
    )

    def __post_init__(self) -> None:
        check_counts(samples=self.samples)
        if self.maps not in ("slopes", "shares"):
            raise ValueError(f"maps: expected slopes or shares; got {self.maps!r}")
        if self.maps == "shares" and isinstance(self.perturbation, AddedNoise):
            raise ValueError(
                "maps: expected slopes where noise is taken from the image; shares say nothing of "
                "it"
            )
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return measured(batch, self._measure, self.perturbation.refused(batch))

    def _measure(self, batch: ExplainedBatch) -> Values:
        expected, drops = self.perturbation.answers(batch, self.maps, self.samples, self.seed)
        if self.scaled:
            power = (expected**2).sum(axis=1)
            # A map that expects nothing is as good with any scale.
            beta = (expected * drops).sum(axis=1) / np.where(power > 0, power, 1)
            expected = beta[:, np.newaxis] * expected
        return ((expected - drops) ** 2).mean(axis=1)


def _slopes(batch: ExplainedBatch) -> Values:
    """The maps with the image's channels: a map of places holds for each of them."""
    return np.broadcast_to(batch.maps.astype(np.float64), batch.images.shape)


def _scores_of_points(batch: ExplainedBatch, points: Array) -> Values:
    """Scores of points around the images, which may lie outside [0, 1]; targets in their order."""
    targets = np.tile(batch.targets, len(points) // len(batch))
    found = batch.network.scores_at(points, targets, score=batch.score)
    return found.astype(np.float64)
