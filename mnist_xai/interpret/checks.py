"""Hyper-parameters that cannot be meant are refused by name."""

LARGEST = 1e6
"""The largest number that is taken: beyond, products in float32 are soon infinite."""


def check_seed(seed: int) -> None:
    """Raise ValueError for a seed that no random generator takes."""
    if seed < 0:
        raise ValueError(f"seed: expected at least 0; got {seed}")


def check_not_negative(**numbers: float) -> None:
    """Raise ValueError, with its name, for a number outside [0, LARGEST], or no number."""
    for name, number in numbers.items():
        if not number >= 0:  # NaN, too, is not.
            raise ValueError(f"{name}: expected at least 0; got {number}")
        _check_not_huge(name, number)


def check_positive(**numbers: float) -> None:
    """The same for a number that may not be 0."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name}: expected above 0; got {number}")
        _check_not_huge(name, number)


def _check_not_huge(name: str, number: float) -> None:
    if number > LARGEST:
        raise ValueError(f"{name}: expected at most {LARGEST:,.0f}; got {number}")
