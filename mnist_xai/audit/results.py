"""The result of each method in an audit, stored on disk until the audit is complete."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.io.files import temporary_folder
from mnist_xai.io.stores import read_store, write_store
from mnist_xai.quality.base import Scores
from mnist_xai.quality.statistics import Values


@dataclass(frozen=True, eq=False)
class MethodResult:
    """The result of one method in an audit.

    Attributes:
        name: Name of the method.
        refused: Why the method cannot explain the network; empty if it can.
        example_maps: Its maps of the images that the page shows, `(S, H, W, C)` or `(S, H, W, 1)`.
        scores: Its scores for every image, by metric.
        residual_shares: For each image, the residual of the map as a share of the sum that the
            method guarantees, `(N,)`; empty for a method without such a guarantee.
        absorbed_shares: By name, the part that biases or stabilisers absorb, as a share of the
            same sum; mean of the magnitudes.
        seconds: Time for one image, measured once.
    """

    name: str
    refused: str = ""
    example_maps: Array = field(default_factory=lambda: np.zeros((0, 1, 1, 1), np.float32))
    scores: Mapping[str, Scores] = field(default_factory=dict)
    residual_shares: Values = field(default_factory=lambda: np.zeros(0))
    absorbed_shares: Mapping[str, float] = field(default_factory=dict)
    seconds: float = float("nan")

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return everything that is not an array, as JSON values, and the arrays by name."""
        header = {
            "name": self.name,
            "refused": self.refused,
            "absorbed_shares": dict(self.absorbed_shares),
            "seconds": self.seconds,
            "metrics": list(self.scores),
            "reasons": [dict(scores.refused) for scores in self.scores.values()],
        }
        arrays: dict[str, Any] = {
            "example_maps": self.example_maps,
            "residual_shares": self.residual_shares,
        }
        for number, scores in enumerate(self.scores.values()):
            arrays[f"values {number}"] = scores.values
            if scores.curves is not None:
                arrays[f"curves {number}"] = scores.curves
        return header, arrays

    @classmethod
    def of_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> "MethodResult":
        """Return the result with these parts, the opposite of `parts`."""
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
            arrays["example_maps"],
            scores,
            arrays["residual_shares"],
            header["absorbed_shares"],
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
