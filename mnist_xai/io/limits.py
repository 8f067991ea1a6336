"""How much a file may unpack to: a few kilobytes can claim, and become, a terabyte."""

import zipfile
from pathlib import Path

_MIN_BYTES = 64 << 20
_MAX_RATIO = 20


class UnpackingError(ValueError):
    """A file would unpack to too much; the message does not name the file."""


def unpacked_limit(
    packed: Path | int, *, min_bytes: int = _MIN_BYTES, max_ratio: int = _MAX_RATIO
) -> int:
    """Return how many bytes a file may unpack to: 64 MiB or 20 times its size, the larger.

    Packing hardly shrinks weights, and shrinks MNIST to a fifth; a zip bomb of zeros is a
    thousandth of its content.

    Args:
        packed: The file, or its size in bytes.
        min_bytes: Bytes that a file of any size may unpack to.
        max_ratio: Largest allowed ratio of unpacked to packed size above that.
    """
    size = packed if isinstance(packed, int) else packed.stat().st_size
    return max(min_bytes, max_ratio * size)


def check_unpacked_size(what: str, size: int, limit: int) -> None:
    """Raise UnpackingError when `size` is above `limit`; both in bytes."""
    if size > limit:
        raise UnpackingError(
            f"{what} would unpack to {format_bytes(size)}; expected at most {format_bytes(limit)}"
        )


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read a member of a zip archive, at most as many bytes as its header and `limit` allow.

    Data in its stream beyond the size in the header is never unpacked. Use the returned bytes:
    reading the file again, by other means, may give more.

    Args:
        archive: The archive.
        name: Name of the member.
        limit: Largest size in bytes.

    Raises:
        UnpackingError: When the member is larger, or its compression gives unbounded output.
        KeyError: When the archive has no such member.
    """
    member = archive.getinfo(name)
    check_unpacked_size(name, member.file_size, limit)
    # For other compressions, zipfile unpacks whole blocks, however few bytes are asked for.
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise UnpackingError(f"{name}: expected a member that is stored or deflated")
    with archive.open(member) as stream:
        return stream.read(limit)


def format_bytes(size: int) -> str:
    """Return a number of bytes as text, in MiB from 1 MiB on."""
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size:,} bytes"
