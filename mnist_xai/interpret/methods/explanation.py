"""`Explanation`: maps, and what you need to check them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.pixels import CONVENTIONS, PixelRange
from mnist_xai.interpret.methods.base import Method

_TOLERANCE = 0.01  # Residuals above this share of the expected sum cause a warning.


@dataclass(frozen=True, eq=False)
class Explanation:
    """The maps of some images, with scores, residuals and warnings.

    Attributes:
        maps: float32 `(N, H, W, C)` or `(N, H, W, 1)`.
        images: The explained images, `(N, H, W, C)`, as the model takes them.
        targets: The explained classes, `(N,)`.
        scores: `S_c(x)`, `(N,)`.
        score: Whether `S_c` is the class's logit or its probability.
        method: The method with its hyper-parameters.
        name: Name of the method.
        differences: The sum that the method promises for each map, `(N,)`: `S_c(x) - S_c(x')` for
            a baseline `x'`, or `S_c(x)`; None for a method that promises no sum.
        absorbed: By name, the part of each score that reached no pixel, `(N,)`: for example what
            biases or stabilisers absorbed.
        pixels: The range of the images' pixels.
        note: What was read into the model's outputs; empty where nothing was.
    """

    maps: Array
    images: Array
    targets: Targets
    scores: Array
    score: Score
    method: Method
    name: str
    differences: Array | None
    absorbed: Mapping[str, Array] = field(default_factory=dict)
    pixels: PixelRange = CONVENTIONS["unit"]
    note: str = ""

    @property
    def lost(self) -> Mapping[str, Array]:
        """The former name of `absorbed`."""
        return self.absorbed

    @property
    def residuals(self) -> Array | None:
        """Sum of map and absorbed parts, minus the promised sum, `(N,)`; None without a promise."""
        if self.differences is None:
            return None
        sums = self.maps.sum(axis=(1, 2, 3), dtype=np.float64)
        total = np.sum([sums, *self.absorbed.values()], axis=0)
        return (total - self.differences).astype(np.float32)

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the maps: one sentence for each problem."""
        found = []
        dead = np.flatnonzero(~self.maps.any(axis=(1, 2, 3)))
        if len(dead):
            found.append(f"{_maps_of(dead, 'is', 'are')} zero everywhere.")
        broken = np.flatnonzero(~np.isfinite(self.maps).all(axis=(1, 2, 3)))
        if len(broken):
            found.append(f"{_maps_of(broken, 'holds', 'hold')} NaN or infinite values.")
        if self.residuals is not None and self.differences is not None:
            missing = np.abs(self.residuals) > _TOLERANCE * np.abs(self.differences)
            if missing.any():
                found.append(
                    f"{_maps_of(np.flatnonzero(missing), 'misses', 'miss')} more than "
                    f"{_TOLERANCE:.0%} of what it should sum to."
                )
        return found

    def __str__(self) -> str:
        about = self.method.about
        lines = [
            f"{self.name}: {_count(len(self.maps), 'map')} of the {self.score} of the target "
            f"{'class' if len(self.maps) == 1 else 'classes'}, by {self.method}.",
            f"A map shows {about.shows}. Caveat: {about.caveat}.",
        ]
        return "\n".join([*lines, *self._sum_check(), *self._assumptions(), *self.warnings])

    def _assumptions(self) -> list[str]:
        """Return sentences on what was assumed about pixels and outputs."""
        found = [self.note] if self.note else []
        if self.pixels.origin == "open":
            inside = self.images.min() >= 0 and self.images.max() <= 1
            found.append(
                "The model shows no preprocessing, and the images lie in [0, 1]: black is taken as "
                "0, white as 1. Pass pixels= if that is not so."
                if inside
                else "The range of the pixels is not known; this method does not need it."
            )
        return found

    @property
    def pictures(self) -> Array:
        """The images as they look, `(N, H, W, C)` in [0, 1]; red, green, blue."""
        if self.pixels.origin != "open":
            return self.pixels.reversed(self.pixels.to_unit(self.images))
        low, high = min(0.0, self.images.min()), max(1.0, self.images.max())
        if (low, high) == (0.0, 1.0):
            return self.images
        return ((self.images - low) / (high - low)).astype(np.float32)

    def _sum_check(self) -> list[str]:
        """Return a sentence that says how close the maps are to their promised sums."""
        if self.residuals is None or self.differences is None:
            return []
        whole = np.maximum(np.abs(self.differences), 1e-12)
        share = np.abs(self.residuals) / whole
        promise = "" if self.absorbed else "'s difference from the baseline"
        absorbed = [
            f"the {name} account for {np.median(v / whole):.2%} of it, "
            for name, v in self.absorbed.items()
            if np.abs(v / whole).max() >= 5e-5  # Smaller shares would print as 0.00%.
        ]
        if len(share) == 1:
            missed = f"the map misses {share[0]:.2%} of it."
        else:
            missed = (
                f"the maps miss {np.median(share):.2%} of it (median), {share.max():.2%} at most."
            )
        subject = "It" if len(share) == 1 else "Each"
        return [f"{subject} should sum to the {self.score}{promise}; {''.join(absorbed)}{missed}"]

    def plot(self, *, stamp: str = "") -> Any:
        """Plot the images above their maps, all maps on one signed colour scale.

        Args:
            stamp: Text below the picture that says what it was made from.

        Returns:
            A matplotlib figure.
        """
        # Imported here, so that `explain` does not load matplotlib.
        from mnist_xai.plots import signed_maps

        titles = [f"class {c}, S = {s:.2f}" for c, s in zip(self.targets, self.scores, strict=True)]
        pictures, unit = self.pictures, self.score
        return signed_maps(pictures, self.maps, titles, self.name, unit=unit, stamp=stamp)


def _maps_of(indices: NDArray[np.integer], singular: str, plural: str) -> str:
    """Return the start of a sentence about the maps of these images, up to its verb."""
    if len(indices) == 1:
        return f"The map of image {indices[0]} {singular}"
    shown = ", ".join(map(str, indices[:5]))
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    return f"The maps of images {shown}{more} {plural}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
