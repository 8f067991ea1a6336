"""The state of an unfinished training, so that the same call can go on with it."""

import io
import json
import platform
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.io.files import remove_leftovers, write_whole

_HEADER = "header"


def versions() -> dict[str, str]:
    """What figures are a function of beside all that a caller gives, by name.

    Each module is asked itself: TensorFlow is installed under several names.
    """
    try:
        ours = version("mnist_xai")
    except PackageNotFoundError:  # Run from a checkout that was never installed.
        ours = "not installed"
    return {
        "python": platform.python_version(),
        "mnist_xai": ours,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


class Checkpoint(keras.callbacks.Callback):
    """Keeps weights, optimiser state and history of the last whole epoch in one file.

    Attributes:
        path: The file, replaced as a whole after every epoch; None to keep only the history.
        fingerprint: What the training is a function of. A file with another fingerprint is
            of another training, and is not gone on with.
        history: Each metric by name, a value for each epoch, those before an interruption too.
    """

    def __init__(self, path: Path | None, fingerprint: dict[str, Any]) -> None:
        super().__init__()
        self.path = path
        self.fingerprint = fingerprint
        self.history: dict[str, list[float]] = {}

    def epochs(self) -> int:
        """The whole epochs that the file holds of this training; 0 without one."""
        found = self._read()
        return int(found[0]["epochs"]) if found else 0

    def restore(self, model: keras.Model) -> int:
        """Bring a compiled, built model to where the training stopped; return the epochs done."""
        found = self._read()
        if found is None:
            return 0
        header, arrays = found
        for variable, value in zip(_variables(model), arrays, strict=True):
            variable.assign(value)
        self.history = header["history"]
        return int(header["epochs"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the state after an epoch (called by Keras)."""
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if self.path is None:
            return
        header = {"fingerprint": self.fingerprint, "epochs": epoch + 1, "history": self.history}
        arrays: dict[str, Any] = {_HEADER: np.array(json.dumps(header))}
        arrays |= {f"arr_{i}": np.asarray(v) for i, v in enumerate(_variables(self.model))}
        content = io.BytesIO()
        np.savez(content, **arrays)
        write_whole(self.path, content.getvalue())

    def remove(self) -> None:
        """Delete the file: the training is over and its result is safe."""
        if self.path:
            remove_leftovers(self.path)
            self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[dict[str, Any], list[NDArray[Any]]] | None:
        if self.path is None:
            return None
        try:
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                header = json.loads(str(archive[_HEADER]))
                arrays = [archive[f"arr_{i}"] for i in range(len(archive.files) - 1)]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
            return None  # Not a checkpoint of ours: the training starts anew and replaces it.
        return (header, arrays) if header["fingerprint"] == self.fingerprint else None


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]
