"""Default hyper-parameters that depend on the size of the image.

A pass through a network for large images takes a thousand times as long as one through a network
for digits. The defaults for large images therefore stay within 1,000 forward or 300 gradient passes
for each image.
"""

LARGE = 64
"""An image is large when its shorter side has more pixels than this."""
MOST_FORWARD = 1000
"""The most forward passes that a method with its defaults makes for one large image."""


def by_size(shape: tuple[int, ...], small: int, large: int) -> int:
    """Return one of two defaults: for small or for large images `(H, W, …)`."""
    return large if min(shape[:2]) > LARGE else small
