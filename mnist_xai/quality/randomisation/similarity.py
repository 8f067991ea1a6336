"""Similarities of two maps, and refusals of maps that cannot be compared."""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mnist_xai.quality.base import ExplainedBatch, Refusals
from mnist_xai.quality.parameters import one_of
from mnist_xai.quality.statistics import Values, rank_correlation

Similarity = Annotated[
    Literal["rank", "rank_of_magnitudes", "ssim"], one_of("rank", "rank_of_magnitudes", "ssim")
]

_WINDOW = 7  # Side of the windows of SSIM in pixels.


def similarities(name: Similarity, first: Values, second: Values) -> Values:
    """Return the similarity of each pair of maps.

    If the second map is constant or not finite, the similarity is 0.

    Args:
        name: `"rank"`: Spearman's correlation of the relevance; `"rank_of_magnitudes"`: of the
            magnitudes; `"ssim"`: structural similarity of the maps, each divided by its largest
            magnitude.
        first: `(N, H, W)`, no constant maps.
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
    """Return the refusals of images whose map is constant and so cannot be compared."""
    flat = np.flatnonzero(is_flat(name, batch.relevance))
    subject = "the magnitude of its map" if name == "rank_of_magnitudes" else "its map"
    return {int(row): f"{subject} is the same everywhere" for row in flat}


def is_flat(name: Similarity, maps: Values) -> NDArray[np.bool_]:
    """Return whether each map, or its magnitude if that is compared, is constant, `(N,)`."""
    compared = np.abs(maps) if name == "rank_of_magnitudes" else maps
    return compared.max(axis=(1, 2)) == compared.min(axis=(1, 2))


def _ranks(first: Values, second: Values) -> Values:
    return rank_correlation(first.reshape(len(first), -1), second.reshape(len(second), -1))


def _ranks_of_magnitudes(first: Values, second: Values) -> Values:
    return _ranks(np.abs(first), np.abs(second))


def _ssim(first: Values, second: Values) -> Values:
    """Return the means of `(2 μ_a μ_b + c₁)(2 σ_ab + c₂) / ((μ_a² + μ_b² + c₁)(σ_a² + σ_b² + c₂))`.

    The means are over all windows, with `μ` and `σ` of the window, `(N,)`.
    """
    a, b = (maps / np.abs(maps).max(axis=(1, 2), keepdims=True) for maps in (first, second))
    side = min(_WINDOW, *a.shape[1:])
    side -= 1 - side % 2
    n, span = side**2, 2.0  # Values from -1 to 1.
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2

    def mean(maps: Values) -> Values:
        inside = slice(side // 2, -(side // 2) or None)  # Windows that lie wholly in the map.
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
