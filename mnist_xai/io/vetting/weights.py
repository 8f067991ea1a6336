"""What the weights of a model may be: numbers that lie in the file itself, all of them."""

import io
import math
from collections.abc import Iterator
from pathlib import Path

import h5py

from mnist_xai.io.limits import UnpackingError, allowance, check_unpacked
from mnist_xai.io.printable import first_line
from mnist_xai.io.vetting.refusal import WEIGHTS, ModelFileError

_LINKS = 20_000


def vet_weights(content: bytes, path: Path) -> None:
    """Refuse weights that do not lie in the file itself, each as a whole.

    Args:
        content: The bytes of the HDF5 file.
        path: The file that they come from, for its size and the message.

    Raises:
        ModelFileError: For links, arrays of anything but numbers, arrays that lie elsewhere or
            claim more than lies there.
    """
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            size = 0
            for array in _arrays(file, path):
                size += _vet_array(array, path)
                check_unpacked(WEIGHTS, size, allowance(path))  # Several may share their bytes.
    except UnpackingError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path}: damaged weights ({first_line(error)})") from error


def _arrays(file: h5py.File, path: Path) -> Iterator[h5py.Dataset]:
    rest, seen, links = [file["/"]], set(), 0
    while rest:
        group = rest.pop()
        for name in group:
            links += 1
            if links > _LINKS:
                raise ModelFileError(f"{path}: {WEIGHTS} holds more than {_LINKS:,} objects")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelFileError(
                    f"{path}: {WEIGHTS} links to somewhere else ({type(link).__name__} {name})"
                )
            found = group[name]
            where = h5py.h5o.get_info(found.id).addr
            if where in seen:
                continue  # A group may hold itself.
            seen.add(where)
            if isinstance(found, h5py.Group):
                rest.append(found)
            elif isinstance(found, h5py.Dataset):
                yield found


def _vet_array(array: h5py.Dataset, path: Path) -> int:
    """How many bytes an array has, all of which lie in the file."""
    where = f"{path}: {WEIGHTS}: {array.name}"
    if array.external or array.is_virtual:
        raise ModelFileError(f"{where} lies in another file")
    # HDF5 has no bfloat16: Keras writes two bytes without a meaning, and what they mean beside.
    bfloat16 = array.dtype == "V2" and array.attrs.get("dtype") == "bfloat16"
    if array.dtype.kind not in "fiub" and not bfloat16:
        raise ModelFileError(f"{where}: expected numbers; got {array.dtype}")
    if array.shape is None:
        raise ModelFileError(f"{where}: expected an array; there is none")
    size = math.prod(array.shape) * array.dtype.itemsize
    check_unpacked(f"{WEIGHTS}: {array.name}", size, allowance(path))
    # So Keras writes them. What is packed in chunks can be little and become much.
    if array.chunks is not None or array.id.get_storage_size() != size:
        raise ModelFileError(f"{where}: expected {size:,} bytes in one piece, not packed")
    return size
