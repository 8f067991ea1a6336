"""Accuracy, calibration and confusion of a classifier."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

_BINS = 15
_CHUNK = 1000


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


class Classifier(Protocol):
    """What gives the probabilities of images by itself, such as a `Network`."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    def probabilities(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities, `(N, classes)`."""


def evaluate(
    model: keras.Model | Classifier, images: NDArray[Any], labels: NDArray[np.integer]
) -> Evaluation:
    """Run a classifier on labelled images.

    Args:
        model: A Keras model that outputs a probability for each class; or a `Network`, which reads
            logits, one sigmoid unit and other heads, and knows the range of the pixels.
        images: `(N, H, W, C)`, as the model takes them: float in [0, 1] for the networks of this
            package; `normalise` converts uint8.
        labels: Integers `(N,)` from 0 to classes - 1.

    Returns:
        The probabilities with all metrics computed from them.

    Raises:
        TypeError: When the images are not floats.
        ValueError: For images or labels of a wrong shape, labels outside the classes, or a
            model whose outputs are not probabilities.
    """
    if not isinstance(model, keras.Model):
        _check_labels(labels, len(images), model.classes)
        return Evaluation(model.probabilities(images), labels)
    if images.dtype.kind != "f":
        raise TypeError(
            f"images: expected floats in [0, 1]; got {images.dtype}; convert them with "
            "mnist_xai.normalise"
        )
    if images.shape[1:] != model.input_shape[1:]:
        raise ValueError(
            f"images: expected (N, {', '.join(map(str, model.input_shape[1:]))}); "
            f"got {images.shape}"
        )
    if not len(images):
        raise ValueError("images: expected at least one; got none")
    _check_labels(labels, len(images), model.output_shape[-1])
    chunks = (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))
    probabilities = np.concatenate([np.asarray(model(chunk, training=False)) for chunk in chunks])
    if np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3 or probabilities.min() < 0:
        raise ValueError(
            f"model: expected outputs that are probabilities and sum to one; those of "
            f"{model.name!r} do not; pass mnist_xai.Network(model), which reads logits and sigmoids"
        )
    return Evaluation(probabilities, labels)


def _check_labels(labels: NDArray[np.integer], count: int, classes: int) -> None:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels: expected {count} integers; got {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels: expected 0 to {classes - 1}, the classes of the model; "
            f"got {labels.min()} to {labels.max()}"
        )


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `part / whole`, and NaN where `whole` is 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _as_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
