"""How often a classifier is right, and how often it is as sure as it says."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

_BINS = 15
_CHUNK = 1000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predicted probabilities beside the labels, and every figure that follows from them.

    Attributes:
        probabilities: `(N, classes)`, rows that sum to one.
        labels: Integers `(N,)`.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[np.integer]

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """The most probable class of each image, `(N,)`."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def misclassified(self) -> NDArray[np.int64]:
        """Indices of the images whose prediction is wrong, the surest mistake first."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")]

    @cached_property
    def accuracy(self) -> float:
        """Share of images whose most probable class is their label."""
        return float(np.mean(self.predictions == self.labels))

    @cached_property
    def loss(self) -> float:
        """Mean cross-entropy `-log p_label`, in nats."""
        right = self.probabilities[np.arange(len(self.labels)), self.labels]
        # A probability that underflowed to 0 counts as the smallest that float32 can say.
        return float(-np.mean(np.log(np.maximum(right, np.finfo(np.float32).tiny))))

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """`(classes, classes)`: images of the row's label that were taken for the column's."""
        classes = self.probabilities.shape[1]
        matrix = np.zeros((classes, classes), np.int64)
        np.add.at(matrix, (self.labels, self.predictions), 1)
        return matrix

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """For each class, the share of its predictions that are right; NaN without any."""
        return _share(np.diag(self.confusion), self.confusion.sum(axis=0))

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """For each class, the share of its images that are found; NaN without any."""
        return _share(np.diag(self.confusion), self.confusion.sum(axis=1))

    @cached_property
    def calibration_error(self) -> float:
        """Expected calibration error `Σ_b n_b/N |accuracy_b - confidence_b|` over 15 bins.

        Source: Guo, Pleiss, Sun, Weinberger 2017, equation 5.
        """
        confidence = self.probabilities.max(axis=1).astype(np.float64)
        right = self.predictions == self.labels
        # Bins are open on the left: a confidence of exactly 1 belongs to the last.
        bins = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
        gap = np.bincount(bins, right - confidence, minlength=_BINS)
        return float(np.abs(gap).sum() / len(right))

    def best_temperature(self) -> float:
        """The `T` at which `softmax(z / T)` has the least cross-entropy on these images.

        Dividing the logits changes no prediction, only how sure they are.

        Source: Guo, Pleiss, Sun, Weinberger 2017, section 4.2.
        """
        # log p is z up to a constant in each row, which the softmax does not see.
        z = np.log(np.maximum(self.probabilities.astype(np.float64), np.finfo(np.float32).tiny))
        right = np.arange(len(z)), self.labels

        def loss(log_temperature: float) -> float:
            scaled = z / np.exp(log_temperature)
            return float(np.mean(logsumexp(scaled, axis=1) - scaled[right]))

        return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))

    def summary(self) -> dict[str, float]:
        """Accuracy, loss and calibration error by name."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
        }

    def per_class(self, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Name, number of images, precision and recall of each class; None where undefined."""
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


def evaluate(
    model: keras.Model, images: NDArray[np.floating], labels: NDArray[np.integer]
) -> Evaluation:
    """Run a classifier on labelled images.

    Args:
        model: A classifier whose output is a probability for each class.
        images: float `(N, H, W, C)` in [0, 1]; `normalise` makes them from uint8.
        labels: Integers `(N,)` from 0 to classes - 1.

    Returns:
        The probabilities with everything that follows from them.

    Raises:
        TypeError: For images that are not floats.
        ValueError: For images or labels of a wrong shape, labels outside the classes, or a
            model whose outputs are no probabilities.
    """
    if images.dtype.kind != "f":
        raise TypeError(
            f"images: expected floats in [0, 1], as mnist_xai.normalise makes them; "
            f"got {images.dtype}"
        )
    if images.shape[1:] != model.input_shape[1:]:
        raise ValueError(
            f"images: expected (N, {', '.join(map(str, model.input_shape[1:]))}); "
            f"got {images.shape}"
        )
    if not len(images):
        raise ValueError("images: expected at least one; got none")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels: expected {len(images)} integers; got {labels.dtype} {labels.shape}"
        )
    classes = model.output_shape[-1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels: expected 0 to {classes - 1}, the model's classes; "
            f"got {labels.min()} to {labels.max()}"
        )
    chunks = (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))
    probabilities = np.concatenate([np.asarray(model(chunk, training=False)) for chunk in chunks])
    if np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3 or probabilities.min() < 0:
        raise ValueError(
            f"model: expected outputs that are probabilities and sum to one; {model.name!r} "
            "gives others (does its softmax layer lack?)"
        )
    return Evaluation(probabilities, labels)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
