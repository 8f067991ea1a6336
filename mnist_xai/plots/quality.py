"""Plots for the evaluation of explanations."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_xai.plots.base import SIGNED, TILE, Images, new_figure, plain, show_image

_MARKERS = "os^vDP*X<>"
_LINES = ("-", "--", ":", "-.")


def method_rows(
    images: Images,
    maps: Mapping[str, Images],
    titles: Sequence[str],
    name: str,
    *,
    stamp: str = "",
) -> Figure:
    """Show images side by side, and below them a row of maps for each method.

    Each map has its own symmetric scale, which ends at its largest magnitude.

    Args:
        images: `(N, H, W, C)` in [0, 1].
        maps: `(N, H, W, C)` by name of the method; the plot shows the sum over the channels.
        titles: A title for each image.
        name: Title of the figure: what the methods have in common.
        stamp: The source of the picture, written below it.

    Returns:
        A figure with one row of images and one row for each method.
    """
    tile = 0.85 * TILE
    width, height = tile * len(images) + 1.9, tile * (len(maps) + 1) + 0.9
    figure = new_figure(width, height, stamp)
    figure.suptitle(plain(fill(name, max(20, int(11 * width)))))
    grid = figure.subplots(len(maps) + 1, len(images), squeeze=False)
    for axes, image, title in zip(grid[0], images, titles, strict=True):
        show_image(axes, image, title)
    for row, (method, made) in zip(grid[1:], maps.items(), strict=True):
        flat = made.sum(axis=-1)
        for axes, one in zip(row, flat, strict=True):
            limit = float(np.abs(one[np.isfinite(one)]).max(initial=0)) or 1.0
            shown = axes.imshow(one / limit, cmap=SIGNED, vmin=-1, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(
            fill(method.replace("_", " "), 14), rotation=0, ha="right", va="center", fontsize=8
        )
    if maps:
        figure.colorbar(shown, ax=grid, label="fraction of largest magnitude", aspect=30, pad=0.01)
    return figure


def curve_panels(
    panels: Mapping[str, Mapping[str, NDArray[np.floating]]],
    ticks: Sequence[str],
    name: str,
    *,
    xlabel: str,
    ylabel: str,
    columns: int = 2,
    stamp: str = "",
) -> Figure:
    """Plot curves in panels with one scale; curves differ in marker and line, not only in colour.

    When all panels have the same curves, they share one legend; otherwise each has its own.

    Args:
        panels: For each panel's title, its curves `(K,)` by name.
        ticks: Labels of the `K` points on the horizontal axis.
        name: Title of the figure.
        xlabel: Label of the horizontal axis.
        ylabel: Label of the vertical axis.
        columns: Panels in a row.
        stamp: The source of the picture, written below it.

    Returns:
        A figure with a panel for each entry of `panels`.
    """
    rows = math.ceil(len(panels) / columns)
    shared = len(panels) > 1 and len({tuple(curves) for curves in panels.values()}) == 1
    width = 5.2 if shared else 8.5  # Inches; wider when a legend stands beside each panel.
    figure = new_figure(width * columns, 3.1 * rows + 0.6, "")
    figure.suptitle(plain(name))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(grid.flat):
        axes.set_visible(number < len(panels))
        axes.tick_params(labelbottom=number >= len(panels) - columns)
    for axes, (title, curves) in zip(grid.flat, panels.items(), strict=False):
        for number, (label, curve) in enumerate(curves.items()):
            axes.plot(
                curve,
                marker=_MARKERS[number % len(_MARKERS)],
                linestyle=_LINES[number // len(_MARKERS) % len(_LINES)],
                color=f"C{number % 10}",
                markersize=4,
                label=label.replace("_", " "),
            )
        axes.set_title(plain(title), fontsize=10)
        axes.set_xticks(range(len(ticks)), ticks, rotation=30, ha="right", fontsize=8)
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.grid(alpha=0.3)
        if not shared:
            axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    if shared:
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    figure.supxlabel(xlabel if not stamp else f"{xlabel}      {stamp}", fontsize=8)
    return figure
