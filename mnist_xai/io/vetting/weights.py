"""Checks of a model's weights: arrays of numbers that lie in the file itself."""

import io
import math
from collections.abc import Iterator
from pathlib import Path

import h5py

from mnist_xai.io.limits import UnpackingError, check_unpacked_size, unpacked_limit
from mnist_xai.io.safe_text import first_line
from mnist_xai.io.vetting.model_file import WEIGHTS, ModelFileError

_MAX_LINKS = 20_000


def check_weights(content: bytes, path: Path) -> None:
    """Refuse weights unless every array lies in the file itself, in one piece.

    Args:
        content: The bytes of the HDF5 file.
        path: The model file, for its size and for messages.

    Raises:
        ModelFileError: For links, arrays of anything but numbers, arrays in other files, and
            arrays that claim more bytes than are stored.
    """
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            size = 0
            for array in _arrays(file, path):
                size += _check_array(array, path)
                # The sum too, because several arrays may share their bytes.
                check_unpacked_size(WEIGHTS, size, unpacked_limit(path))
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
            if links > _MAX_LINKS:
                raise ModelFileError(f"{path}: {WEIGHTS} holds more than {_MAX_LINKS:,} objects")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelFileError(
                    f"{path}: {WEIGHTS} links to another place ({type(link).__name__} {name})"
                )
            member = group[name]
            address = h5py.h5o.get_info(member.id).addr
            if address in seen:
                continue  # A group may contain itself.
            seen.add(address)
            if isinstance(member, h5py.Group):
                rest.append(member)
            elif isinstance(member, h5py.Dataset):
                yield member


def _check_array(array: h5py.Dataset, path: Path) -> int:
    """Check that an array is numbers and is stored in the file; return its size in bytes."""
    where = f"{path}: {WEIGHTS}: {array.name}"
    if array.external or array.is_virtual:
        raise ModelFileError(f"{where} lies in another file")
    # HDF5 has no bfloat16: Keras writes two opaque bytes, and an attribute that names the type.
    bfloat16 = array.dtype == "V2" and array.attrs.get("dtype") == "bfloat16"
    if array.dtype.kind not in "fiub" and not bfloat16:
        raise ModelFileError(f"{where}: expected numbers; got {array.dtype}")
    if array.shape is None:
        raise ModelFileError(f"{where}: expected an array; got an empty one")
    size = math.prod(array.shape) * array.dtype.itemsize
    check_unpacked_size(f"{WEIGHTS}: {array.name}", size, unpacked_limit(path))
    # Keras writes arrays in one piece. Compressed chunks could unpack to much more.
    if array.chunks is not None or array.id.get_storage_size() != size:
        raise ModelFileError(f"{where}: expected {size:,} bytes in one piece, uncompressed")
    return size
