"""What an explanation is: maps with the means to doubt them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.method import Method
from mnist_xai.interpret.network import Array, Score

_WELL_SUMMED = 0.01  # Share of the score difference that may be missing unremarked.


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps, and what is needed to believe them or not.

    Attributes:
        maps: Signed float32, `(N, H, W, C)`.
        images: The images explained, `(N, H, W, C)`.
        targets: The classes explained, `(N,)`.
        scores: `S_c(x)`, `(N,)`.
        score: Whether `S_c` is the class's logit or its probability.
        method: The method with its hyper-parameters.
        name: What the method is called.
        differences: What the method promises that its maps sum to, `(N,)`: `S_c(x) - S_c(x')`
            for a baseline `x'`, or `S_c(x)` itself; None without a promise.
        lost: By name, what of that reached no pixel, `(N,)` each: kept by biases or stabilisers.
    """

    maps: Array
    images: Array
    targets: NDArray[np.int32]
    scores: Array
    score: Score
    method: Method
    name: str
    differences: Array | None
    lost: Mapping[str, Array] = field(default_factory=dict)

    @property
    def residuals(self) -> Array | None:
        """What maps and losses together miss of the promise, `(N,)`; None without a promise."""
        if self.differences is None:
            return None
        sums = self.maps.sum(axis=(1, 2, 3), dtype=np.float64)
        total = np.sum([sums, *self.lost.values()], axis=0)
        return (total - self.differences).astype(np.float32)

    @property
    def warnings(self) -> list[str]:
        """What a reader of the maps has to know, a sentence each."""
        found = []
        dead = np.flatnonzero(~self.maps.any(axis=(1, 2, 3)))
        if len(dead):
            found.append(f"The map of image {_listed(dead)} is zero everywhere.")
        broken = np.flatnonzero(~np.isfinite(self.maps).all(axis=(1, 2, 3)))
        if len(broken):
            found.append(f"The map of image {_listed(broken)} holds NaN or infinite values.")
        if self.residuals is not None and self.differences is not None:
            missing = np.abs(self.residuals) > _WELL_SUMMED * np.abs(self.differences)
            if missing.any():
                found.append(
                    f"The map of image {_listed(np.flatnonzero(missing))} misses more than "
                    f"{_WELL_SUMMED:.0%} of what it should sum to."
                )
        return found

    def __str__(self) -> str:
        about, count = self.method.about, len(self.maps)
        one = count == 1
        lines = [
            f"{self.name}: {count} map{'' if one else 's'} of the {self.score} of the target "
            f"class{'' if one else 'es'}, by {self.method}.",
            f"A map shows {about.shows}. It misleads: {about.misleads}.",
        ]
        return "\n".join([*lines, *self._certificate(), *self.warnings])

    def _certificate(self) -> list[str]:
        """In words, how well the maps sum to what they promise."""
        if self.residuals is None or self.differences is None:
            return []
        whole = np.maximum(np.abs(self.differences), 1e-12)
        share = np.abs(self.residuals) / whole
        promise = "" if self.lost else "'s difference from the baseline"
        kept = [f"{name} took {np.median(v / whole):.2%} of it" for name, v in self.lost.items()]
        missed = f"{np.median(share):.2%} is missing"
        if len(share) > 1:
            missed += f" (median; {share.max():.2%} at most)"
        return [f"Each should sum to the {self.score}{promise}: {', '.join([*kept, missed])}."]

    def plot(self, *, stamp: str = "") -> Any:
        """Show the images above their maps on one signed scale; returns a matplotlib figure."""
        # Here, so that explaining needs no plotting.
        from mnist_xai.plots import signed_maps

        titles = [f"class {c}, S = {s:.2f}" for c, s in zip(self.targets, self.scores, strict=True)]
        return signed_maps(self.images, self.maps, titles, self.name, unit=self.score, stamp=stamp)


def _listed(indices: NDArray[np.integer]) -> str:
    shown = ", ".join(map(str, indices[:5]))
    return f"{shown} and {len(indices) - 5} more" if len(indices) > 5 else shown
