"""Accuracy, calibration and confusion of a classifier."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from mnist_xai.interpret.core.entry import Preprocess
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.pixels import CONVENTIONS, Pixels

_BINS = 15
_CHUNK = 1000
_COMPARED = 64  # Images whose accuracy in other ranges is compared.
_FAR_MORE = 0.2  # A range is suspicious if another one is that much more accurate.


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predicted probabilities and labels, and all metrics computed from them.

    Attributes:
        probabilities: `(N, classes)`, rows that sum to one.
        labels: Integers `(N,)`.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[np.integer]

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """Return the most probable class of each image, `(N,)`."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def misclassified(self) -> NDArray[np.int64]:
        """Return the indices of wrongly classified images, most confident mistake first."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")]

    @cached_property
    def accuracy(self) -> float:
        """Return the fraction of images whose most probable class is their label."""
        return float(np.mean(self.predictions == self.labels))

    @cached_property
    def loss(self) -> float:
        """Return the mean cross-entropy `-log p_label`, in nats."""
        right = self.probabilities[np.arange(len(self.labels)), self.labels]
        # A probability that underflowed to 0 counts as the smallest normal float32.
        return float(-np.mean(np.log(np.maximum(right, np.finfo(np.float32).tiny))))

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Return `(classes, classes)`: images of the row's label predicted as the column's."""
        classes = self.probabilities.shape[1]
        matrix = np.zeros((classes, classes), np.int64)
        np.add.at(matrix, (self.labels, self.predictions), 1)
        return matrix

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """Return, for each class, the fraction of its predictions that are right, or NaN."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """Return, for each class, the fraction of its images that are found, or NaN."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @cached_property
    def calibration_error(self) -> float:
        """Return the expected calibration error `Σ_b n_b/N |accuracy_b - confidence_b|`, 15 bins.

        Source: Guo, Pleiss, Sun, Weinberger 2017, equation 5.
        """
        confidence = self.probabilities.max(axis=1).astype(np.float64)
        right = self.predictions == self.labels
        # Bins are open on the left, so a confidence of exactly 1 belongs to the last bin.
        bins = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
        gap = np.bincount(bins, right - confidence, minlength=_BINS)
        return float(np.abs(gap).sum() / len(right))

    def best_temperature(self) -> float:
        """Return the `T` at which `softmax(z / T)` has the lowest cross-entropy on these images.

        Dividing the logits by `T` changes the confidence, but no prediction.

        Source: Guo, Pleiss, Sun, Weinberger 2017, section 4.2.
        """
        # log p equals z up to a constant in each row, and softmax ignores the constant.
        z = np.log(np.maximum(self.probabilities.astype(np.float64), np.finfo(np.float32).tiny))
        right = np.arange(len(z)), self.labels

        def loss(log_temperature: float) -> float:
            scaled = z / np.exp(log_temperature)
            return float(np.mean(logsumexp(scaled, axis=1) - scaled[right]))

        return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))

    def summary(self) -> dict[str, float]:
        """Return accuracy, loss and calibration error by name."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
        }

    def per_class(self, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return name, number of images, precision and recall of each class; None for undefined."""
        rows = zip(
            class_names, self.confusion.sum(axis=1), self.precision, self.recall, strict=True
        )
        return [
            {
                "class": name,
                "images": int(images),
                "precision": None if np.isnan(precision) else float(precision),
                "recall": None if np.isnan(recall) else float(recall),
            }
            for name, images, precision, recall in rows
        ]

    def per_class_table(self, class_names: tuple[str, ...]) -> list[list[str]]:
        """Return `per_class` as rows of text; the first row is the head."""
        rows = [
            [row["class"], str(row["images"]), _as_text(row["precision"]), _as_text(row["recall"])]
            for row in self.per_class(class_names)
        ]
        return [["class", "images", "precision", "recall"], *rows]


def evaluate(
    model: keras.Model | Network,
    images: ArrayLike,
    labels: NDArray[np.integer],
    *,
    pixels: Pixels | None = None,
    preprocess: Preprocess | None = None,
    output: str | int | None = None,
) -> Evaluation:
    """Run a classifier on labelled images.

    Args:
        model: A classifier, or a `Network` on one. Its outputs may be probabilities or logits, one
            for each class, or one unit for two classes.
        images: `(N, H, W, C)`, as the model takes them; `normalise` converts uint8 to [0, 1].
        labels: Integers `(N,)` from 0 to classes - 1.
        pixels: The range of the images, see `Network`.
        preprocess: What makes the model's pixels from these images, see `Network`.
        output: Which of several outputs to evaluate, see `Network`.

    Returns:
        The probabilities with all metrics computed from them.

    Raises:
        TypeError: When the images have a type that the model does not take.
        ValueError: For images or labels of a wrong shape or range, or a model whose outputs are
            no classification.

    Warns:
        UserWarning: When the model is far more accurate on the same images in another range.
    """
    network = Network.with_options(model, pixels=pixels, preprocess=preprocess, output=output)
    points = network.inputs.check_images(images, needs_range=False)
    if labels.shape != points.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels: expected {len(points)} integers; got {labels.dtype} {labels.shape}"
        )
    classes = network.classes
    if classes < 2:
        raise ValueError(
            f"model: expected a classification; {network.model.name!r} has one output in [0, 1] of "
            "unknown origin: let a sigmoid layer, or a layer with that activation, come last"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels: expected 0 to {classes - 1}, the classes of the model; "
            f"got {labels.min()} to {labels.max()}"
        )
    evaluation = Evaluation(_probabilities(network, points), labels)
    warn_of_other_range(network, points, evaluation)
    return evaluation


def _probabilities(network: Network, points: NDArray[np.float32]) -> NDArray[np.float32]:
    size = min(_CHUNK, 4 * network.batch_size)
    chunks = (points[start : start + size] for start in range(0, len(points), size))
    return np.concatenate([network.runner.probabilities_of(chunk) for chunk in chunks])


def warn_of_other_range(
    network: Network, points: NDArray[np.float32], evaluation: Evaluation
) -> None:
    """Warn if the model is far more accurate when the same images are put into another range.

    Args:
        network: The network.
        points: Unit images.
        evaluation: The evaluation on them.
    """
    some = np.unique(np.linspace(0, len(points) - 1, _COMPARED).astype(int))
    labels = evaluation.labels[some]
    accuracy = float(np.mean(evaluation.predictions[some] == labels))
    undecided = len(some) < _COMPARED // 2 or len(set(labels)) < 2
    if undecided or accuracy > 1 - _FAR_MORE or network.runner.entry.preprocess is not None:
        return
    found = {}
    for name, other in CONVENTIONS.items():
        if len({len(other.low), network.image_shape[-1]}) > 1 and len(other.low) > 1:
            continue  # The convention is for images of three channels.
        pixels = other.to_model(other.reversed(points[some]))
        predictions = network.runner.probabilities_in(pixels).argmax(axis=1)
        found[name] = float(np.mean(predictions == labels))
    best = max(found, key=lambda name: found[name])
    if found[best] > accuracy + _FAR_MORE:
        warnings.warn(
            f"{network.model.name!r} is right for {accuracy:.0%} of these images taken as "
            f"{network.pixels}, and for {found[best]:.0%} of them in the range "
            f"{CONVENTIONS[best]} (pixels={best!r}). Its pixels seem to be misread",
            UserWarning,
            stacklevel=3,
        )


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `part / whole`, and NaN where `whole` is 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _as_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
