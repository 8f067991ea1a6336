"""How much a file may unpack to: a few kilobytes can claim, and become, a terabyte."""

import zipfile
from pathlib import Path

_ALWAYS = 64 << 20
_TIMES = 20


class UnpackingError(ValueError):
    """A file would become much more than its size makes likely; the message is without its name."""


def allowance(packed: Path | int, *, always: int = _ALWAYS, times: int = _TIMES) -> int:
    """Bytes that a file may unpack to: 64 MiB or 20 times its size, whichever is more.

    Weights hardly shrink when they are packed, MNIST to a fifth; a bomb of zeros to a
    thousandth.

    Args:
        packed: The file, or its size.
        always: Bytes that any file may unpack to.
        times: How much larger than the file they may be, when it is large.
    """
    size = packed if isinstance(packed, int) else packed.stat().st_size
    return max(always, times * size)


def check_unpacked(what: str, size: int, most: int) -> None:
    """Refuse what would unpack to more than it may."""
    if size > most:
        raise UnpackingError(
            f"{what} would unpack to {in_words(size)}; expected at most {in_words(most)}"
        )


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Unpack a member of an archive, and no more of it than the archive says and is allowed.

    What follows in its stream, where the archive lies about it, is never unpacked. So what is
    returned is what has to be used: whoever reads the file again may get more.

    Args:
        archive: The archive.
        name: The member.
        most: Bytes that it may have.

    Raises:
        UnpackingError: When it claims more, or is packed in a way whose output has no bound.
        KeyError: When there is none.
    """
    member = archive.getinfo(name)
    check_unpacked(name, member.file_size, most)
    # zipfile unpacks the others in one piece, however little of it is asked for.
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise UnpackingError(f"{name}: expected a member that is stored or deflated")
    with archive.open(member) as stream:
        return stream.read(most)


def in_words(size: int) -> str:
    """A number of bytes, for a message."""
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size:,} bytes"
