"""What an audit found of each method, kept on disk while the audit goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.io.files import temporary_folder
from mnist_xai.io.stores import read_store, write_store
from mnist_xai.quality.base import (
    Scores,
)
from mnist_xai.quality.statistics import Values

_NOTHING = np.zeros(0)


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What an audit found of one method.

    Attributes:
        name: The method's.
        refused: Why the network cannot be explained by it; empty when it can.
        shown: Its maps of the images shown, `(S, H, W, C)`.
        scores: By metric, its score for every image.
        missing: For each image, the share of what the map should sum to that is missing; empty
            for a method that promises no sum.
        absorbed: By name, the mean share of the score that biases or stabilisers kept.
        seconds: Time that one explanation took, measured once.
    """

    name: str
    refused: str = ""
    shown: Array = field(default_factory=lambda: np.zeros((0, 1, 1, 1), np.float32))
    scores: Mapping[str, Scores] = field(default_factory=dict)
    missing: Values = field(default_factory=lambda: _NOTHING)
    absorbed: Mapping[str, float] = field(default_factory=dict)
    seconds: float = float("nan")

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return everything that is not an array, as JSON values, and the arrays by name."""
        header = {
            "name": self.name,
            "refused": self.refused,
            "absorbed": dict(self.absorbed),
            "seconds": self.seconds,
            "metrics": list(self.scores),
            "reasons": [dict(scores.refused) for scores in self.scores.values()],
        }
        arrays: dict[str, Any] = {"shown": self.shown, "missing": self.missing}
        for number, scores in enumerate(self.scores.values()):
            arrays[f"values {number}"] = scores.values
            if scores.curves is not None:
                arrays[f"curves {number}"] = scores.curves
        return header, arrays

    @classmethod
    def of_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> "MethodResult":
        """Return the result that `parts` has taken apart."""
        scores = {
            metric: Scores(
                arrays[f"values {number}"],
                {int(row): reason for row, reason in header["reasons"][number].items()},
                arrays.get(f"curves {number}"),
            )
            for number, metric in enumerate(header["metrics"])
        }
        return cls(
            header["name"],
            header["refused"],
            arrays["shown"],
            scores,
            arrays["missing"],
            header["absorbed"],
            header["seconds"],
        )


class ResultStore:
    """A folder with a file for each method's result, until the audit is complete.

    A file is written whole or not at all. Files of another audit (another model, data set,
    budget or version, according to the fingerprint) are ignored and replaced.

    Args:
        folder: The folder; it is created when the first result is stored.
        fingerprint: Everything that the results are a function of.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        self.folder = folder
        self._fingerprint = fingerprint

    def find(self, name: str) -> MethodResult | None:
        """Return a method's result if an interrupted audit has stored it."""
        stored = read_store(self._path(name), self._fingerprint)
        return MethodResult.of_parts(*stored) if stored else None

    def keep(self, result: MethodResult) -> None:
        """Store a method's result."""
        write_store(self._path(result.name), self._fingerprint, *result.parts())

    def remove(self) -> None:
        """Remove the folder, once the audit is complete."""
        if self.folder.exists():
            # Rename it first, so that a kill leaves no incomplete folder under its name.
            with temporary_folder(self.folder) as aside:
                self.folder.rename(aside / "old")

    def _path(self, name: str) -> Path:
        # Quoted: methods of a caller's own may have any name, such as one with a slash.
        return self.folder / f"{quote(name, safe='')}.npz"
