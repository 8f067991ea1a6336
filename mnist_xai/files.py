"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path


def one_line(text: object) -> str:
    """A message on one line, with whatever a file's name or content could do to a terminal shown.

    Line breaks become spaces; control characters and bytes that are no text are escaped.
    """
    words = " ".join(str(text).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


class OutputExistsError(FileExistsError):
    """An output is in the way and may not be overwritten."""


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that could not be written at the end, before any work is lost.

    Nothing is made: the folder of the output may still be missing.

    Args:
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExistsError: When the file exists and may not be replaced.
        IsADirectoryError: When the path is a folder.
        OSError: When its folder can neither be written to nor made.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file to write; this is a folder")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; pass overwrite=True (--overwrite) to replace it")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    # The only honest test of write access: it also sees a read-only mount.
    with tempfile.NamedTemporaryFile(dir=there, prefix=f".{path.name}."):
        pass


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file under another name, bring it to the disk, then rename it into place.

    Whoever reads `path` finds the old content or the new, whenever the writer is killed.

    Args:
        path: The file to write; its folder is made when it is missing.
        content: Bytes, or text to be encoded as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp leaves the file to its owner alone.
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # A full disk does not say which file it was.
        raise


def _umask() -> int:
    # The only portable way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
