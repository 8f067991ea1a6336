"""Image files as arrays: IDX, `mnist.npz`, and folders of pictures.

What is read is data: nothing is unpickled, no length that a file claims is believed before the
bytes are there, nothing unpacks to much more than its size, and a folder is read without leaving
it. Every complaint is one line (`SECURITY.md`).
"""

import gzip
import io
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_xai.io.limits import (
    UnpackingError,
    allowance,
    check_unpacked,
    in_words,
    read_member,
)
from mnist_xai.io.printable import OneLineError, first_line, printable


class DataError(OneLineError):
    """A data file is missing, damaged, or not what its name says."""


class Arrays(NamedTuple):
    """Training and test images with their labels, and what the labels are called."""

    train_images: NDArray[np.uint8]  # (N, H, W, C)
    train_labels: NDArray[np.integer]  # (N,)
    test_images: NDArray[np.uint8]  # (M, H, W, C)
    test_labels: NDArray[np.integer]  # (M,)
    class_names: tuple[str, ...]


def read_path(path: Path) -> Arrays:
    """Read a data set from a folder of IDX files, a folder of pictures, or an `.npz` file.

    Args:
        path: A folder with the four IDX files (plain or gzip); a folder with
            `train/<label>/*.png` and `test/<label>/*.png`; or an `.npz` with `x_train`,
            `y_train`, `x_test` and `y_test`.

    Raises:
        DataError: When the path is none of these or a file in it is damaged; the message
            names the file, what was expected and what came.
    """
    try:
        if path.is_file():
            return _read_npz(path)
        if not path.is_dir():
            raise DataError(f"{path}: no such file or folder")
        if (path / "train").is_dir() or (path / "test").is_dir():
            return _read_picture_folders(path)
        return _read_idx_folder(path)
    except OSError as error:  # It may not be read, or was removed while it was.
        raise DataError(f"{path}: cannot be read ({error})") from error


# --- IDX ---------------------------------------------------------------------------------

_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UINT8 = 0x08
_CHUNK = 1 << 20


def _read_idx_folder(folder: Path) -> Arrays:
    train_images, train_labels = _read_idx_pair(folder, "train")
    test_images, test_labels = _read_idx_pair(folder, "t10k")
    classes = int(max(train_labels.max(initial=0), test_labels.max(initial=0))) + 1
    names = tuple(str(label) for label in range(classes))
    return Arrays(train_images, train_labels, test_images, test_labels, names)


