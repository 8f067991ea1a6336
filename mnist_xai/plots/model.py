"""Plots of a model: learning curves, confusion matrix, reliability diagram."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_xai.plots.base import new_figure, plain


def learning_curves(history: Mapping[str, Sequence[float]], *, stamp: str = "") -> Figure:
    """Plot loss and accuracy on training and validation images against the epoch.

    Args:
        history: Values by epoch of `loss`, `accuracy`, `val_loss` and `val_accuracy`.
        stamp: The source of the picture, written below it.

    Returns:
        A figure with two panels.
    """
    figure = new_figure(9, 3.4, stamp)
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = np.arange(1, len(history[metric]) + 1)
        axes.plot(epochs, history[metric], "o-", markersize=3, label="training (warped images)")
        axes.plot(epochs, history[f"val_{metric}"], "s-", markersize=3, label="validation")
        axes.set(xlabel="epoch", ylabel=metric, title=f"{metric} by epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def confusion_matrix(
    confusion: NDArray[np.integer], class_names: Sequence[str], *, stamp: str = ""
) -> Figure:
    """Show how many images of each label (row) were predicted as each class (column).

    The colours show only the mistakes: on a scale with the diagonal they would look like zero.

    Args:
        confusion: `(classes, classes)` counts.
        class_names: The name of each class.
        stamp: The source of the picture, written below it.

    Returns:
        A figure with the count in every cell.
    """
    figure = new_figure(7.0, 6.4, stamp)
    axes = figure.subplots()
    mistakes = confusion - np.diag(np.diag(confusion))
    # The scale is longer than needed, so that black numbers are readable in the darkest cell.
    shown = axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=1.5 * max(1, mistakes.max()))
    for (row, column), count in np.ndenumerate(confusion):
        weight = "bold" if row == column else "normal"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=9, weight=weight)
    ticks, names = range(len(class_names)), [plain(name) for name in class_names]
    long = max(map(len, names)) > 2
    axes.set_xticks(ticks, names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted class", ylabel="label", title="Confusion matrix of the test images")
    figure.colorbar(shown, ax=axes, label="misclassified images", shrink=0.8)
    return figure


def reliability_diagram(
    confidence: NDArray[np.floating],
    right: NDArray[np.bool_],
    *,
    bins: int = 15,
    stamp: str = "",
) -> Figure:
    """Plot accuracy against confidence, and the number of images by confidence.

    Args:
        confidence: Probability of each predicted class, `(N,)` in [0, 1].
        right: Whether each prediction is right, `(N,)`.
        bins: Number of equal bins of [0, 1].
        stamp: The source of the picture, written below it.

    Returns:
        A figure with two panels: accuracy by confidence, and images by confidence.

    Source: Guo, Pleiss, Sun, Weinberger 2017, figure 1.
    """
    figure = new_figure(9, 3.6, stamp)
    left, other = figure.subplots(1, 2)
    # Open on the left, like the bins of `Evaluation.calibration_error`.
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    filled = counts > 0
    means = [
        np.bincount(bin_of, values, minlength=bins)[filled] / counts[filled]
        for values in (confidence, right)
    ]
    left.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect calibration")
    left.plot(*means, "o-", color="C0", label="the model")
    left.set(xlabel="mean confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02),
             title="Accuracy by confidence")  # fmt: skip
    left.legend(loc="lower right")
    edges = np.linspace(0, 1, bins + 1)
    other.bar(edges[:-1], counts, width=1 / bins, align="edge", color="C0", edgecolor="white")
    other.set(xlabel="confidence", ylabel="images (logarithmic)", yscale="log", xlim=(0, 1),
              title="Images by confidence")  # fmt: skip
    return figure
