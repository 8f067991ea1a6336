"""How alike two maps are, and which maps cannot be compared."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mnist_xai.quality.base import (
    ExplainedBatch,
    Refusals,
)
from mnist_xai.quality.statistics import (
    Values,
    rank_correlation,
)

Similarity = Literal["rank", "rank_of_magnitudes", "ssim"]

_WINDOW = 7  # Side of the windows of SSIM in pixels.


def check_similarity(name: str) -> None:
    """Raise ValueError unless this names a similarity."""
    if name not in _SIMILARITIES:
        raise ValueError(f"similarity: expected one of {', '.join(_SIMILARITIES)}; got {name!r}")


def alike(name: Similarity, first: Values, second: Values) -> Values:
    """Similarity of each map with its counterpart.

    A second map that is the same everywhere, or not finite, says nothing that the first one says:
    their similarity is 0.

    Args:
        name: `"rank"`, Spearman's correlation of the places; `"rank_of_magnitudes"`, of their
            magnitudes; `"ssim"`, the structural similarity of the maps, each divided by its
            largest magnitude.
        first: `(N, H, W)`, none of them the same everywhere.
        second: `(N, H, W)`.

    Returns:
        `(N,)` in [-1, 1].

    Source: Wang, Bovik, Sheikh, Simoncelli 2004, section III, with uniform windows of 7 x 7.
    """
    values = np.zeros(len(first))
    rows = np.flatnonzero(~is_flat(name, second) & np.isfinite(second).all(axis=(1, 2)))
    if len(rows):
        values[rows] = _SIMILARITIES[name](first[rows], second[rows])
    return values


def flat_maps(batch: ExplainedBatch, name: Similarity) -> Refusals:
    """The images whose map cannot be compared, since it is the same everywhere."""
    flat = np.flatnonzero(is_flat(name, batch.places))
    what = "the magnitude of its map" if name == "rank_of_magnitudes" else "its map"
    return {int(row): f"{what} is the same everywhere" for row in flat}


def is_flat(name: Similarity, maps: Values) -> NDArray[np.bool_]:
    """Whether what is compared of a map is the same everywhere, `(N,)`."""
    seen = np.abs(maps) if name == "rank_of_magnitudes" else maps
    return seen.max(axis=(1, 2)) == seen.min(axis=(1, 2))


def _ranks(first: Values, second: Values) -> Values:
    return rank_correlation(first.reshape(len(first), -1), second.reshape(len(second), -1))


def _ranks_of_magnitudes(first: Values, second: Values) -> Values:
    return _ranks(np.abs(first), np.abs(second))


def _ssim(first: Values, second: Values) -> Values:
    """Mean of `(2 μ_a μ_b + c₁) (2 σ_ab + c₂) / ((μ_a² + μ_b² + c₁) (σ_a² + σ_b² + c₂))`."""
    a, b = (maps / np.abs(maps).max(axis=(1, 2), keepdims=True) for maps in (first, second))
    side = min(_WINDOW, *a.shape[1:])
    side -= 1 - side % 2
    n, span = side**2, 2.0  # Values from -1 to 1.
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2

    def mean(maps: Values) -> Values:
        inside = slice(side // 2, -(side // 2) or None)  # Windows that lie in the map whole.
        return ndimage.uniform_filter(maps, (1, side, side))[:, inside, inside]

    m_a, m_b = mean(a), mean(b)
    unbiased = n / max(n - 1, 1)
    v_a, v_b, v_ab = (
        unbiased * (mean(x * y) - m_x * m_y)
        for x, y, m_x, m_y in ((a, a, m_a, m_a), (b, b, m_b, m_b), (a, b, m_a, m_b))
    )
    means = (2 * m_a * m_b + c1) / (m_a**2 + m_b**2 + c1)
    return (means * (2 * v_ab + c2) / (v_a + v_b + c2)).mean(axis=(1, 2))


_SIMILARITIES: Mapping[str, Callable[[Values, Values], Values]] = {
    "rank": _ranks,
    "rank_of_magnitudes": _ranks_of_magnitudes,
    "ssim": _ssim,
}
