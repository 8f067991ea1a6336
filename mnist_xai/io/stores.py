"""Results of unfinished work on disk, tied by a fingerprint to the call that made them."""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_xai.io.files import write_atomically

_HEADER = "header"
_FINGERPRINT = "fingerprint"


def write_store(
    path: Path,
    fingerprint: Mapping[str, Any],
    header: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Write arrays and a header into one `.npz` file, whole or not at all.

    Args:
        path: The file; it is replaced when it exists.
        fingerprint: Everything that the content is a function of; must be JSON.
        header: Everything else that is not an array; must be JSON.
        arrays: The arrays by name.
    """
    text = json.dumps({_FINGERPRINT: fingerprint, **header})
    content = io.BytesIO()
    members: dict[str, Any] = {_HEADER: np.array(text), **arrays}
    np.savez(content, **members)
    write_atomically(path, content.getvalue())


def read_store(
    path: Path, fingerprint: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """Return the header and the arrays that `write_store` wrote under the same fingerprint.

    Returns:
        The header and the arrays by name; None when the file is missing, damaged, or was written
        under another fingerprint. Nothing in it is unpickled.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays.pop(_HEADER)))
        same = _as_text(header.pop(_FINGERPRINT)) == _as_text(fingerprint)
    except FileNotFoundError:
        return None
    except (
        ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError,
        zipfile.BadZipFile, zlib.error,
    ):  # fmt: skip
        return None  # Not a file of ours; the work starts anew and replaces it.
    return (header, arrays) if same else None


def _as_text(fingerprint: Any) -> str:
    """Return a fingerprint as JSON text, in which tuples equal lists."""
    return json.dumps(fingerprint, sort_keys=True)
