"""Writing files whole or not at all."""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mnist_xai.io.locks import try_lock
from mnist_xai.io.safe_text import first_line

_TEMPORARY = ".tmp"


class OutputExistsError(FileExistsError):
    """An output exists and may not be replaced."""


def unfinished_path(path: Path) -> Path:
    """Return where the unfinished work on an output is kept: beside it, in a hidden file."""
    return path.with_name(f".{path.name}.unfinished")


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Raise the error that writing an output would raise later, after the work is done.

    Creates nothing: the output's folder may still be missing.

    Args:
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExistsError: When the file exists and may not be replaced.
        IsADirectoryError: When the path is a folder.
        OSError: When its folder cannot be written to or created.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file path; got a folder")
    _check_exists(path, overwrite=overwrite)
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    # Writing is the only reliable test of write access: it also detects a read-only mount. Where
    # the system can, the file is created without a name, so that `kill -9` leaves nothing.
    with tempfile.TemporaryFile(dir=folder, prefix=f".{path.name}.", suffix=_TEMPORARY):
        pass


def write_atomically(path: Path, content: bytes | str, *, overwrite: bool = True) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it.

    Whenever the writer is killed, `path` holds its old content or the new content. Temporary
    files that killed writers of this path have left are removed.

    Args:
        path: The file to write; its folder is created when missing.
        content: Bytes, or text to be encoded as UTF-8.
        overwrite: Whether an existing file with other content may be replaced.

    Raises:
        OutputExistsError: When such a file exists and may not be replaced.
    """
    data = content.encode() if isinstance(content, str) else content
    if not overwrite and path.exists() and path.read_bytes() != data:
        _check_exists(path, overwrite=False)
    with errors_name(path), temporary_folder(path) as folder:
        temporary = folder / path.name
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)


def _check_exists(path: Path, *, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; pass overwrite=True (--overwrite) to replace it")


@contextlib.contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Make errors in the block name the output: a full disk names no file, or a temporary one.

    Args:
        path: The output. Errors that name any other file are left as they are.
    """
    try:
        yield
    except OSError as error:
        if not (error.filename is None or _is_temporary(Path(str(error.filename)), path)):
            raise
        if error.errno is None:  # From a library below Keras, with a text of its own.
            raise OSError(f"{path}: {first_line(error)}") from error
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_temporary(file: Path, path: Path) -> bool:
    """Return whether a file is, or lies in, a temporary folder of an output."""
    return str(file.absolute()).startswith(str(path.absolute().with_name(f".{path.name}.")))


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Create a locked folder beside an output, and remove it when the block ends.

    The lock ends with the writer. So the next writer of the same output can remove the folders of
    killed writers; where the file system has no locks for folders, they stay.

    Args:
        path: The output; its folder is created when missing.

    Yields:
        The temporary folder. Create the output in it, then rename it to `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    locked = False
    while not locked:
        name = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
        try:
            with try_lock(Path(name)) as ours:
                # False: another writer took the folder, not yet locked, for a leftover.
                locked = ours is not False
                if locked:
                    yield Path(name)
        finally:
            shutil.rmtree(name, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary folders that killed writers of an output left; keep locked ones."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.????????{_TEMPORARY}"):
        with contextlib.suppress(OSError), try_lock(folder) as ours:
            if ours:  # Not for None: a living writer may need the folder.
                shutil.rmtree(folder)
