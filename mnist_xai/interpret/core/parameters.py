"""Validate hyper-parameters; errors name the argument.

A hyper-parameter says in its annotation what it may be:

    @dataclass(frozen=True)
    class SmoothGrad(Hyperparameters):
        samples: Count = 50
        seed: Seed = 0

and is validated when the method or metric is made.
"""

from functools import cache, partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np

from mnist_xai.interpret.core.inputs import Array

LARGEST = 1e6
"""The largest accepted number: beyond it, products in float32 soon overflow."""


def check_seed(seed: int) -> None:
    """Raise ValueError unless the seed is a whole number from 0."""
    check_counts(0, seed=seed)


def check_counts(least: int = 1, /, **counts: int) -> None:
    """Raise ValueError unless each is a whole number, Python's or NumPy's, from `least`."""
    for name, count in counts.items():
        if not _is_whole(count):
            raise ValueError(f"{name}: expected a whole number; got {count!r}")
        if count < least:
            raise ValueError(f"{name}: expected at least {least}; got {count}")


def check_even(**counts: int) -> None:
    """Raise ValueError unless each is an even whole number from 2."""
    check_counts(2, **counts)
    for name, count in counts.items():
        if count % 2:
            raise ValueError(f"{name}: expected an even number; got {count}")


def check_at_least(least: float, /, **numbers: float) -> None:
    """Raise ValueError unless each is a number in [least, LARGEST]."""
    for name, number in numbers.items():
        if not number >= least:  # False for NaN, too.
            raise ValueError(f"{name}: expected at least {least}; got {number}")
        _check_not_huge(name, number)


def check_positive(**numbers: float) -> None:
    """Raise ValueError unless each is a number in (0, LARGEST]."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name}: expected above 0; got {number}")
        _check_not_huge(name, number)


def check_shares(**shares: float) -> None:
    """Raise ValueError unless each is a share in (0, 1]."""
    for name, share in shares.items():
        if not 0 < share <= 1:
            raise ValueError(f"{name}: expected a share in (0, 1]; got {share}")


def check_pixels(**pixels: float) -> None:
    """Raise ValueError unless each is a pixel value in [0, 1]."""
    for name, pixel in pixels.items():
        if not 0 <= pixel <= 1:
            raise ValueError(f"{name}: expected a pixel in [0, 1]; got {pixel}")


def _is_whole(number: object) -> bool:
    # A bool is an int in Python, and here surely an argument in the wrong place.
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _check_not_huge(name: str, number: float) -> None:
    if number > LARGEST:
        raise ValueError(f"{name}: expected at most {LARGEST:,.0f}; got {number}")


Count = Annotated[int, check_counts]
"""A whole number from 1."""
EvenCount = Annotated[int, check_even]
"""An even whole number from 2."""
Seed = Annotated[int, partial(check_counts, 0)]
"""A whole number from 0."""
Positive = Annotated[float, check_positive]
"""A number in (0, LARGEST]."""
NonNegative = Annotated[float, partial(check_at_least, 0)]
"""A number in [0, LARGEST]."""
Share = Annotated[float, check_shares]
"""A share in (0, 1]."""
Pixel = Annotated[float, check_pixels]
"""The value of a pixel, in [0, 1]."""


class Hyperparameters:
    """Base of the frozen dataclasses that are methods and metrics: validates annotated fields.

    A field of `Count | None` may be None. A subclass that checks more calls
    `super().__post_init__()` first.
    """

    def __post_init__(self) -> None:
        kind: Any = type(self)  # Any, because mypy doubts that classes are hashable.
        for name, checks in _checks_of(kind).items():
            value = getattr(self, name)
            for check in checks if value is not None else ():
                check(**{name: value})


@cache
def _checks_of(kind: Any) -> dict[str, tuple[Any, ...]]:
    """Return the checks in the annotations of a class, by field."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: checks for name, hint in hints.items() if (checks := _checks_in(hint))}


def _checks_in(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Annotated:
        return tuple(hint.__metadata__)
    return tuple(check for part in get_args(hint) for check in _checks_in(part))


class ConstantBaseline:
    """Mixin for methods whose baseline `x'` has one value for all pixels, the field `baseline`."""

    baseline: float

    def baselines(self, images: Array) -> Array:
        """Return the baselines of these images, `(N, H, W, C)`."""
        return np.full_like(images, self.baseline)
