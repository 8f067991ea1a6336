"""The number of examples of a property test, scaled by the hypothesis profile."""

from hypothesis import settings


def examples(few):
    """Return settings with this many examples by default, and more in a longer profile."""
    return settings(max_examples=max(1, few * settings().max_examples // 10))
