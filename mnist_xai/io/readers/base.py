"""What all readers share: their result, their error, and the check of links."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_xai.io.safe_text import OneLineError, first_line


class DataError(OneLineError):
    """A data file is missing, damaged, or not what its name says."""


class Arrays(NamedTuple):
    """Training and test images with their labels, and the names of the classes.

    `notes` says what was changed in the pictures to bring them to one shape.
    """

    train_images: NDArray[np.uint8]  # (N, H, W, C)
    train_labels: NDArray[np.integer]  # (N,)
    test_images: NDArray[np.uint8]  # (M, H, W, C)
    test_labels: NDArray[np.integer]  # (M,)
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def refuse_link_out(path: Path, folder: Path) -> None:
    """Raise DataError when a path, followed through links, lies outside a resolved folder.

    A folder from a stranger must not bring private files into pictures and reports.
    """
    try:
        inside = path.resolve().is_relative_to(folder)
    except RuntimeError as error:  # Python 3.11 raises it for a link to itself.
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from error
    if not inside:
        raise DataError(f"{path}: links out of {folder}; expected the file itself")
