"""Pictures: arrays in, a matplotlib figure out.

Signed maps are shown on one symmetric scale, blue for minus and red for plus, white at zero,
told apart by every kind of colour blindness; the scale is shared by all maps of a figure, but for
`compared_maps`, whose maps have different units.
"""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

Images = NDArray[np.floating]

_SIGNED, _POSITIVE = "RdBu_r", "viridis"
_TILE = 1.05  # Inches that one small picture takes.


def learning_curves(history: Mapping[str, Sequence[float]], *, stamp: str = "") -> Figure:
    """Plot loss and accuracy, on training and validation images, against the epoch.

    Args:
        history: Lists by name: `loss`, `accuracy`, `val_loss`, `val_accuracy`.
        stamp: What the picture was made from, written below it.

    Returns:
        A figure of two panels.
    """
    figure = _figure(9, 3.4, stamp)
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
    """Show how many images of each label (row) were taken for each class (column).

    The colour is of the mistakes alone: the diagonal would drown them.

    Args:
        confusion: `(classes, classes)`.
        class_names: What the classes are called.
        stamp: What the picture was made from, written below it.

    Returns:
        A figure with the count in every cell.
    """
    figure = _figure(7.0, 6.4, stamp)
    axes = figure.subplots()
    mistakes = confusion - np.diag(np.diag(confusion))
    # Half as far again as needed, so that black figures stay readable in the darkest cell.
    shown = axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=1.5 * max(1, mistakes.max()))
    for (row, column), count in np.ndenumerate(confusion):
        weight = "bold" if row == column else "normal"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=9, weight=weight)
    ticks = range(len(class_names))
    long = max(map(len, class_names)) > 2
    axes.set_xticks(
        ticks, class_names, rotation=45 if long else 0, ha="right" if long else "center"
    )
    axes.set_yticks(ticks, class_names)
    axes.set(xlabel="predicted class", ylabel="label", title="Confusion matrix of the test images")
    figure.colorbar(shown, ax=axes, label="mistaken images", shrink=0.8)
    return figure


def feature_maps(
    image: Images, activations: NDArray[np.floating], layer: str, *, stamp: str = ""
) -> Figure:
    """Show an image beside every channel of what a layer makes of it, on one scale.

    Args:
        image: `(H, W, C)` in [0, 1].
        activations: `(h, w, channels)`.
        layer: Name of the layer.
        stamp: What the picture was made from, written below it.

    Returns:
        A figure of the image and a tile for each channel.
    """
    channels = activations.shape[-1]
    columns = min(channels, 11 if channels > 32 else 8)
    rows = math.ceil(channels / columns)
    figure = _figure(_TILE * (columns + 2.4), max(_TILE * rows * 1.08 + 0.7, 2.6), stamp)
    figure.suptitle(f"{layer}: {channels} channels of {activations.shape[0]} x "
                    f"{activations.shape[1]}")  # fmt: skip
    parts = figure.add_gridspec(1, 2, width_ratios=(2, columns))
    left, right = (figure.add_subfigure(parts[0, column]) for column in range(2))
    _show_image(left.subplots(), image, "input")
    low, high = min(0.0, float(activations.min())), float(activations.max())
    limit = max(high, -low) or 1.0
    style = {"cmap": _SIGNED, "vmin": -limit} if low < 0 else {"cmap": _POSITIVE, "vmin": 0}
    grid = right.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for channel, axes in zip(range(channels), grid.flat, strict=False):
        shown = axes.imshow(activations[..., channel], vmax=limit, **style)
        axes.set_title(str(channel), fontsize=7, pad=2)
    right.colorbar(shown, ax=grid, label="activation", shrink=0.7)
    return figure


def attention_maps(
    images: Images,
    maps: Images,
    titles: Sequence[str],
    name: str,
    *,
    stamp: str = "",
) -> Figure:
    """Show images above maps that are at least 0, each map on a scale of its own.

    Args:
        images: `(N, H, W, C)` in [0, 1].
        maps: `(N, h, w, 1)`, at least 0; they are drawn over the image's whole extent.
        titles: A line above each image.
        name: What the maps show.
        stamp: What the picture was made from, written below it.

    Returns:
        A figure of two rows.
    """
    figure = _figure(_TILE * len(images) + 0.8, 2 * _TILE + 1.0, stamp)
    figure.suptitle(f"{name} (each map from 0 to its own maximum)")
    grid = figure.subplots(2, len(images), squeeze=False)
    for column, (image, title) in enumerate(zip(images, titles, strict=True)):
        _show_image(grid[0, column], image, title)
        shown = grid[1, column].imshow(
            maps[column][..., 0] / (maps[column].max() or 1.0), cmap=_POSITIVE, vmin=0, vmax=1
        )
        grid[1, column].axis("off")
    figure.colorbar(shown, ax=grid[1, :], label="share of max.", shrink=0.9)
    return figure


