"""Folders of pictures: a folder for each label, with or without `train/` and `test/` above."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_xai.io.limits import format_bytes, unpacked_limit
from mnist_xai.io.readers.base import Arrays, DataError, refuse_link_out
from mnist_xai.io.readers.fitting import Fitting, ImageShape
from mnist_xai.io.readers.pictures import read_picture
from mnist_xai.io.safe_text import escape_controls

_PARTS = ("train", "test")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
# Line drawings shrink to a hundredth of their pixels; a blank page of the largest size to less.
_MIN_UNPACKED = 256 << 20
_MAX_RATIO = 200
_DESKTOP_FILES = {"Thumbs.db", "desktop.ini"}


def is_picture_folder(root: Path) -> bool:
    """Return whether a folder holds `train/` or `test/`, or a folder for each label."""
    if any((root / part).is_dir() for part in _PARTS):
        return True
    return len(_folder_names(root)) > 1


def read_picture_folders(root: Path, image_shape: ImageShape | None = None) -> Arrays:
    """Read `train/<label>/*` and `test/<label>/*`, or else `<label>/*`: grey or colour pictures.

    Args:
        root: The folder. Without `train/` and `test/`, all its pictures are test images.
        image_shape: Height, width and channels that every picture is brought to; None for a side
            that is the first picture's. Without it, all pictures must have one shape.

    Returns:
        Images, labels, class names, and notes on what was changed.
    """
    split = any((root / part).is_dir() for part in _PARTS)
    folders = [root / part for part in _PARTS] if split else [root]
    labels = _label_folders(folders[0], root)
    for folder in folders[1:]:
        if difference := sorted(set(labels) ^ set(_label_folders(folder, root))):
            raise DataError(
                f"{root}: expected the same label folders in train/ and test/; only one of the "
                f"two has {', '.join(difference)}"
            )
    reading = _Reading(root, next(_picture_paths(folders[0] / labels[0], root)), image_shape)
    parts = [reading.part(folder, labels) for folder in folders]
    if not split:
        images, targets = parts[0]
        parts = [(images[:0], targets[:0]), parts[0]]
    names = tuple(map(escape_controls, labels))
    return Arrays(*parts[0], *parts[1], names, (*reading.notes, *_note_on_order(labels)))


def _note_on_order(labels: list[str]) -> tuple[str, ...]:
    if labels == sorted(labels):
        return ()
    return (
        "classes are in numerical order, 9 before 10; "
        "keras.utils.image_dataset_from_directory sorts them as text, 10 before 9",
    )


def _label_folders(part: Path, root: Path) -> list[str]:
    if not part.is_dir():
        raise DataError(f"{part}: no such folder")
    refuse_link_out(part, root.resolve())  # First, because messages name the folders in it.
    names = _folder_names(part)
    if len(names) < 2:
        raise DataError(f"{part}: expected a folder for each of at least two labels; got {names}")
    # Numbers in numerical order: 10 comes after 9, not after 1.
    return sorted(
        names, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name)
    )


def _folder_names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."]


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


class _Reading:
    """Reads the parts of a data set in one shape: the first picture's, or one that is given."""

    def __init__(self, root: Path, first: Path, image_shape: ImageShape | None) -> None:
        self._root, self._first = root, first
        self._pattern = read_picture(first)
        self._fitting = None if image_shape is None else Fitting(image_shape)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed in the pictures."""
        return () if self._fitting is None else self._fitting.notes

    def part(self, folder: Path, labels: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Read `<label>/*` of one folder."""
        pictures: list[NDArray[np.uint8]] = []
        targets: list[int] = []
        total = _UnpackedTotal()
        for target, label in enumerate(labels):
            for path in _picture_paths(folder / label, self._root):
                picture = self._read(path)
                total.add(path, picture)
                pictures.append(picture)
                targets.append(target)
        return np.stack(pictures), np.asarray(targets, np.int64)

    def _read(self, path: Path) -> NDArray[np.uint8]:
        picture = read_picture(path)
        if self._fitting is not None:
            return self._fitting(path, picture)
        if picture.shape != self._pattern.shape:
            raise DataError(
                f"{path}: expected a picture of {_describe(self._pattern)}, like {self._first}; "
                f"got {_describe(picture)}; pass image_shape=(height, width, channels) to bring "
                "all to one shape"
            )
        return picture


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


def _describe(picture: NDArray[np.uint8]) -> str:
    height, width, channels = picture.shape
    return f"{height} x {width} pixels in {'grey' if channels == 1 else 'colour'}"
