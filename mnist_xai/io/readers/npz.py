"""Archives of arrays like Keras's `mnist.npz`."""

import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mnist_xai.io.limits import UnpackingError, read_member, unpacked_limit
from mnist_xai.io.readers.base import Arrays, DataError
from mnist_xai.io.safe_text import first_line

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_MAX_CLASSES = 4096  # A confusion matrix has the square of this many cells.


def read_npz(path: Path) -> Arrays:
    """Read an archive with `x_train`, `y_train`, `x_test` and `y_test`."""
    try:
        with zipfile.ZipFile(path) as archive:
            x_train, y_train, x_test, y_test = _arrays(archive, path)
    except DataError:
        raise
    except UnpackingError as error:
        raise DataError(f"{path}: {error}") from error
    # NumPy and zipfile raise errors of many types for a damaged file.
    except Exception as error:
        raise DataError(
            f"{path}: expected an .npz archive of plain arrays ({first_line(error)})"
        ) from error
    for key, labels in (("y_train", y_train), ("y_test", y_test)):
        if labels.dtype.kind not in "iu":
            raise DataError(f"{path}: expected integer labels in {key}; got {labels.dtype}")
        if labels.size and labels.max() >= _MAX_CLASSES:
            raise DataError(
                f"{path}: expected labels below {_MAX_CLASSES} in {key}; got {labels.max()}"
            )
    classes = int(max(y_train.max(initial=0), y_test.max(initial=0))) + 1
    names = tuple(str(label) for label in range(classes))
    x_train, x_test = (x[..., np.newaxis] if x.ndim == 3 else x for x in (x_train, x_test))
    return Arrays(x_train, y_train.reshape(-1), x_test, y_test.reshape(-1), names)


def _arrays(archive: zipfile.ZipFile, path: Path) -> Iterator[NDArray[Any]]:
    """Read the four arrays; together they may have as many bytes as the file may unpack to."""
    names = archive.namelist()
    if missing := [key for key in _KEYS if f"{key}.npy" not in names]:
        raise DataError(f"{path}: expected arrays {', '.join(_KEYS)}; missing {', '.join(missing)}")
    left = unpacked_limit(path)
    for key in _KEYS:
        content = read_member(archive, f"{key}.npy", left)
        left -= len(content)
        stream = io.BytesIO(content)
        size = _size_in_header(stream)
        if size > len(content) - stream.tell():
            raise DataError(
                f"{path}: {key}: expected {size} bytes for its shape; the file holds fewer"
            )
        stream.seek(0)
        yield np.lib.format.read_array(stream, allow_pickle=False)


def _size_in_header(stream: IO[bytes]) -> int:
    """Return how many bytes an array has according to its `.npy` header."""
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read_header = np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if min(shape, default=1) < 0:
        raise ValueError(f"it has the shape {shape}")
    return math.prod(shape) * dtype.itemsize