def signed_maps(
    images: Images,
    maps: Images,
    titles: Sequence[str],
    name: str,
    *,
    unit: str = "",
    stamp: str = "",
) -> Figure:
    """Show images above signed maps, all on one symmetric scale with white at zero.

    The scale ends where 99.5 % of the pixels of all maps lie; the few beyond have the colour of
    its end, as the pointed ends of the colour bar say.

    Args:
        images: `(N, H, W, C)` in [0, 1].
        maps: `(N, H, W, C)`; channels are summed for the picture.
        titles: A line above each image.
        name: What the maps show.
        unit: What the colour bar counts.
        stamp: What the picture was made from, written below it.

    Returns:
        A figure of two rows and a colour bar.
    """
    # Wide enough for the name, too, above a single image.
    width = max(_TILE * len(images) + 0.8, 0.11 * len(name) + 0.2)
    figure = _figure(width, 2 * _TILE + 1.0, stamp)
    figure.suptitle(name)
    grid = figure.subplots(2, len(images), squeeze=False)
    flat = np.sum(maps, axis=-1)
    limit = float(np.quantile(np.abs(flat), 0.995)) or float(np.abs(flat).max()) or 1.0
    for column, (image, title) in enumerate(zip(images, titles, strict=True)):
        _show_image(grid[0, column], image, title)
        shown = grid[1, column].imshow(flat[column], cmap=_SIGNED, vmin=-limit, vmax=limit)
        grid[1, column].axis("off")
    # Beside both rows, so that images and maps stay of one size, but only as high as the maps.
    figure.colorbar(shown, ax=grid, label=unit, shrink=0.45, anchor=(0, 0), extend="both")
    return figure


def compared_maps(
    image: Images,
    maps: Sequence[Images],
    titles: Sequence[str],
    name: str,
    *,
    columns: int = 10,
    stamp: str = "",
) -> Figure:
    """Show one image and signed maps of it, each map on a symmetric scale of its own.

    Colours of two maps cannot be compared: each scale ends at the largest magnitude in its map.

    Args:
        image: `(H, W, C)` in [0, 1].
        maps: `(H, W, C)` each, their channels as they come; they are summed for the picture.
        titles: A line above each map.
        name: What is compared.
        columns: Tiles in a row, the image among them.
        stamp: What the picture was made from, written below it.

    Returns:
        A figure whose first tile is the image.
    """
    rows = math.ceil((len(maps) + 1) / columns)
    figure = _figure(_TILE * columns + 1.1, (_TILE + 0.4) * rows + 0.6, stamp)
    figure.suptitle(f"{name} (each map from minus to plus its own largest magnitude)")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    _show_image(grid[0, 0], image, "image")
    for axes, one, title in zip(grid.flat[1:], maps, titles, strict=False):
        flat = np.sum(one, axis=-1)
        limit = float(np.abs(flat).max()) or 1.0
        shown = axes.imshow(flat / limit, cmap=_SIGNED, vmin=-1, vmax=1)
        axes.set_title(fill(title, 16), fontsize=7, pad=3)
    figure.colorbar(shown, ax=grid, label="share of its largest", aspect=12 * rows, pad=0.01)
    return figure


def image_grid(
    images: Images,
    titles: Sequence[str],
    name: str,
    *,
    columns: int = 8,
    signed: bool = False,
    stamp: str = "",
) -> Figure:
    """Show images in rows, each with a line above it.

    Args:
        images: `(N, H, W, C)` in [0, 1]; with `signed`, of any range, on one scale.
        titles: A line above each.
        name: What they have in common.
        columns: Images in a row.
        signed: Whether to show the sum over channels on a symmetric scale, as for kernels.
        stamp: What the picture was made from, written below it.

    Returns:
        A figure.
    """
    rows = math.ceil(len(images) / columns)
    figure = _figure(_TILE * columns + 0.6, (_TILE + 0.35) * rows + 0.7, stamp)
    figure.suptitle(name)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    limit = float(np.abs(images).max()) or 1.0
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        if signed:
            shown = axes.imshow(image.sum(axis=-1), cmap=_SIGNED, vmin=-limit, vmax=limit)
            axes.set_title(title, fontsize=7, pad=2)
        else:
            _show_image(axes, image, title)
    if signed:
        figure.colorbar(shown, ax=grid, label="weight", shrink=0.7)
    return figure


def _figure(width: float, height: float, stamp: str) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    if stamp:
        # Below the panels, where the layout keeps room for it.
        figure.supxlabel(stamp, fontsize=7, color="dimgrey", x=0.99, ha="right")
    return figure


def _show_image(axes: Axes, image: Images, title: str) -> None:
    if image.shape[-1] == 1:
        axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(np.clip(image, 0, 1))
    axes.set_title(title, fontsize=8, pad=3)
    axes.axis("off")
