"""Image files as arrays: IDX, `mnist.npz`, and folders of pictures.

What is read is data: nothing is unpickled, and no length that a file claims is believed
before the bytes are there.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_xai.files import one_line


class DataError(ValueError):
    """A data file is missing, damaged, or not what its name says; told in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


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
    if path.is_file():
        return _read_npz(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    if (path / "train").is_dir() or (path / "test").is_dir():
        return _read_picture_folders(path)
    return _read_idx_folder(path)


# --- IDX ---------------------------------------------------------------------------------

_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UINT8 = 0x08
_DEFLATE_LIMIT = 1032  # No deflate stream unpacks to more than this many times its size.
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
            return _parse_idx(stream, path, dimensions, size * (_DEFLATE_LIMIT if packed else 1))
        except (EOFError, OSError, struct.error, zlib.error) as error:
            raise DataError(f"{path}: damaged or truncated file ({error})") from error


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
        raise DataError(too_short)
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
    return np.frombuffer(bytes(values), np.uint8).reshape(shape)


# --- npz ---------------------------------------------------------------------------------


_MOST_CLASSES = 1 << 16  # Each class gets a name: a label that lies must not cost the memory.


def _read_npz(path: Path) -> Arrays:
    keys = ("x_train", "y_train", "x_test", "y_test")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            found = {key: archive[key] for key in keys if key in archive}
    except Exception as error:  # Damaged archives raise a dozen kinds, tokenize.TokenError too.
        raise DataError(f"{path}: expected an .npz archive of plain arrays ({error})") from error
    missing = [key for key in keys if key not in found]
    if missing:
        raise DataError(f"{path}: expected arrays {', '.join(keys)}; missing {', '.join(missing)}")
    for key, array in found.items():
        if not isinstance(array, np.ndarray):  # A member that is no .npy is given as its bytes.
            raise DataError(f"{path}: expected an .npz archive of plain arrays; {key} is none")
    x_train, y_train, x_test, y_test = (found[key] for key in keys)
    for key, labels in (("y_train", y_train), ("y_test", y_test)):
        _check_labels(path, key, labels)
    classes = int(max(y_train.max(initial=0), y_test.max(initial=0))) + 1
    names = tuple(str(label) for label in range(classes))
    x_train, x_test = (x[..., np.newaxis] if x.ndim == 3 else x for x in (x_train, x_test))
    return Arrays(x_train, y_train.reshape(-1), x_test, y_test.reshape(-1), names)


_MOST_CLASSES = 1 << 16  # Each class gets a name: a label that lies must not cost the memory.


def _check_labels(path: Path, key: str, labels: NDArray[Any]) -> None:
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: expected integer labels in {key}; got {labels.dtype}")
    if labels.max(initial=0) >= _MOST_CLASSES:
        raise DataError(
            f"{path}: expected labels below {_MOST_CLASSES:,} in {key}; got {labels.max()}"
        )


# --- pictures ----------------------------------------------------------------------------

_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
_PICTURE_FORMATS = ("PNG", "JPEG", "BMP")
_MOST_PIXELS = 1 << 24  # A kilobyte of BMP may claim fifty million, and take ten seconds.
_GREY_MODES = {"1", "L", "I;16", "LA"}
_LITTER = {"Thumbs.db", "desktop.ini"}


def _read_picture_folders(root: Path) -> Arrays:
    train_labels = _label_folders(root / "train")
    test_labels = _label_folders(root / "test")
    if train_labels != test_labels:
        difference = sorted(set(train_labels) ^ set(test_labels))
        raise DataError(
            f"{root}: expected the same label folders in train/ and test/; only one of the "
            f"two has {', '.join(difference)}"
        )
    first = next(_pictures(root / "train" / train_labels[0]))
    pattern = read_picture(first)
    train = _read_part(root / "train", train_labels, first, pattern)
    test = _read_part(root / "test", train_labels, first, pattern)
    return Arrays(*train, *test, tuple(train_labels))


def _label_folders(part: Path) -> list[str]:
    if not part.is_dir():
        raise DataError(f"{part}: no such folder")
    names = [entry.name for entry in part.iterdir() if entry.is_dir() and entry.name[0] != "."]
    if len(names) < 2:
        raise DataError(f"{part}: expected a folder for each of at least two labels; got {names}")
    # Numbers in their own order, so that 10 comes after 9 and not after 1.
    return sorted(
        names, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name)
    )


def _pictures(folder: Path) -> Iterator[Path]:
    found = False
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _LITTER:
            continue
        if path.suffix.lower() not in _PICTURE_SUFFIXES:
            raise DataError(f"{path}: expected a picture ({', '.join(sorted(_PICTURE_SUFFIXES))})")
        found = True
        yield path
    if not found:
        raise DataError(f"{folder}: expected pictures of this label; the folder is empty")


def _read_part(
    part: Path, labels: list[str], first: Path, pattern: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pictures, targets = [], []
    for target, label in enumerate(labels):
        for path in _pictures(part / label):
            picture = read_picture(path)
            if picture.shape != pattern.shape:
                raise DataError(
                    f"{path}: expected a picture of {_describe(pattern)} as {first} is; "
                    f"got {_describe(picture)}"
                )
            pictures.append(picture)
            targets.append(target)
    return np.stack(pictures), np.asarray(targets, np.int64)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read one picture as uint8 `(H, W, 1)` when it is grey and `(H, W, 3)` when it has colour.

    Raises:
        DataError: When it is missing or cannot be decoded as PNG, JPEG or BMP.
    """
    try:
        with Image.open(path, formats=_PICTURE_FORMATS) as picture:
            _vet_picture(picture, path)
            grey = picture.mode in _GREY_MODES
            pixels = np.asarray(picture.convert("L" if grey else "RGB"))
    except DataError:
        raise
    except Exception as error:  # Decoders of damaged pictures raise whatever they stumble over.
        raise DataError(f"{path}: cannot be read as a picture ({error})") from error
    return pixels[..., np.newaxis] if grey else pixels


def _vet_picture(picture: Image.Image, path: Path) -> None:
    """Refuse what would be read as something else than it is, or for very long."""
    if picture.mode == "I;16":
        raise DataError(f"{path}: expected 8 bits a channel; got 16")
    if picture.width * picture.height > _MOST_PIXELS:
        raise DataError(
            f"{path}: expected at most {_MOST_PIXELS:,} pixels; got "
            f"{picture.width:,} x {picture.height:,}"
        )


def _describe(picture: NDArray[np.uint8]) -> str:
    height, width, channels = picture.shape
    return f"{height} x {width} pixels in {'grey' if channels == 1 else 'colour'}"
