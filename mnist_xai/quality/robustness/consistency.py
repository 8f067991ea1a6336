"""Consistency: whether images with the same explanation have the same prediction."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Seed
from mnist_xai.interpret.methods.perturbation.features import Grid
from mnist_xai.quality.base import (
    ExplainedBatch,
    MetricAbout,
    Refusals,
    Scores,
    register,
    score_images,
)
from mnist_xai.quality.parameters import Radius
from mnist_xai.quality.robustness.noisy_copies import (
    explained_copies,
    logits_of_copies,
    uniform_noise,
)
from mnist_xai.quality.statistics import Values


@register("consistency")
@dataclass(frozen=True)
class Consistency(Hyperparameters):
    """Share of the copies with the same explanation that have the same prediction.

    `P(f(x_k) = f(x) | e(x_k) = e(x))`, where `f` is the predicted class and `e` a coarse summary
    of its map: the cells of a grid with the largest mean magnitude.

    In the paper `x_k` is drawn from the data, so the score of an image depends on the other
    images. Here `x_k` are noisy copies of the image: this is the paper's local consistency, which
    it also averages into one number, for this distribution. (Quantus compares the images of a data
    set with each other, by default by the signs of the first five pixels. An image that no other
    image resembles scores 0.)

    Attributes:
        radius: Largest change of a pixel; copies stay in [0, 1].
        samples: Copies of each image.
        cells: Cells along each side of the grid.
        top: Number of cells in the summary of a map.
        seed: Seed of the noise, which is the same for all images.
    """

    radius: Radius = 0.5
    samples: Count = 32
    cells: Count = 4
    top: Count = 1
    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="robustness",
        higher_is_better=True,
        shows="whether images with the same explanation have the same prediction",
        caveat="if noise never changes the prediction, every map is consistent",
        reference="Dasgupta, Frost, Moshkovitz 2022, section 3",
        needs="method",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top >= self.cells**2:
            raise ValueError(f"top: expected fewer than the {self.cells**2} cells; got {self.top}")

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image; refuse images whose target is not the predicted class.

        Raises:
            ValueError: For images with fewer pixels along a side than the grid has cells.
        """
        Grid(self.cells).labels(*batch.height_width)
        predicted = batch.network.logits_at(batch.images).argmax(axis=1)
        reason = "its target is not the predicted class, which this metric explains"
        refused: Refusals = dict.fromkeys(
            np.flatnonzero(predicted != batch.targets).tolist(), reason
        )
        undefined = "no noisy copy has the same explanation"
        return score_images(batch, self._measure, refused, undefined=undefined)

    def _measure(self, batch: ExplainedBatch) -> Values:
        noise = uniform_noise(batch, self.samples, self.radius, self.seed)
        predicted = logits_of_copies(batch, noise).argmax(axis=-1).astype(np.int32)
        top_cells = self._top_cells(batch.relevance)
        same_map = np.zeros(predicted.shape, np.bool_)
        for copies in explained_copies(batch, noise, targets=predicted):
            same = (self._top_cells(copies.relevance) == top_cells[copies.rows]).all(axis=1)
            same_map[copies.rows, copies.columns] = same
        same_both = same_map & (predicted == batch.targets[:, np.newaxis])
        count = same_map.sum(axis=1)
        return np.where(count, same_both.sum(axis=1) / np.maximum(count, 1), np.nan)

    def _top_cells(self, relevance: Values) -> NDArray[np.bool_]:
        """Return which cells have the largest mean magnitude of a map, `(P, cells²)`."""
        labels = Grid(self.cells).labels(*relevance.shape[1:])
        in_cell = np.eye(self.cells**2)[labels.ravel()]
        means = np.abs(relevance).reshape(len(relevance), -1) @ in_cell / in_cell.sum(axis=0)
        order = np.argsort(-means, axis=1, kind="stable")[:, : self.top]
        top_cells = np.zeros(means.shape, np.bool_)
        np.put_along_axis(top_cells, order, True, axis=1)
        return top_cells
