"""Saving and loading models: equal models give equal bytes, and loading runs no code."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.src.saving import saving_lib

from mnist_xai.io.files import errors_name, temporary_folder, write_atomically
from mnist_xai.io.safe_text import escape_controls, first_line
from mnist_xai.io.vetting import CONFIG, METADATA, WEIGHTS, ModelFileError, vetted_members

__all__ = [
    "ModelFileError",
    "card_path",
    "check_model_path",
    "file_sha256",
    "load_model",
    "read_card",
    "said_of_images",
    "save_model",
]

_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # The earliest time that a zip archive can store.


def save_model(
    model: keras.Model,
    path: Path,
    *,
    pixels: str | Sequence[Any] | None = None,
    preprocess: str | None = None,
) -> None:
    """Write a model's architecture and weights as `.keras`, whole or not at all.

    Keras writes the time into the archive. This writes a fixed time instead, so that equal models
    give equal bytes. Optimiser state is not written.

    Args:
        model: The model.
        path: The file to write, ending in `.keras`.
        pixels: The range of the images, a name or `(low, high)` as `Network` takes it. With it, or
            with `preprocess`, a card is written beside the model; commands and `audit` read it.
        preprocess: The module of `keras.applications` whose `preprocess_input` images go through.

    Raises:
        ValueError: When the path does not end in `.keras`.
        OSError: When the file cannot be written; the message names it.
    """
    content = model_bytes(model, path)
    write_atomically(path, content)
    if pixels is not None or preprocess is not None:
        if not isinstance(pixels, str | None):
            pixels = [np.asarray(bound).tolist() for bound in pixels]
        card = {
            "file_sha256": hashlib.sha256(content).hexdigest(),
            "pixels": pixels,
            "preprocess": preprocess,
        }
        write_atomically(card_path(path), json.dumps(card, indent=2) + "\n")


def said_of_images(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a saved model's card says of its images: `pixels` and `preprocess`.

    Args:
        path: The model file.

    Returns:
        Arguments for `Network`; empty if there is no card, or if it says nothing.

    Raises:
        ModelFileError: For a card that is damaged or another model's.
    """
    card = card_path(Path(path))
    said = read_card(card) if card.is_file() else {}
    return {key: said[key] for key in ("pixels", "preprocess") if said.get(key) is not None}


def model_bytes(model: keras.Model, path: Path) -> bytes:
    """Return the bytes that `save_model` writes; a temporary folder beside `path` is used."""
    check_model_path(path)
    # A copy that was never compiled brings neither optimiser nor loss into the file.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with errors_name(path), temporary_folder(path) as folder:
        saved = folder / "model.keras"
        bare.save(saved)
        with zipfile.ZipFile(saved) as archive:
            members = {name: archive.read(name) for name in (METADATA, CONFIG, WEIGHTS)}
    metadata = json.loads(members[METADATA]) | {"date_saved": "1980-01-01@00:00:00"}
    members[METADATA] = json.dumps(metadata).encode()
    return _zip(members)


def _zip(members: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name, _FIXED_TIME), member)
    return content.getvalue()


def load_model(path: str | Path) -> keras.Model:
    """Load a `.keras` model without running any code that came with it.

    Only layers, initialisers and other parts of Keras itself are built. Refused before anything is
    built: Lambda layers, classes from elsewhere, layers that open files, weights in another file,
    and archives that unpack to much more than their size (`SECURITY.md`).

    Args:
        path: A `.keras` file, written by `train` or by Keras.

    Returns:
        The model, not compiled.

    Raises:
        FileNotFoundError: When there is no such file.
        ModelFileError: For another format, a damaged archive, an archive that names code, or
            weights that are not finite. The message is one line.
    """
    path = Path(path)
    check_model_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{escape_controls(str(path))}: no such model file")
    members = vetted_members(path)
    try:
        # Load the vetted bytes, not the file: it may have changed, and Keras may read it another
        # way. Keras's public function takes only files, and `kill -9` would leave a copy behind.
        vetted = io.BytesIO(_zip(members))
        model = saving_lib.load_model(vetted, compile=False, safe_mode=True)
    except Exception as error:
        raise ModelFileError(f"{path}: Keras cannot load it ({first_line(error)})") from error
    for variable in model.variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise ModelFileError(
                f"{path}: expected finite weights; got NaN or infinity in {variable.path}"
            )
    return model


def check_model_path(path: Path) -> None:
    """Raise ModelFileError when the path of a model does not end in `.keras`."""
    if path.suffix != ".keras":
        raise ModelFileError(f"{path}: expected a file name that ends in .keras")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card_path(model_path: Path) -> Path:
    """Return the path of a saved model's card: beside the model, ending in `.json`."""
    return model_path.with_suffix(".json")


def read_card(path: str | Path) -> dict[str, Any]:
    """Read a model card; where the model lies beside it, check that the card is the model's.

    Args:
        path: The card, which `train` writes beside the model.

    Returns:
        The content of the card.

    Raises:
        FileNotFoundError: When there is no such file.
        ModelFileError: For a file that is not a card, or whose SHA-256 is not the model's.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{escape_controls(str(path))}: no such model card")
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
        raise ModelFileError(f"{path}: expected the card of {model.name}; its SHA-256 differs")
    return card
