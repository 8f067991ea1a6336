"""What an audit asks: of which images, by which metrics."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_xai.data import Dataset, normalise
from mnist_xai.evaluation import Evaluation
from mnist_xai.interpret.network import Array, Network
from mnist_xai.quality import METRICS, Infidelity, Metric
from mnist_xai.quality.ground_truth import digit_grid

Indices = NDArray[np.int64]

# Maps have different units: only their proportions can be held against one another.
_INFIDELITY = Infidelity(maps="shares", scaled=True)
_CELLS = 2  # Images explained for which there is one cell of a grid more.
_FEWEST = 2  # Cells without which no interval can be told.
_SHOWN = 3  # Images of each kind, side by side.


@dataclass(frozen=True)
class Budget:
    """How much an audit looks at.

    Attributes:
        images: Test images that every method explains.
        again: Of these, the first so many for the metrics that run the method again.
        samples: Draws of the metrics that draw, and other classes, at most.
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
        return {
            name: _within(metric, self.samples)
            for name, metric in asked.items()
            if name not in self.without
        }


BUDGETS: Mapping[str, Budget] = {
    "fast": Budget(16, again=3, samples=4, without=("smooth_parameter_randomisation",)),
    "full": Budget(256, again=16, samples=6),
}
"""The budgets by name."""


@dataclass(frozen=True, eq=False)
class Exam:
    """Images and the metrics that look at their explanations.

    Attributes:
        images: float32 `(N, H, W, C)` in [0, 1].
        targets: The classes explained, `(N,)`.
        metrics: By name.
        masks: Where the evidence lies, `(N, H, W)`, where it is known.
    """

    images: Array
    targets: NDArray[np.int32]
    metrics: Mapping[str, Metric]
    masks: NDArray[np.bool_] | None = None

    @property
    def same(self) -> bool:
        """Whether these images, or the first of them, are those that all exams are about."""
        return self.masks is None


def exams_of(network: Network, dataset: Dataset, budget: Budget, seed: int) -> list[Exam]:
    """The exams of a network: one look at many images, several looks at some, and grids.

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
        return {name: m for name, m in metrics.items() if m.traits.needs in needs}

    exams = [
        Exam(images, targets, asking("maps", "network")),
        Exam(images[: budget.again], targets[: budget.again], asking("method")),
    ]
    grids = _grids(network, dataset, budget, seed)
    if grids is not None:
        exams.append(Exam(grids.pixels, grids.labels, asking("masks"), grids.masks))
    return exams


@dataclass(frozen=True, eq=False)
class _Grids:
    pixels: Array
    labels: NDArray[np.int32]
    masks: NDArray[np.bool_]
    seen: float


def _grids(network: Network, dataset: Dataset, budget: Budget, seed: int) -> _Grids | None:
    """Grids of four shrunk images, as far as the network sees in them what they show.

    A cell whose class is not among the network's first four answers is left out: no map could be
    held to evidence that the network did not find. None where fewer than two are left, or images
    cannot be halved or are of fewer than four classes.
    """
    try:
        known = digit_grid(dataset, budget.images, seed=seed)
    except ValueError:
        return None
    pixels, labels = normalise(known.images), known.labels.astype(np.int32)
    first = np.argsort(-network.logits(pixels), axis=1, kind="stable")[:, :4]
    seen = np.flatnonzero((first == labels[:, np.newaxis]).any(axis=1))
    if len(seen) < _FEWEST:
        return None
    rows = seen[: max(_FEWEST, budget.images // _CELLS)]
    return _Grids(pixels[rows], labels[rows], known.masks[rows], len(seen) / len(labels))


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
    """The metric with at most so many draws; itself where it draws none."""
    values: Any = metric  # That it is a dataclass no protocol can say.
    fewer = {
        name: samples
        for name in ("samples", "others")
        # Other classes: None for all of them.
        if (drawn := getattr(metric, name, 0)) is None or drawn > samples
    }
    within: Metric = dataclasses.replace(values, **fewer)
    return within