def _read_idx_pair(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images_path = _find_idx(folder, f"{part}-images-idx3-ubyte")
    labels_path = _find_idx(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, one for each image in "
            f"{images_path.name}; got {len(labels)}"
        )
    return images[..., np.newaxis], labels


def _find_idx(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            _refuse_link_out(candidate, folder.resolve())
            return candidate
    raise DataError(
        f"{folder}: expected {name} or {name}.gz (IDX), or folders train/ and test/ with a "
        "folder of pictures for each label"
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, gzipped or not, whatever its name ends in.

    The format: two zero bytes, the type (0x08), the number of dimensions, each dimension as
    a big-endian 32-bit integer, then the values, last dimension fastest.

    Args:
        path: The file.
        dimensions: How many dimensions it has to have: 3 for images, 1 for labels.

    Returns:
        The array, of the shape that the header says.

    Raises:
        DataError: For a wrong magic number, too few or too many bytes, or a damaged gzip.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        size = raw.seek(0, 2)
        raw.seek(0)
        try:
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            return _parse_idx(stream, path, dimensions, allowance(path) if packed else size)
        except UnpackingError as error:
            raise DataError(str(error)) from error
        # zlib.error is a bare Exception: a stream that is no deflate behind a header that is gzip.
        except (EOFError, gzip.BadGzipFile, OSError, struct.error, zlib.error) as error:
            raise DataError(f"{path}: damaged or truncated file ({first_line(error)})") from error


def _parse_idx(
    stream: BinaryIO | gzip.GzipFile, path: Path, dimensions: int, at_most: int
) -> NDArray[np.uint8]:
    magic = stream.read(4)
    if magic != bytes([0, 0, _IDX_UINT8, dimensions]):
        raise DataError(
            f"{path}: expected an IDX file of bytes with {dimensions} dimension(s), magic "
            f"number 0x0000080{dimensions}; got 0x{magic.hex()}"
        )
    shape = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
    expected = math.prod(shape)
    too_short = f"{path}: expected {expected} bytes for shape {shape}; the file holds fewer"
    if expected > at_most:
        if isinstance(stream, gzip.GzipFile):
            check_unpacked(f"{path}: the values of shape {shape}", expected, at_most)
        raise DataError(too_short)
    if not expected:
        raise DataError(f"{path}: expected at least one value; the shape is {shape}")
    values = bytearray()
    # One byte more than expected, in chunks: a length that lies costs no memory.
    while missing := expected + 1 - len(values):
        chunk = stream.read(min(missing, _CHUNK))
        if not chunk:
            break
        values += chunk
    if len(values) < expected:
        raise DataError(f"{too_short}: {len(values)}")
    if len(values) > expected:
        raise DataError(f"{path}: expected {expected} bytes for shape {shape}; more follow")
    array = np.frombuffer(values, np.uint8).reshape(shape)
    array.flags.writeable = False
    return array


# --- npz ---------------------------------------------------------------------------------


_NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
_MOST_CLASSES = 4096  # A confusion matrix has this many squared places.


def _read_npz(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            x_train, y_train, x_test, y_test = _npz_arrays(archive, path)
    except DataError:
        raise
    except UnpackingError as error:
        raise DataError(f"{path}: {error}") from error
    # NumPy and zipfile have no error of their own for most that can be wrong with a file.
    except Exception as error:
        raise DataError(
            f"{path}: expected an .npz archive of plain arrays ({first_line(error)})"
        ) from error
    for key, labels in (("y_train", y_train), ("y_test", y_test)):
        if labels.dtype.kind not in "iu":
            raise DataError(f"{path}: expected integer labels in {key}; got {labels.dtype}")
        if labels.size and labels.max() >= _MOST_CLASSES:
            raise DataError(
                f"{path}: expected labels below {_MOST_CLASSES} in {key}; got {labels.max()}"
            )
    classes = int(max(y_train.max(initial=0), y_test.max(initial=0))) + 1
    names = tuple(str(label) for label in range(classes))
    x_train, x_test = (x[..., np.newaxis] if x.ndim == 3 else x for x in (x_train, x_test))
    return Arrays(x_train, y_train.reshape(-1), x_test, y_test.reshape(-1), names)


def _npz_arrays(archive: zipfile.ZipFile, path: Path) -> Iterator[NDArray[Any]]:
    """The arrays of an archive, together within what its size allows."""
    names = archive.namelist()
    if missing := [key for key in _NPZ_KEYS if f"{key}.npy" not in names]:
        raise DataError(
            f"{path}: expected arrays {', '.join(_NPZ_KEYS)}; missing {', '.join(missing)}"
        )
    left = allowance(path)
    for key in _NPZ_KEYS:
        packed = read_member(archive, f"{key}.npy", left)
        left -= len(packed)
        stream = io.BytesIO(packed)
        claimed = _claimed(stream)
        if claimed > len(packed) - stream.tell():
            raise DataError(
                f"{path}: {key}: expected {claimed} bytes for its shape; the file holds fewer"
            )
        stream.seek(0)
        yield np.lib.format.read_array(stream, allow_pickle=False)


def _claimed(stream: IO[bytes]) -> int:
    """How many bytes an array has by its own account."""
    version = np.lib.format.read_magic(stream)
    of_version = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        of_version = np.lib.format.read_array_header_2_0
    shape, _, dtype = of_version(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if min(shape, default=1) < 0:
        raise ValueError(f"it has the shape {shape}")
    return math.prod(shape) * dtype.itemsize


# --- pictures ----------------------------------------------------------------------------

_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
_PICTURE_FORMATS = ("PNG", "JPEG", "BMP")
_GREY_MODES = {"1", "L", "LA"}
_MOST_PIXELS = 1 << 24  # 4096 x 4096.
_JPEG = b"\xff\xd8"
# A progressive JPEG has about ten scans, each a pass over all pixels; of notes it has a few, and
# Pillow joins them in a time that grows with their square.
_MOST_SCANS = 30
_MOST_NOTES = 100
_PACKED_BMP = (1, 2)  # Run lengths, which Pillow unpacks a pixel at a time.
# Line drawings shrink to a hundredth; an empty page of the largest size to less.
_PICTURES_ALWAYS = 256 << 20
_PICTURES_TIMES = 200
_LITTER = {"Thumbs.db", "desktop.ini"}


def _read_picture_folders(root: Path) -> Arrays:
    train_labels = _label_folders(root / "train", root)
    test_labels = _label_folders(root / "test", root)
    if train_labels != test_labels:
        difference = sorted(set(train_labels) ^ set(test_labels))
        raise DataError(
            f"{root}: expected the same label folders in train/ and test/; only one of the "
            f"two has {', '.join(difference)}"
        )
    first = next(_pictures(root / "train" / train_labels[0], root))
    pattern = read_picture(first)
    train = _read_part(root, "train", train_labels, first, pattern)
    test = _read_part(root, "test", train_labels, first, pattern)
    return Arrays(*train, *test, tuple(map(printable, train_labels)))


def _label_folders(part: Path, root: Path) -> list[str]:
    if not part.is_dir():
        raise DataError(f"{part}: no such folder")
    _refuse_link_out(part, root.resolve())  # Before the names in it are told.
    names = [entry.name for entry in part.iterdir() if entry.is_dir() and entry.name[0] != "."]
    if len(names) < 2:
        raise DataError(f"{part}: expected a folder for each of at least two labels; got {names}")
    # Numbers in their own order, so that 10 comes after 9 and not after 1.
    return sorted(
        names, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name)
    )


def _pictures(folder: Path, root: Path) -> Iterator[Path]:
    found, inside = False, root.resolve()
    _refuse_link_out(folder, inside)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _LITTER:
            continue
        if path.suffix.lower() not in _PICTURE_SUFFIXES:
            raise DataError(f"{path}: expected a picture ({', '.join(sorted(_PICTURE_SUFFIXES))})")
        found = True
        _refuse_link_out(path, inside)
        yield path
    if not found:
        raise DataError(f"{folder}: expected pictures of this label; the folder is empty")


def _refuse_link_out(path: Path, inside: Path) -> None:
    """A folder from a stranger must not bring private files into pictures and reports."""
    try:
        within = path.resolve().is_relative_to(inside)
    except RuntimeError as error:  # What Python 3.11 makes of a link to itself.
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from error
    if not within:
        raise DataError(f"{path}: links out of {inside}; expected the file itself")


def _read_part(
    root: Path, part: str, labels: list[str], first: Path, pattern: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pictures: list[NDArray[np.uint8]] = []
    targets: list[int] = []
    together = _Together()
    for target, label in enumerate(labels):
        for path in _pictures(root / part / label, root):
            picture = read_picture(path)
            if picture.shape != pattern.shape:
                raise DataError(
                    f"{path}: expected a picture of {_describe(pattern)} as {first} is; "
                    f"got {_describe(picture)}"
                )
            together.add(path, picture)
            pictures.append(picture)
            targets.append(target)
    return np.stack(pictures), np.asarray(targets, np.int64)


class _Together:
    """What the pictures of a folder unpack to, against what lies on the disk."""

    def __init__(self) -> None:
        self._files: set[tuple[int, int]] = set()
        self._size = self._unpacked = 0

    def add(self, path: Path, picture: NDArray[np.uint8]) -> None:
        """Count a picture, and refuse it when they have become too much."""
        status = path.stat()
        if (status.st_dev, status.st_ino) not in self._files:  # A link is no further file.
            self._files.add((status.st_dev, status.st_ino))
            self._size += status.st_size
        self._unpacked += picture.nbytes
        most = allowance(self._size, always=_PICTURES_ALWAYS, times=_PICTURES_TIMES)
        if self._unpacked > most:
            raise DataError(
                f"{path}: the pictures up to here, {in_words(self._size)}, would unpack to "
                f"{in_words(self._unpacked)}; expected at most {in_words(most)}"
            )


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read one picture as uint8 `(H, W, 1)` when it is grey and `(H, W, 3)` when it has colour.

    Raises:
        DataError: When it is missing or cannot be decoded as PNG, JPEG or BMP.
    """
    if path.exists() and not path.is_file():  # Whoever opens a pipe waits for ever.
        raise DataError(f"{path}: expected a picture; this is no file")
    try:
        content = path.read_bytes()
        _vet_jpeg(content, path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_PICTURE_FORMATS) as picture:
                _vet_picture(picture, path)
                grey = picture.mode in _GREY_MODES
                pixels = np.asarray(picture.convert("L" if grey else "RGB"))
    except DataError:
        raise
    # Pillow complains of damaged files by whatever its decoders stumble over.
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a picture ({first_line(error)})") from error
    return pixels[..., np.newaxis] if grey else pixels


def _vet_jpeg(content: bytes, path: Path) -> None:
    """Refuse a JPEG that Pillow would read for very long: before it opens it."""
    if not content.startswith(_JPEG):
        return
    for marker, what, most in (
        (b"\xff\xda", "scans", _MOST_SCANS),
        (b"\xff\xe1", "notes (APP1)", _MOST_NOTES),
    ):
        if content.count(marker) > most:
            raise DataError(f"{path}: expected a JPEG of at most {most} {what}; it has more")


def _vet_picture(picture: Image.Image, path: Path) -> None:
    """Refuse what would be read as something else than it is."""
    if picture.mode.startswith(("I", "F")):
        raise DataError(f"{path}: expected 8 bits a channel; got mode {picture.mode}")
    if picture.width * picture.height > _MOST_PIXELS:
        raise DataError(
            f"{path}: expected at most {_MOST_PIXELS:,} pixels; got "
            f"{picture.width:,} x {picture.height:,}"
        )
    if picture.format == "BMP" and picture.info.get("compression") in _PACKED_BMP:
        raise DataError(f"{path}: expected a BMP that is not packed; this one is, by run lengths")
    frames = getattr(picture, "n_frames", 1)
    if picture.format == "PNG" and frames > 1:
        raise DataError(f"{path}: expected one picture; the file holds {frames}")


def _describe(picture: NDArray[np.uint8]) -> str:
    height, width, channels = picture.shape
    return f"{height} x {width} pixels in {'grey' if channels == 1 else 'colour'}"
