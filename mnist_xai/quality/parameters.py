"""Annotated types for the hyper-parameters that only metrics have.

`mnist_xai.interpret.core.parameters` explains how they are used.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from mnist_xai.interpret.core.parameters import check_counts


def check_open_shares(**shares: float) -> None:
    """Raise ValueError unless each is a share in (0, 1)."""
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(f"{name}: expected a share in (0, 1); got {share}")


def check_thresholds(**thresholds: float) -> None:
    """Raise ValueError unless each is a share in [0, 1)."""
    for name, threshold in thresholds.items():
        if not 0 <= threshold < 1:
            raise ValueError(f"{name}: expected a share in [0, 1); got {threshold}")


def check_radii(**radii: float) -> None:
    """Raise ValueError unless each is a change of a pixel in (0, 1]."""
    for name, radius in radii.items():
        if not 0 < radius <= 1:
            raise ValueError(f"{name}: expected a change of a pixel in (0, 1]; got {radius}")


def one_of(*choices: str) -> Callable[..., None]:
    """Return a check that raises ValueError unless each argument is one of the choices."""
    expected = " or ".join(choices) if len(choices) == 2 else f"one of {', '.join(choices)}"

    def check(**arguments: str) -> None:
        for name, argument in arguments.items():
            if argument not in choices:
                raise ValueError(f"{name}: expected {expected}; got {argument!r}")

    return check


AtLeastTwo = Annotated[int, partial(check_counts, 2)]
"""A whole number from 2."""
OpenShare = Annotated[float, check_open_shares]
"""A share in (0, 1)."""
Threshold = Annotated[float, check_thresholds]
"""A share in [0, 1)."""
Radius = Annotated[float, check_radii]
"""The largest change of a pixel, in (0, 1]."""
