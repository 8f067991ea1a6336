"""Consistency: whether images with the same explanation are predicted to be the same."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.parameters import check_counts, check_seed
from mnist_xai.interpret.methods.perturbation.features import Grid
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Refusals, Scores, measured, register
from mnist_xai.quality.robustness.noisy_copies import (
    check_noise,
    explained_copies,
    logits_of_copies,
    uniform_noise,
)
from mnist_xai.quality.statistics import Values


@register("consistency")
@dataclass(frozen=True)
class Consistency:
    """Share of the copies explained alike that are predicted alike.

    `P(f(x_k) = f(x) | e(x_k) = e(x))`, with `f` the predicted class and `e` what the map of that
    class says, coarsely: which cells of a grid hold most of its magnitude.

    In the paper `x_k` is drawn from the data, and an image's score so depends on which others are
    there. Here the distribution is that of the image's own noisy copies: the paper's local
    consistency, which it also averages into one number, for this distribution. Quantus compares
    the images of a data set with each other, by default by the signs of the first five pixels,
    and scores 0 for an image that no other is like.

    Attributes:
        radius: Largest change of a pixel; copies stay in [0, 1].
        samples: Copies of each image.
        cells: Cells along a side of the grid.
        top: How many cells make up what a map says.
        seed: Seed of the noise, which all images share.
    """

    radius: float = 0.5
    samples: int = 32
    cells: int = 4
    top: int = 1
    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=True,
        shows="whether an explanation goes with one prediction only",
        caveat="a prediction that noise never changes is consistent whatever the map says",
        reference="Dasgupta, Frost, Moshkovitz 2022, section 3",
        needs="method",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        check_noise(self.radius, self.samples)
        check_counts(cells=self.cells, top=self.top)
        if self.top >= self.cells**2:
            raise ValueError(f"top: expected fewer than the {self.cells**2} cells; got {self.top}")
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; those whose target is not the predicted class are refused.

        Raises:
            ValueError: For images with fewer pixels along a side than the grid has cells.
        """
        Grid(self.cells).labels(*batch.height_width)
        predicted = batch.network.logits(batch.images).argmax(axis=1)
        reason = "its target is not the predicted class, of which the metric speaks"
        refused: Refusals = dict.fromkeys(
            np.flatnonzero(predicted != batch.targets).tolist(), reason
        )
        alone = "no noisy copy has the same explanation"
        return measured(batch, self._measure, refused, undefined=alone)

    def _measure(self, batch: ExplainedBatch) -> Values:
        noise = uniform_noise(batch, self.samples, self.radius, self.seed)
        predicted = logits_of_copies(batch, noise).argmax(axis=-1).astype(np.int32)
        said = self._says(batch.places)
        alike = np.zeros(predicted.shape, np.bool_)
        for some in explained_copies(batch, noise, targets=predicted):
            same = (self._says(some.places) == said[some.rows]).all(axis=1)
            alike[some.rows, some.columns] = same
        agreed = alike & (predicted == batch.targets[:, np.newaxis])
        count = alike.sum(axis=1)
        return np.where(count, agreed.sum(axis=1) / np.maximum(count, 1), np.nan)

    def _says(self, places: Values) -> NDArray[np.bool_]:
        """Whether each cell is one of those with most of the map's magnitude, `(P, cells²)`."""
        labels = Grid(self.cells).labels(*places.shape[1:])
        of_cell = np.eye(self.cells**2)[labels.ravel()]
        sums = np.abs(places).reshape(len(places), -1) @ of_cell / of_cell.sum(axis=0)
        order = np.argsort(-sums, axis=1, kind="stable")[:, : self.top]
        says = np.zeros(sums.shape, np.bool_)
        np.put_along_axis(says, order, True, axis=1)
        return says
