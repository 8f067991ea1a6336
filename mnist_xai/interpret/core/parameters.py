"""Hyper-parameters that cannot be meant are refused by name, with a ValueError."""

import numpy as np

LARGEST = 1e6
"""The largest number that is taken: beyond, products in float32 are soon infinite."""


def check_seed(seed: int) -> None:
    """Refuse a seed that no random generator takes: seeds are whole numbers from 0."""
    check_counts(0, seed=seed)


def check_counts(least: int = 1, /, **counts: int) -> None:
    """Refuse a number that is not whole or below `least`; NumPy's integers are as good."""
    for name, count in counts.items():
        if not _is_whole(count):
            raise ValueError(f"{name}: expected a whole number; got {count!r}")
        if count < least:
            raise ValueError(f"{name}: expected at least {least}; got {count}")


def check_even(**counts: int) -> None:
    """Refuse a number that cannot be halved into whole numbers from 1."""
    check_counts(2, **counts)
    for name, count in counts.items():
        if count % 2:
            raise ValueError(f"{name}: expected an even number; got {count}")


def check_at_least(least: float, /, **numbers: float) -> None:
    """Refuse a number outside [least, LARGEST], or no number."""
    for name, number in numbers.items():
        if not number >= least:  # NaN, too, is not.
            raise ValueError(f"{name}: expected at least {least}; got {number}")
        _check_not_huge(name, number)


def check_positive(**numbers: float) -> None:
    """Refuse a number outside (0, LARGEST], or no number."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name}: expected above 0; got {number}")
        _check_not_huge(name, number)


def check_shares(**shares: float) -> None:
    """Refuse a share that is nothing, or more than all."""
    for name, share in shares.items():
        if not 0 < share <= 1:
            raise ValueError(f"{name}: expected a share in (0, 1]; got {share}")


def check_pixels(**pixels: float) -> None:
    """Refuse what is not the value of a pixel."""
    for name, pixel in pixels.items():
        if not 0 <= pixel <= 1:
            raise ValueError(f"{name}: expected a pixel in [0, 1]; got {pixel}")


def _is_whole(number: object) -> bool:
    # A bool would be taken for 0 or 1, and is an argument in the wrong place.
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _check_not_huge(name: str, number: float) -> None:
    if number > LARGEST:
        raise ValueError(f"{name}: expected at most {LARGEST:,.0f}; got {number}")
