"""Pictures, one by one and in a folder for each label."""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_xai.io.limits import format_bytes, unpacked_limit
from mnist_xai.io.readers.base import Arrays, DataError, refuse_link_out
from mnist_xai.io.safe_text import escape_controls, first_line

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
_FORMATS = ("PNG", "JPEG", "BMP")
_GREY_MODES = {"1", "L", "LA"}
_MAX_PIXELS = 1 << 24  # 4096 x 4096.
_JPEG_MAGIC = b"\xff\xd8"
# A progressive JPEG has about ten scans, each a pass over all pixels. It has a few APP1 segments;
# Pillow joins them in a time that grows with the square of their number.
_MAX_SCANS = 30
_MAX_APP1_SEGMENTS = 100
_RUN_LENGTH_BMP = (1, 2)  # Pillow unpacks run lengths one pixel at a time.
# Line drawings shrink to a hundredth of their pixels; a blank page of the largest size to less.
_MIN_UNPACKED = 256 << 20
_MAX_RATIO = 200
_DESKTOP_FILES = {"Thumbs.db", "desktop.ini"}


def read_picture_folders(root: Path) -> Arrays:
    """Read `train/<label>/*` and `test/<label>/*`: pictures of one size, grey or colour."""
    train_labels = _label_folders(root / "train", root)
    test_labels = _label_folders(root / "test", root)
    if train_labels != test_labels:
        difference = sorted(set(train_labels) ^ set(test_labels))
        raise DataError(
            f"{root}: expected the same label folders in train/ and test/; only one of the "
            f"two has {', '.join(difference)}"
        )
    first = next(_picture_paths(root / "train" / train_labels[0], root))
    pattern = read_picture(first)
    train = _read_part(root, "train", train_labels, first, pattern)
    test = _read_part(root, "test", train_labels, first, pattern)
    return Arrays(*train, *test, tuple(map(escape_controls, train_labels)))


def _label_folders(part: Path, root: Path) -> list[str]:
    if not part.is_dir():
        raise DataError(f"{part}: no such folder")
    refuse_link_out(part, root.resolve())  # First, because messages name the folders in it.
    names = [entry.name for entry in part.iterdir() if entry.is_dir() and entry.name[0] != "."]
    if len(names) < 2:
        raise DataError(f"{part}: expected a folder for each of at least two labels; got {names}")
    # Numbers in numerical order: 10 comes after 9, not after 1.
    return sorted(
        names, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name)
    )


def _picture_paths(folder: Path, root: Path) -> Iterator[Path]:
    found, root = False, root.resolve()
    refuse_link_out(folder, root)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _DESKTOP_FILES:
            continue
        if path.suffix.lower() not in _SUFFIXES:
            raise DataError(f"{path}: expected a picture ({', '.join(sorted(_SUFFIXES))})")
        found = True
        refuse_link_out(path, root)
        yield path
    if not found:
        raise DataError(f"{folder}: expected pictures of this label; the folder is empty")


def _read_part(
    root: Path, part: str, labels: list[str], first: Path, pattern: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pictures: list[NDArray[np.uint8]] = []
    targets: list[int] = []
    total = _UnpackedTotal()
    for target, label in enumerate(labels):
        for path in _picture_paths(root / part / label, root):
            picture = read_picture(path)
            if picture.shape != pattern.shape:
                raise DataError(
                    f"{path}: expected a picture of {_describe(pattern)}, like {first}; "
                    f"got {_describe(picture)}"
                )
            total.add(path, picture)
            pictures.append(picture)
            targets.append(target)
    return np.stack(pictures), np.asarray(targets, np.int64)


class _UnpackedTotal:
    """Compares how much the pictures of a folder unpack to with the size of their files."""

    def __init__(self) -> None:
        self._files: set[tuple[int, int]] = set()
        self._packed = self._unpacked = 0

    def add(self, path: Path, picture: NDArray[np.uint8]) -> None:
        """Count a picture; raise DataError when the pictures so far unpack to too much."""
        status = path.stat()
        if (status.st_dev, status.st_ino) not in self._files:  # Links share one file's bytes.
            self._files.add((status.st_dev, status.st_ino))
            self._packed += status.st_size
        self._unpacked += picture.nbytes
        limit = unpacked_limit(self._packed, min_bytes=_MIN_UNPACKED, max_ratio=_MAX_RATIO)
        if self._unpacked > limit:
            raise DataError(
                f"{path}: the pictures up to this one ({format_bytes(self._packed)}) would unpack "
                f"to {format_bytes(self._unpacked)}; expected at most {format_bytes(limit)}"
            )


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


def _describe(picture: NDArray[np.uint8]) -> str:
    height, width, channels = picture.shape
    return f"{height} x {width} pixels in {'grey' if channels == 1 else 'colour'}"
