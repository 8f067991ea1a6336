"""Choose the images and metrics of an audit."""

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

# The maps' units differ between methods: compare their proportions only.
_INFIDELITY = Infidelity(maps="shares", scaled=True)
_TOP = 4  # The cell's class must be among the top `_TOP` predictions; a grid has four cells.
_STANDARD_ERRORS = 3  # By which the share of recognised cells must exceed chance.
_IMAGES_PER_CELL = 2  # The number of cells is the number of images explained, divided by this.
_FEWEST_CELLS = 2  # A confidence interval needs two scores.
_EXAMPLES = 3  # Images of each kind that the page shows side by side.


@dataclass(frozen=True)
class Budget:
    """How many images and samples an audit uses.

    Attributes:
        images: Number of test images that every method explains, at least 2.
        rerun_images: How many of these, the first ones, are used by metrics that run the method
            again, at least 2.
        samples: Largest number of noisy copies, or of other classes, for which a metric runs the
            method again, and number of random values that replace a patch; at least 2.
        without: Names of metrics to leave out.
    """

    images: int
    rerun_images: int
    samples: int
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("images", "rerun_images", "samples"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name}: expected at least 2; got {getattr(self, name)}")

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics by name, with no more samples than the budget allows."""
        metrics = {
            **METRICS,
            "infidelity": _INFIDELITY,
            "region_perturbation": RegionPerturbation(removal=Uniform(draws=self.samples)),
        }
        return {
            name: _limit_samples(metric, self.samples)
            for name, metric in metrics.items()
            if name not in self.without
        }


# The fast audit leaves these out: they take most of the time and add the least information.
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
    "fast": Budget(16, rerun_images=3, samples=2, without=_SLOW_METRICS),
    "full": Budget(256, rerun_images=12, samples=5),
}
"""The budgets by name."""


@dataclass(frozen=True, eq=False)
class Task:
    """Images and the metrics that score their maps.

    Attributes:
        images: float32 `(N, H, W, C)`, as the model takes them.
        targets: The classes explained, `(N,)`.
        metrics: The metrics by name.
        masks: True where the evidence is known to lie, `(N, H, W)`; None where it is not known.
        note: What a reader has to know about the images.
    """

    images: Array
    targets: NDArray[np.int32]
    metrics: Mapping[str, Metric]
    masks: NDArray[np.bool_] | None = None
    note: str = ""

    @property
    def from_sample(self) -> bool:
        """Whether the images are the first ones of the audit's sample, not grids."""
        return self.masks is None


def tasks_of(network: Network, dataset: Dataset, budget: Budget, seed: int) -> list[Task]:
    """Return the tasks of an audit.

    Args:
        network: The network.
        dataset: The data set; its test images are used.
        budget: How many images and samples are used.
        seed: Seed of the sample of test images and of the grids.

    Returns:
        Three tasks: the sample with the metrics that use its maps, the first images of the sample
        with the metrics that run the method again, and grids with the metrics that need masks.
    """
    rows = draw_sample(dataset, budget.images, seed)
    images = network.images_of(dataset.test_images[rows])
    targets = network.logits(images).argmax(axis=1).astype(np.int32)
    metrics = budget.metrics()

    def that_need(*needs: str) -> dict[str, Metric]:
        return {name: m for name, m in metrics.items() if m.about.needs in needs}

    first = slice(budget.rerun_images)
    tasks = [
        Task(images, targets, that_need("maps", "network")),
        Task(images[first], targets[first], that_need("method")),
    ]
    grids = _grids(network, dataset, budget, seed)
    if not len(grids.images):
        return [*tasks, grids]
    return [*tasks, dataclasses.replace(grids, metrics=that_need("masks"))]


def _grids(network: Network, dataset: Dataset, budget: Budget, seed: int) -> Task:
    """Return grids of four images, one for each cell that the network recognises.

    No map can point to evidence that the network did not find. A cell is therefore used only if
    its class is among the network's top four predictions, and no cell is used if that happens no
    more often than by chance. The task then has no images, and its note says why.
    """
    size: Literal["same", "double"] = "double" if None in network.image_shape else "same"
    try:
        known = digit_grid(dataset, budget.images, size=size, seed=seed)
    except ValueError as error:
        return _no_grids(dataset, f"These images cannot be arranged in grids: {error}.")
    images, labels = network.images_of(known.images), known.labels.astype(np.int32)
    top = np.argsort(-network.logits(images), axis=1, kind="stable")[:, :_TOP]
    recognised = (top == labels[:, np.newaxis]).any(axis=1)
    chance = _TOP / network.classes
    shrunk = ", shrunk to half their size" if size == "same" else ""
    note = (
        f"Each grid holds four images of different classes{shrunk}; the evidence for a class lies "
        "in the cell of its image. The class of a cell is among the "
        f"network's top {_TOP} predictions for {recognised.mean():.0%} of the cells; chance would "
        f"give {chance:.0%}."
    )
    standard_error = np.sqrt(chance * (1 - chance) / len(recognised))
    rows = np.flatnonzero(recognised)[: budget.images // _IMAGES_PER_CELL]
    no_better_than_chance = recognised.mean() < chance + _STANDARD_ERRORS * standard_error
    if no_better_than_chance or len(rows) < _FEWEST_CELLS:
        return _no_grids(
            dataset, f"{note} The network does not recognise the cells, so no map was scored."
        )
    note = f"{note} {len(rows)} recognised cells were scored, each by the map of its class."
    return Task(images[rows], labels[rows], {}, known.masks[rows], note)


def _no_grids(dataset: Dataset, reason: str) -> Task:
    images = normalise(dataset.test_images[:0])
    masks = np.zeros(images.shape[:3], np.bool_)
    return Task(images, np.zeros(0, np.int32), {}, masks, reason)


def draw_sample(dataset: Dataset, count: int, seed: int) -> Indices:
    """Return indices of test images, drawn without replacement; all if there are fewer."""
    total = len(dataset.test_images)
    return np.random.default_rng(seed).permutation(total)[: min(count, total)]


def choose_examples(evaluation: Evaluation) -> dict[str, Indices]:
    """Return indices of the images that the page shows: right, wrong and uncertain ones.

    Args:
        evaluation: Probabilities and labels of the test images.

    Returns:
        At most three images of each kind: `"right"`, the most confident correct predictions of
        different classes; `"wrong"`, the most confident errors; `"uncertain"`, the smallest margins
        between the first and the second class.
    """
    p = evaluation.probabilities
    by_confidence = np.argsort(-p.max(axis=1), kind="stable")
    right = by_confidence[evaluation.predictions[by_confidence] == evaluation.labels[by_confidence]]
    _, first_of_class = np.unique(evaluation.labels[right], return_index=True)
    ascending = np.sort(p, axis=1)
    by_margin = np.argsort(ascending[:, -1] - ascending[:, -2], kind="stable")
    wrong = evaluation.misclassified[:_EXAMPLES]
    return {
        "right": right[np.sort(first_of_class)][:_EXAMPLES],
        "wrong": wrong,
        "uncertain": by_margin[~np.isin(by_margin, wrong)][:_EXAMPLES],
    }


def _limit_samples(metric: Metric, samples: int) -> Metric:
    """Return the metric with at most `samples` runs of the method."""
    if metric.about.needs != "method":
        return metric
    dataclass_metric: Any = metric  # A dataclass, which a protocol cannot express.
    lower = {
        name: samples
        for name in ("samples", "others")
        # `others` is None for all other classes.
        if (number := getattr(metric, name, 0)) is None or number > samples
    }
    limited: Metric = dataclasses.replace(dataclass_metric, **lower)
    return limited
