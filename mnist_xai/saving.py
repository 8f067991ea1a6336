"""Models on disk: the same bytes for the same weights, and no code when they are read."""

import hashlib
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from mnist_xai.files import one_line, write_whole

_WEIGHTS, _CONFIG, _METADATA = "model.weights.h5", "config.json", "metadata.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # The first time that a zip archive can tell.


class ModelFileError(ValueError):
    """A model file is damaged, of another kind, or asks for code to be run; told in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def save_model(model: keras.Model, path: Path) -> None:
    """Write a model's architecture and weights as `.keras`, whole or not at all.

    Keras stamps the time into the archive. Here it is left out, so that equal models give
    equal bytes. Optimiser state is not written.

    Args:
        model: The model.
        path: Where to, ending in `.keras`.

    Raises:
        ValueError: For another ending.
    """
    check_model_path(path)
    # A copy that was never compiled carries neither optimiser nor loss into the file.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        stamped = Path(folder, "model.keras")
        bare.save(stamped)
        with zipfile.ZipFile(stamped) as archive:
            members = {name: archive.read(name) for name in (_METADATA, _CONFIG, _WEIGHTS)}
    metadata = json.loads(members[_METADATA]) | {"date_saved": "1980-01-01@00:00:00"}
    members[_METADATA] = json.dumps(metadata).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    write_whole(path, packed.getvalue())


def load_model(path: str | Path) -> keras.Model:
    """Load a `.keras` model without ever running code that came with it.

    Only layers, initialisers and other parts of Keras itself are built; a Lambda layer or a
    class from elsewhere is refused before anything is made from the file.

    Args:
        path: A `.keras` file, written by `train` or by Keras.

    Returns:
        The model, not compiled.

    Raises:
        FileNotFoundError: When there is no such file.
        ModelFileError: For another format, a damaged archive, or one that names code.
    """
    path = Path(path)
    check_model_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file")
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_code(json.loads(archive.read(_CONFIG)), path)
    except ModelFileError:
        raise
    except Exception as error:  # Of the archive, its compression, its text or its depth.
        raise ModelFileError(f"{path}: damaged, or not a .keras model ({error})") from error
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelFileError(f"{path}: Keras cannot load it ({reason})") from error


def check_model_path(path: Path) -> None:
    """Raise ValueError for the name of a model file that does not end in `.keras`."""
    if path.suffix != ".keras":
        raise ModelFileError(f"{path}: expected a file name that ends in .keras")


def _refuse_code(config: Any, path: Path) -> None:
    """Refuse every part of a model's configuration that Keras itself does not define."""
    if isinstance(config, dict):
        module, name = config.get("module"), config.get("class_name")
        if name is not None and "config" in config:
            own = module is None or str(module) == "keras" or str(module).startswith("keras.")
            code = name in {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer"}
            if not own or code:
                where = f"{module}.{name}" if module else name
                raise ModelFileError(
                    f"{path}: the model names {where}, which is code from outside Keras; "
                    "it is not loaded"
                )
        for value in config.values():
            _refuse_code(value, path)
    elif isinstance(config, list):
        for value in config:
            _refuse_code(value, path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card_path(model_path: Path) -> Path:
    """Where the card of a saved model lies: beside it, ending in `.json`."""
    return model_path.with_suffix(".json")


def read_card(path: Path) -> dict[str, Any]:
    """Read a model card, and hold it against the model beside it where there is one.

    Args:
        path: The card, as `train` writes it beside the model.

    Returns:
        What the card says.

    Raises:
        FileNotFoundError: When there is no such file.
        ModelFileError: For a file that is no card, or the card of another model's bytes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model card")
    try:
        card = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: damaged, or not a model card ({error})") from error
    written = card.get("file_sha256") if isinstance(card, dict) else None
    if not isinstance(written, str):
        raise ModelFileError(f"{path}: expected a model card: a JSON object with file_sha256")
    model = path.with_suffix(".keras")
    if model.is_file() and file_sha256(model) != written:
        raise ModelFileError(f"{path}: the card of other bytes than those of {model.name}")
    return card
