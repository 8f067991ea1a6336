"""Validation of arguments: functions that raise errors which name the argument."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_TOLERANCE = 1e-6  # For sums of probabilities; a float32 softmax is off by about 1e-7.


def array(name: str, value: ArrayLike, *, shape: Sequence[int | None] | None = None) -> Array:
    """Return `value` as float64 after checking that it is finite and has the given shape.

    Args:
        name: The argument's name, for the error.
        value: Numbers of any real type.
        shape: Expected length of each axis, None for an axis of any length; or None for an array
            of any shape.

    Returns:
        The same numbers; a copy only if the type changes.

    Raises:
        ValueError: If the numbers are complex or not finite, or the shape differs.
    """
    given = np.asarray(value)
    if given.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected real numbers; got an array of {given.dtype}")
    result: Array = given.astype(np.float64, copy=False)
    if shape is not None and not _fits(result.shape, shape):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name}: expected shape ({wanted}); got {result.shape}")
    if not np.isfinite(result).all():
        raise ValueError(f"{name}: expected finite numbers; got {result[~np.isfinite(result)][0]}")
    return result


def distribution(name: str, value: ArrayLike, *, axis: int | tuple[int, ...] = -1) -> Array:
    """Return `value` as float64 after checking that it sums to one along `axis`.

    Raises:
        ValueError: If the array is empty, an entry is negative, or a sum differs from one by
            more than 1e-6.
    """
    p = array(name, value)
    if p.ndim == 0 or p.size == 0:
        raise ValueError(f"{name}: expected probabilities along an axis; got shape {p.shape}")
    if (p < 0).any():
        raise ValueError(f"{name}: expected probabilities of at least 0; got {p.min():.6g}")
    total = p.sum(axis=axis)
    worst = np.ravel(total)[np.argmax(np.abs(total - 1))]
    if abs(worst - 1) > _TOLERANCE:
        raise ValueError(f"{name}: expected probabilities that sum to 1; got a sum of {worst:.6g}")
    return p


def same_shape(names: tuple[str, str], first: Array, second: Array) -> None:
    """Check that two arrays have the same shape; broadcasting would hide a mistake.

    Raises:
        ValueError: If the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"{names[1]}: expected the shape of {names[0]}, {first.shape}; got {second.shape}"
        )


def within(
    name: str, value: float, low: float, high: float = np.inf, *, open_low: bool = False
) -> float:
    """Return the number `value` after checking that it lies in [low, high], or in (low, high].

    Raises:
        ValueError: If `value` lies outside the interval or is NaN.
    """
    if not (low < value <= high if open_low else low <= value <= high):
        left = "(" if open_low else "["
        raise ValueError(f"{name}: expected a number in {left}{low:g}, {high:g}]; got {value!r}")
    return float(value)


def _fits(shape: tuple[int, ...], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        w is None or n == w for n, w in zip(shape, wanted, strict=True)
    )
