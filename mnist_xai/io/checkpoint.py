"""The state of an unfinished training, so that the same call can resume it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.io.files import remove_leftovers
from mnist_xai.io.stores import read_store, write_store


def versions() -> dict[str, str]:
    """Return the versions that results depend on, by package.

    Each module is asked itself, because TensorFlow is installed under several names.
    """
    try:
        ours = version("mnist_xai")
    except PackageNotFoundError:  # A checkout that was never installed.
        ours = "not installed"
    return {
        "python": platform.python_version(),
        "mnist_xai": ours,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


class Checkpoint(keras.callbacks.Callback):
    """Saves weights, optimiser state and history after every epoch, in one file.

    Attributes:
        path: The file, replaced after every epoch; None to keep only the history, in memory.
        fingerprint: Everything that the training is a function of. A file with another
            fingerprint belongs to another training and is ignored.
        history: Each metric by name, one value for each epoch, including the epochs before an
            interruption.
    """

    def __init__(self, path: Path | None, fingerprint: dict[str, Any]) -> None:
        super().__init__()
        self.path = path
        self.fingerprint = fingerprint
        self.history: dict[str, list[float]] = {}

    def epochs(self) -> int:
        """Return the number of epochs of this training that the file holds; 0 without a file."""
        stored = self._stored()
        return int(stored[0]["epochs"]) if stored else 0

    def restore(self, model: keras.Model) -> int:
        """Set a compiled, built model to the stored state; return the number of epochs done."""
        stored = self._stored()
        if stored is None:
            return 0
        header, arrays = stored
        for name, variable in _variables(model).items():
            variable.assign(arrays[name])
        self.history = header["history"]
        return int(header["epochs"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the state after an epoch; called by Keras."""
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if self.path:
            header = {"epochs": epoch + 1, "history": self.history}
            arrays = {name: np.asarray(v) for name, v in _variables(self.model).items()}
            write_store(self.path, self.fingerprint, header, arrays)

    def remove(self) -> None:
        """Delete the file, once the training has ended and its result is saved."""
        if self.path:
            remove_leftovers(self.path)
            self.path.unlink(missing_ok=True)

    def _stored(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
        return read_store(self.path, self.fingerprint) if self.path else None


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    variables = [*model.variables, *model.optimizer.variables]
    return {f"arr_{index}": variable for index, variable in enumerate(variables)}
