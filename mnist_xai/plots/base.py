"""What all pictures share: how a figure begins, and how an image is shown in it."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_xai.io.printable import printable

Images = NDArray[np.floating]

SIGNED, POSITIVE = "RdBu_r", "viridis"
TILE = 1.05  # Inches that one small picture takes.


def plain(text: str) -> str:
    """The text as matplotlib shows it unchanged.

    Names of classes, layers and files may hold anything; what stands between two dollars
    matplotlib would take for a formula, and fail at when it is none.
    """
    return printable(text, keep="\n").replace("$", r"\$")


def new_figure(width: float, height: float, stamp: str) -> Figure:
    """Begin a figure of this many inches, with what it was made from written below it."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    if stamp:
        # Below the panels, where the layout keeps room for it.
        figure.supxlabel(plain(stamp), fontsize=7, color="dimgrey", x=0.99, ha="right")
    return figure


def show_image(axes: Axes, image: Images, title: str) -> None:
    """Show an image, `(H, W, C)` in [0, 1], in grey or in its colours."""
    if image.shape[-1] == 1:
        axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(np.clip(image, 0, 1))
    axes.set_title(plain(title), fontsize=8, pad=3)
    axes.axis("off")
