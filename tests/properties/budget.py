"""The number of examples of a test, in the proportion of the profile."""

from hypothesis import settings


def examples(few):
    """So many examples in the default run, and as many times more as the profile asks for."""
    return settings(max_examples=max(1, few * settings().max_examples // 10))
