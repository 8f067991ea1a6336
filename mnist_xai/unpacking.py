"""How much a file may unpack to: a few kilobytes can claim, and become, a terabyte."""

from pathlib import Path

_ALWAYS = 64 << 20
_TIMES = 20


def allowance(packed: Path | int) -> int:
    """Bytes that a file may unpack to: 64 MiB or 20 times its size, whichever is more.

    Weights hardly shrink when they are packed, MNIST to a fifth; a bomb of zeros to a
    thousandth.

    Args:
        packed: The file, or its size.
    """
    size = packed if isinstance(packed, int) else packed.stat().st_size
    return max(_ALWAYS, _TIMES * size)


def in_words(size: int) -> str:
    """A number of bytes, for a message."""
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size:,} bytes"
