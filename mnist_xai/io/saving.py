"""Models on disk: the same bytes for the same weights, and no code when they are read."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.src.saving import saving_lib

from mnist_xai.io.files import named, temporary_folder, write_whole
from mnist_xai.io.printable import first_line, printable
from mnist_xai.io.vetting import CONFIG, METADATA, WEIGHTS, ModelFileError, vetted_members

__all__ = [
    "ModelFileError",
    "card_path",
    "check_model_path",
    "file_sha256",
    "load_model",
    "read_card",
    "save_model",
]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # The first time that a zip archive can tell.


def save_model(model: keras.Model, path: Path) -> None:
    """Write a model's architecture and weights as `.keras`, whole or not at all.

    Keras stamps the time into the archive. Here it is left out, so that equal models give
    equal bytes. Optimiser state is not written.

    Args:
        model: The model.
        path: Where to, ending in `.keras`.

    Raises:
        ValueError: For another ending.
        OSError: When it cannot be written; the message names the file.
    """
    write_whole(path, model_bytes(model, path))


def model_bytes(model: keras.Model, path: Path) -> bytes:
    """What `save_model` writes to a path; Keras needs a folder there for it meanwhile."""
    check_model_path(path)
    # A copy that was never compiled carries neither optimiser nor loss into the file.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with named(path), temporary_folder(path) as folder:
        stamped = folder / "model.keras"
        bare.save(stamped)
        with zipfile.ZipFile(stamped) as archive:
            members = {name: archive.read(name) for name in (METADATA, CONFIG, WEIGHTS)}
    metadata = json.loads(members[METADATA]) | {"date_saved": "1980-01-01@00:00:00"}
    members[METADATA] = json.dumps(metadata).encode()
    return _packed(members)


def _packed(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return packed.getvalue()


def load_model(path: str | Path) -> keras.Model:
    """Load a `.keras` model without ever running code that came with it.

    Only layers, initialisers and other parts of Keras itself are built; a Lambda layer, a class
    from elsewhere, a layer that opens files, weights that lie in another file and an archive
    that unpacks to much more than its size are refused before anything is made (`SECURITY.md`).

    Args:
        path: A `.keras` file, written by `train` or by Keras.

    Returns:
        The model, not compiled.

    Raises:
        FileNotFoundError: When there is no such file.
        ModelFileError: For another format, a damaged archive, one that names code, or weights
            that are not finite. The message is one line.
    """
    path = Path(path)
    check_model_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{printable(str(path))}: no such model file")
    members = vetted_members(path)
    try:
        # What was vetted, and not the file, which can be read in other ways and be changed. The
        # public function takes no bytes, and of a file for it, kill -9 would leave a copy behind.
        vetted = io.BytesIO(_packed(members))
        model = saving_lib.load_model(vetted, compile=False, safe_mode=True)
    except Exception as error:
        raise ModelFileError(f"{path}: Keras cannot load it ({first_line(error)})") from error
    for variable in model.variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise ModelFileError(
                f"{path}: expected finite weights; those of {variable.path} are not"
            )
    return model


def check_model_path(path: Path) -> None:
    """Raise ValueError for the name of a model file that does not end in `.keras`."""
    if path.suffix != ".keras":
        raise ModelFileError(f"{path}: expected a file name that ends in .keras")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card_path(model_path: Path) -> Path:
    """Where the card of a saved model lies: beside it, ending in `.json`."""
    return model_path.with_suffix(".json")


def read_card(path: str | Path) -> dict[str, Any]:
    """Read a model card, and hold it against the model beside it where there is one.

    Args:
        path: The card, as `train` writes it beside the model.

    Returns:
        What the card says.

    Raises:
        FileNotFoundError: When there is no such file.
        ModelFileError: For a file that is no card, or the card of another model's bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{printable(str(path))}: no such model card")
    try:
        card = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = first_line(error)
        raise ModelFileError(f"{path}: damaged, or not a model card ({reason})") from error
    written = card.get("file_sha256") if isinstance(card, dict) else None
    if not isinstance(written, str):
        raise ModelFileError(f"{path}: expected a model card: a JSON object with file_sha256")
    model = path.with_suffix(".keras")
    if model.is_file() and file_sha256(model) != written:
        raise ModelFileError(f"{path}: the card of other bytes than those of {model.name}")
    return card
