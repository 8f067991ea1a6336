"""Correlations and bootstrap intervals for the metrics."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]

_RESAMPLES = 2000


def correlation(first: Values, second: Values) -> Values:
    """Return Pearson's correlation of each pair of rows, `(N,)`; NaN if a row is constant."""
    a, b = (rows - rows.mean(axis=1, keepdims=True) for rows in (first, second))
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip((a * b).sum(axis=1) / norm, -1, 1)


def rank_correlation(first: Values, second: Values) -> Values:
    """Return Spearman's correlation of each pair of rows; ties get their mean rank.

    Args:
        first: `(N, K)`.
        second: `(N, K)`.

    Returns:
        `(N,)` in [-1, 1]; NaN if a row is constant.
    """
    ranks = (stats.rankdata(rows, axis=1) for rows in (first, second))
    return correlation(*ranks)


def bootstrap_interval(values: Values, confidence: float = 0.95) -> tuple[float, float]:
    """Return a confidence interval of the mean by the percentile bootstrap, with a fixed seed.

    Args:
        values: `(N,)`.
        confidence: Confidence level, in (0, 1).

    Returns:
        Lower and upper end; NaN for fewer than two values.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[draws].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)
