"""What all plots share: new figures, text without formulas, images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_xai.io.safe_text import escape_controls

Images = NDArray[np.floating]

SIGNED, POSITIVE = "RdBu_r", "viridis"
TILE = 1.05  # Side of one small picture, in inches.


def plain(text: str) -> str:
    """Escape text so that matplotlib shows it unchanged.

    Names of classes, layers and files may hold anything. Matplotlib takes text between two dollar
    signs for a formula, and raises an error when it is not one.
    """
    return escape_controls(text, keep="\n").replace("$", r"\$")


def new_figure(width: float, height: float, stamp: str) -> Figure:
    """Create a figure of `width` x `height` inches, with the stamp (its source) below it."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    if stamp:
        # As an axis label, because the layout reserves space for it.
        figure.supxlabel(plain(stamp), fontsize=7, color="dimgrey", x=0.99, ha="right")
    return figure


def show_image(axes: Axes, image: Images, title: str) -> None:
    """Show an image, `(H, W, C)` in [0, 1], in grey for one channel, otherwise in colour."""
    if image.shape[-1] == 1:
        axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(np.clip(image, 0, 1))
    axes.set_title(plain(title), fontsize=8, pad=3)
    axes.axis("off")
