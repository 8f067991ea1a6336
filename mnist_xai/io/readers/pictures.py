"""One picture: read as data from a stranger."""

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_xai.io.readers.base import DataError
from mnist_xai.io.safe_text import first_line

_FORMATS = ("PNG", "JPEG", "BMP")
_GREY_MODES = {"1", "L", "LA"}
_MAX_PIXELS = 1 << 24  # 4096 x 4096.
_JPEG_MAGIC = b"\xff\xd8"
# A progressive JPEG has about ten scans, each a pass over all pixels. It has a few APP1 segments;
# Pillow joins them in a time that grows with the square of their number.
_MAX_SCANS = 30
_MAX_APP1_SEGMENTS = 100
_RUN_LENGTH_BMP = (1, 2)  # Pillow unpacks run lengths one pixel at a time.


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read one picture as uint8: `(H, W, 1)` when it is grey, `(H, W, 3)` when it has colour.

    Raises:
        DataError: When it is missing or cannot be decoded as PNG, JPEG or BMP.
    """
    if path.exists() and not path.is_file():  # Opening a pipe would wait for ever.
        raise DataError(f"{path}: expected a picture; this is not a regular file")
    try:
        content = path.read_bytes()
        _check_jpeg(content, path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
                _check_picture(picture, path)
                grey = picture.mode in _GREY_MODES
                pixels = np.asarray(picture.convert("L" if grey else "RGB"))
    except DataError:
        raise
    # For damaged files, Pillow's decoders raise errors of many types.
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a picture ({first_line(error)})") from error
    return pixels[..., np.newaxis] if grey else pixels


def _check_jpeg(content: bytes, path: Path) -> None:
    """Refuse a JPEG that Pillow would take very long to read, before Pillow opens it."""
    if not content.startswith(_JPEG_MAGIC):
        return
    for marker, what, limit in (
        (b"\xff\xda", "scans", _MAX_SCANS),
        (b"\xff\xe1", "APP1 segments", _MAX_APP1_SEGMENTS),
    ):
        if content.count(marker) > limit:
            raise DataError(f"{path}: expected a JPEG of at most {limit} {what}; it has more")


def _check_picture(picture: Image.Image, path: Path) -> None:
    """Refuse pictures that are too large, or that conversion to 8 bits would change."""
    if picture.mode.startswith(("I", "F")):
        raise DataError(f"{path}: expected 8 bits a channel; got mode {picture.mode}")
    if picture.width * picture.height > _MAX_PIXELS:
        raise DataError(
            f"{path}: expected at most {_MAX_PIXELS:,} pixels; got "
            f"{picture.width:,} x {picture.height:,}"
        )
    if picture.format == "BMP" and picture.info.get("compression") in _RUN_LENGTH_BMP:
        raise DataError(f"{path}: expected an uncompressed BMP; this one uses run lengths")
    frames = getattr(picture, "n_frames", 1)
    if picture.format == "PNG" and frames > 1:
        raise DataError(f"{path}: expected one picture; the file holds {frames}")
