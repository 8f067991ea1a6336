"""IDX files, the format of MNIST."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnist_xai.io.limits import UnpackingError, check_unpacked_size, unpacked_limit
from mnist_xai.io.readers.base import Arrays, DataError, refuse_link_out
from mnist_xai.io.safe_text import first_line

_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UINT8 = 0x08
_CHUNK = 1 << 20


def read_idx_folder(folder: Path) -> Arrays:
    """Read the four files of MNIST's names, `train-images-idx3-ubyte` and so on, plain or gzip."""
    train_images, train_labels = _read_pair(folder, "train")
    test_images, test_labels = _read_pair(folder, "t10k")
    classes = int(max(train_labels.max(initial=0), test_labels.max(initial=0))) + 1
    names = tuple(str(label) for label in range(classes))
    return Arrays(train_images, train_labels, test_images, test_labels, names)


def _read_pair(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images_path = _find(folder, f"{part}-images-idx3-ubyte")
    labels_path = _find(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, one for each image in "
            f"{images_path.name}; got {len(labels)}"
        )
    return images[..., np.newaxis], labels


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            refuse_link_out(candidate, folder.resolve())
            return candidate
    raise DataError(
        f"{folder}: expected {name} or {name}.gz (IDX), or a folder of pictures for each of at "
        "least two labels, in train/ and test/ or without them"
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, plain or gzip, whatever its name ends in.

    The format: two zero bytes, the type (0x08), the number of dimensions, each dimension as
    a big-endian 32-bit integer, then the values, last dimension fastest.

    Args:
        path: The file.
        dimensions: Expected number of dimensions: 3 for images, 1 for labels.

    Returns:
        The array, in the shape that the header says.

    Raises:
        DataError: For a wrong magic number, too few or too many bytes, or damaged gzip.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        size = raw.seek(0, 2)
        raw.seek(0)
        try:
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            return _parse(stream, path, dimensions, unpacked_limit(path) if packed else size)
        except UnpackingError as error:
            raise DataError(str(error)) from error
        # zlib.error is a bare Exception: the header is gzip, but the stream is not deflate.
        except (EOFError, gzip.BadGzipFile, OSError, struct.error, zlib.error) as error:
            raise DataError(f"{path}: damaged or truncated file ({first_line(error)})") from error


def _parse(
    stream: BinaryIO | gzip.GzipFile, path: Path, dimensions: int, limit: int
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
    if expected > limit:
        if isinstance(stream, gzip.GzipFile):
            check_unpacked_size(f"{path}: the values of shape {shape}", expected, limit)
        raise DataError(too_short)
    if not expected:
        raise DataError(f"{path}: expected at least one value; the shape is {shape}")
    values = bytearray()
    # In chunks, so that a false length costs no memory; one byte more, to find trailing bytes.
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
