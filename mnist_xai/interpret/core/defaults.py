"""Default hyper-parameters that depend on the size of the image.

A pass through a network for large images takes a thousand times as long as one through a network
for digits. The defaults for large images therefore stay within `MOST_FORWARD` forward passes or
`MOST_GRADIENT` gradient passes for each image.
"""

from dataclasses import replace
from typing import Any, TypeVar

LARGE = 64
"""An image is large when its shorter side has more pixels than this."""
MOST_FORWARD, MOST_GRADIENT = 1000, 300
"""The most passes that a method with its defaults makes for one large image."""

T = TypeVar("T")


def by_size(shape: tuple[int, ...], small: int, large: int) -> int:
    """Return one of two defaults: for small or for large images `(H, W, …)`."""
    return large if min(shape[:2]) > LARGE else small


def fill_in(method: T, **defaults: Any) -> T:
    """Return a method with these values for its hyper-parameters that are None."""
    missing = {name: value for name, value in defaults.items() if getattr(method, name) is None}
    filled: T = replace(method, **missing)  # type: ignore[type-var]
    return filled
