"""What an audit found of each method, kept on disk while the audit goes on."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.io.files import temporary_folder, write_whole
from mnist_xai.quality.base import (
    Scores,
)
from mnist_xai.quality.statistics import Values

_HEADER = "header"
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

    def to_bytes(self) -> bytes:
        """The result as an archive of arrays, without pickled objects."""
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
        content = io.BytesIO()
        np.savez_compressed(content, **{_HEADER: np.array(json.dumps(header)), **arrays})
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "MethodResult":
        """Read what `to_bytes` wrote.

        Raises:
            ValueError, KeyError, zipfile.BadZipFile: For anything else.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            header = json.loads(str(archive[_HEADER]))
            found = {name: archive[name] for name in archive.files}
        scores = {
            metric: Scores(
                found[f"values {number}"],
                {int(row): reason for row, reason in header["reasons"][number].items()},
                found.get(f"curves {number}"),
            )
            for number, metric in enumerate(header["metrics"])
        }
        return cls(
            header["name"],
            header["refused"],
            found["shown"],
            scores,
            found["missing"],
            header["absorbed"],
            header["seconds"],
        )


class ResultStore:
    """A folder in which every result is kept until the audit is over.

    A result is written whole or not at all. Findings of another audit (another model, data set,
    budget or version, as the fingerprint tells) are thrown away.

    Args:
        folder: The folder, made when the first result is kept.
        fingerprint: What the results are a function of.
    """

    _FINGERPRINT = "fingerprint.json"

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        self.folder = folder
        self._fingerprint = json.dumps(fingerprint, sort_keys=True).encode()
        try:
            known = (folder / self._FINGERPRINT).read_bytes()
        except OSError:
            known = b""
        self._ours = known == self._fingerprint

    def find(self, name: str) -> MethodResult | None:
        """The result of a method, when an interrupted audit has left it."""
        if not self._ours:
            return None
        try:
            return MethodResult.from_bytes(self._path(name).read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None  # Not one of ours: it is made anew and replaced.

    def keep(self, result: MethodResult) -> None:
        """Write a result down, in the place of another audit's."""
        if not self._ours:
            self.remove()
            self._ours = True
        write_whole(self.folder / self._FINGERPRINT, self._fingerprint)
        write_whole(self._path(result.name), result.to_bytes())

    def remove(self) -> None:
        """Throw the folder away: the audit is over, or these results are of another."""
        if self.folder.exists():
            # Under another name first: killed meanwhile, no half of it is taken for the whole.
            with temporary_folder(self.folder) as aside:
                self.folder.rename(aside / "old")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"
