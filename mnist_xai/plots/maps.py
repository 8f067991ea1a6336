"""Plots of images and of their maps."""

import math
from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_xai.plots.base import POSITIVE, SIGNED, TILE, Images, new_figure, plain, show_image


def feature_maps(
    image: Images, activations: NDArray[np.floating], layer: str, *, stamp: str = ""
) -> Figure:
    """Show an image beside every channel of a layer's output, on one colour scale.

    Args:
        image: `(H, W, C)` in [0, 1].
        activations: `(h, w, channels)`.
        layer: Name of the layer.
        stamp: The source of the picture, written below it.

    Returns:
        A figure of the image and a tile for each channel.
    """
    channels = activations.shape[-1]
    columns = min(channels, 11 if channels > 32 else 8)
    rows = math.ceil(channels / columns)
    figure = new_figure(TILE * (columns + 2.4), max(TILE * rows * 1.08 + 0.7, 2.6), stamp)
    figure.suptitle(f"{plain(layer)}: {channels} channels of {activations.shape[0]} x "
                    f"{activations.shape[1]}")  # fmt: skip
    parts = figure.add_gridspec(1, 2, width_ratios=(2, columns))
    left, right = (figure.add_subfigure(parts[0, column]) for column in range(2))
    show_image(left.subplots(), image, "input")
    low, high = min(0.0, float(activations.min())), float(activations.max())
    limit = max(high, -low) or 1.0
    style = {"cmap": SIGNED, "vmin": -limit} if low < 0 else {"cmap": POSITIVE, "vmin": 0}
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
    """Show images, and below them non-negative maps, each map with its own colour scale.

    Args:
        images: `(N, H, W, C)` in [0, 1].
        maps: `(N, h, w, 1)`, at least 0; each is stretched to the size of its image.
        titles: A title for each image.
        name: Title of the figure: what the maps show.
        stamp: The source of the picture, written below it.

    Returns:
        A figure with two rows.
    """
    figure = new_figure(TILE * len(images) + 0.8, 2 * TILE + 1.0, stamp)
    figure.suptitle(f"{plain(name)} (each map from 0 to its own maximum)")
    grid = figure.subplots(2, len(images), squeeze=False)
    for column, (image, title) in enumerate(zip(images, titles, strict=True)):
        show_image(grid[0, column], image, title)
        shown = grid[1, column].imshow(
            maps[column][..., 0] / (maps[column].max() or 1.0), cmap=POSITIVE, vmin=0, vmax=1
        )
        grid[1, column].axis("off")
    figure.colorbar(shown, ax=grid[1, :], label="fraction of maximum", shrink=0.9)
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
    """Show images, and below them signed maps, all on one symmetric scale with white at zero.

    The scale contains the magnitudes of 99.5 % of the pixels of all maps. The rest have the colour
    of its ends; the pointed ends of the colour bar say so.

    Args:
        images: `(N, H, W, C)` in [0, 1].
        maps: `(N, H, W, C)`; the plot shows the sum over the channels.
        titles: A title for each image.
        name: Title of the figure: what the maps show.
        unit: Unit of the maps, the label of the colour bar.
        stamp: The source of the picture, written below it.

    Returns:
        A figure with two rows and a colour bar.
    """
    # Also above a single image, the figure must be wide enough for the name.
    width = max(TILE * len(images) + 0.8, 0.11 * len(name) + 0.2)
    figure = new_figure(width, 2 * TILE + 1.0, stamp)
    figure.suptitle(plain(name))
    grid = figure.subplots(2, len(images), squeeze=False)
    flat = np.sum(maps, axis=-1)
    limit = float(np.quantile(np.abs(flat), 0.995)) or float(np.abs(flat).max()) or 1.0
    for column, (image, title) in enumerate(zip(images, titles, strict=True)):
        show_image(grid[0, column], image, title)
        shown = grid[1, column].imshow(flat[column], cmap=SIGNED, vmin=-limit, vmax=limit)
        grid[1, column].axis("off")
    # Attached to both rows, so that images and maps keep one size, but only as high as the maps.
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
    """Show one image and signed maps of it, each map on its own symmetric scale.

    Colours of two maps cannot be compared: each scale ends at the largest magnitude of its map.

    Args:
        image: `(H, W, C)` in [0, 1].
        maps: `(H, W, C)` each, with any number of channels; the plot shows their sum.
        titles: A title for each map.
        name: Title of the figure: what is compared.
        columns: Tiles in a row, including the image.
        stamp: The source of the picture, written below it.

    Returns:
        A figure whose first tile is the image.
    """
    rows = math.ceil((len(maps) + 1) / columns)
    figure = new_figure(TILE * columns + 1.1, (TILE + 0.4) * rows + 0.6, stamp)
    figure.suptitle(f"{plain(name)} (each map from minus to plus its own largest magnitude)")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    show_image(grid[0, 0], image, "image")
    for axes, one, title in zip(grid.flat[1:], maps, titles, strict=False):
        flat = np.sum(one, axis=-1)
        limit = float(np.abs(flat).max()) or 1.0
        shown = axes.imshow(flat / limit, cmap=SIGNED, vmin=-1, vmax=1)
        axes.set_title(plain(fill(title, 16)), fontsize=7, pad=3)
    figure.colorbar(
        shown, ax=grid, label="fraction of largest magnitude", aspect=12 * rows, pad=0.01
    )
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
    """Show images in rows, each with a title.

    Args:
        images: `(N, H, W, C)` in [0, 1]; with `signed`, any values, on one scale.
        titles: A title for each image.
        name: Title of the figure.
        columns: Images in a row.
        signed: Whether to show the sum over channels on a symmetric scale, for example of kernels.
        stamp: The source of the picture, written below it.

    Returns:
        A figure with a tile for each image.
    """
    rows = math.ceil(len(images) / columns)
    figure = new_figure(TILE * columns + 0.6, (TILE + 0.35) * rows + 0.7, stamp)
    figure.suptitle(plain(name))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    limit = float(np.abs(images).max()) or 1.0
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        if signed:
            shown = axes.imshow(image.sum(axis=-1), cmap=SIGNED, vmin=-limit, vmax=limit)
            axes.set_title(plain(title), fontsize=7, pad=2)
        else:
            show_image(axes, image, title)
    if signed:
        figure.colorbar(shown, ax=grid, label="weight", shrink=0.7)
    return figure
