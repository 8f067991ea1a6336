"""What an audit asks: of which images, by which metrics."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_xai.data import Dataset, normalise
from mnist_xai.evaluation import Evaluation
from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.quality import (
    METRICS,
    Infidelity,
    Metric,
    RegionPerturbation,
    Uniform,
)
from mnist_xai.quality.synthetic.ground_truth import digit_grid

Indices = NDArray[np.int64]

# Maps have different units: only their proportions can be held against one another.
_INFIDELITY = Infidelity(maps="shares", scaled=True)
_FIRST = 4  # Answers among which the class of a grid's cell has to be: there are four cells.
_CHANCE = 3  # Standard errors that a share has to be above chance.
_CELLS = 2  # Images explained for which there is one cell of a grid more.
_FEWEST = 2  # Cells without which no interval can be told.
_SHOWN = 3  # Images of each kind, side by side.


@dataclass(frozen=True)
class Budget:
    """How much an audit looks at.

    Attributes:
        images: Test images that every method explains.
        again: Of these, the first so many for the metrics that run the method again.
        samples: Copies and other classes for which a metric runs the method again, at most; and
            draws of what patches are replaced by.
        without: Metrics that are left out.
    """

    images: int
    again: int
    samples: int
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("images", "again", "samples"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name}: expected at least 2; got {getattr(self, name)}")

    def metrics(self) -> dict[str, Metric]:
        """Every metric by name, with no more draws than the budget has."""
        asked = {**METRICS, "infidelity": _INFIDELITY}
        asked["region_perturbation"] = RegionPerturbation(removal=Uniform(draws=self.samples))
        return {
            name: _within(metric, self.samples)
            for name, metric in asked.items()
            if name not in self.without
        }


# They take most of the time, for the least that a reader learns.
_SLOW_METRICS = (
    "road_least",
    "smooth_parameter_randomisation",
    "efficient_parameter_randomisation",
    "consistency",
    "implementation_invariance",
    "linearity",
    "symmetry",
)

BUDGETS: Mapping[str, Budget] = {
    "fast": Budget(16, again=3, samples=2, without=_SLOW_METRICS),
    "full": Budget(256, again=12, samples=5),
}
"""The budgets by name."""


@dataclass(frozen=True, eq=False)
class Task:
    """Images and the metrics that look at their explanations.

    Attributes:
        images: float32 `(N, H, W, C)` in [0, 1].
        targets: The classes explained, `(N,)`.
        metrics: By name.
        masks: Where the evidence lies, `(N, H, W)`, where it is known.
        note: What a reader has to know of the images.
    """

    images: Array
    targets: NDArray[np.int32]
    metrics: Mapping[str, Metric]
    masks: NDArray[np.bool_] | None = None
    note: str = ""

    @property
    def same(self) -> bool:
        """Whether these images, or the first of them, are those that all tasks are about."""
        return self.masks is None


def tasks_of(network: Network, dataset: Dataset, budget: Budget, seed: int) -> list[Task]:
    """The tasks of a network: one look at many images, several looks at some, and grids.

    Args:
        network: The network.
        dataset: Its test images are drawn from.
        budget: How much is looked at.
        seed: Seed of the draw.
    """
    images = images_of(dataset, sample_of(dataset, budget.images, seed))
    targets = network.logits(images).argmax(axis=1).astype(np.int32)
    metrics = budget.metrics()

    def asking(*needs: str) -> dict[str, Metric]:
        return {name: m for name, m in metrics.items() if m.about.needs in needs}

    tasks = [
        Task(images, targets, asking("maps", "network")),
        Task(images[: budget.again], targets[: budget.again], asking("method")),
    ]
    grids = _grids(network, dataset, budget, seed)
    if not len(grids.images):
        return [*tasks, grids]
    return [*tasks, dataclasses.replace(grids, metrics=asking("masks"))]


def _grids(network: Network, dataset: Dataset, budget: Budget, seed: int) -> Task:
    """Grids of four images, as far as the network sees in them what they show.

    No map can be held to evidence that the network did not find. So a cell is asked about when its
    class is among the network's first four answers; and none is when this is no more often so than
    it would be by chance. The task then has no images, and says so.
    """
    size: Literal["same", "double"] = "double" if None in network.image_shape else "same"
    try:
        known = digit_grid(dataset, budget.images, size=size, seed=seed)
    except ValueError as error:
        return _no_grids(dataset, f"No grids can be made of these images: {error}.")
    pixels, labels = normalise(known.images), known.labels.astype(np.int32)
    first = np.argsort(-network.logits(pixels), axis=1, kind="stable")[:, :_FIRST]
    seen = (first == labels[:, np.newaxis]).any(axis=1)
    chance = _FIRST / network.classes
    note = (
        f"Four images of four classes{', shrunk to half,' if size == 'same' else ''} make one: the "
        "evidence for a class is known to lie in its quarter. The network has the class of "
        f"{seen.mean():.0%} of the quarters among its first {_FIRST} answers; by chance it would "
        f"be {chance:.0%}."
    )
    spread = np.sqrt(chance * (1 - chance) / len(seen))
    rows = np.flatnonzero(seen)[: budget.images // _CELLS]
    if seen.mean() < chance + _CHANCE * spread or len(rows) < _FEWEST:
        return _no_grids(
            dataset, f"{note} It does not see what they show, so that no map was held to it."
        )
    note = f"{note} {len(rows)} of those that it sees were asked about."
    return Task(pixels[rows], labels[rows], {}, known.masks[rows], note)


def _no_grids(dataset: Dataset, why: str) -> Task:
    nothing = images_of(dataset, np.zeros(0, np.int64))
    masks = np.zeros(nothing.shape[:3], np.bool_)
    return Task(nothing, np.zeros(0, np.int32), {}, masks, why)


def sample_of(dataset: Dataset, count: int, seed: int) -> Indices:
    """Numbers of test images, drawn without replacement; all of them where there are no more."""
    total = len(dataset.test_images)
    return np.random.default_rng(seed).permutation(total)[: min(count, total)]


def shown_of(evaluation: Evaluation) -> dict[str, Indices]:
    """Numbers of images to look at: rightly and surely told, mistaken, and hardly decided.

    Args:
        evaluation: The test images' probabilities and labels.

    Returns:
        By kind, at most three each: the surest right ones of different classes, the surest
        mistakes, and those with the least lead of the first class over the second.
    """
    p = evaluation.probabilities
    sure = np.argsort(-p.max(axis=1), kind="stable")
    right = sure[evaluation.predictions[sure] == evaluation.labels[sure]]
    _, first = np.unique(evaluation.labels[right], return_index=True)
    top = np.sort(p, axis=1)
    hard = np.argsort(top[:, -1] - top[:, -2], kind="stable")
    mistakes = evaluation.misclassified[:_SHOWN]
    return {
        "right": right[np.sort(first)][:_SHOWN],
        "wrong": mistakes,
        "uncertain": hard[~np.isin(hard, mistakes)][:_SHOWN],
    }


def images_of(dataset: Dataset, rows: Indices) -> Array:
    """Test images as a network sees them, float32 in [0, 1]."""
    return normalise(dataset.test_images[rows])


def _within(metric: Metric, samples: int) -> Metric:
    """The metric with at most so many runs of the method; itself where it makes none."""
    if metric.about.needs != "method":
        return metric
    values: Any = metric  # That it is a dataclass no protocol can say.
    fewer = {
        name: samples
        for name in ("samples", "others")
        # Other classes: None for all of them.
        if (drawn := getattr(metric, name, 0)) is None or drawn > samples
    }
    within: Metric = dataclasses.replace(values, **fewer)
    return within
