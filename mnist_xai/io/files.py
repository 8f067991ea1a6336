"""Files that are written whole or not at all."""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mnist_xai.io.locks import held
from mnist_xai.io.printable import first_line

_TEMPORARY = ".tmp"


class OutputExistsError(FileExistsError):
    """An output is in the way and may not be overwritten."""


def unfinished_path(path: Path) -> Path:
    """Where unfinished work on an output lies: beside it, hidden."""
    return path.with_name(f".{path.name}.unfinished")


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
    # The only honest test of write access: it also sees a read-only mount. The file has no name
    # where the system has such files, so that not even `kill -9` leaves one behind.
    with tempfile.TemporaryFile(dir=there, prefix=f".{path.name}.", suffix=_TEMPORARY):
        pass


def write_whole(path: Path, content: bytes | str, *, overwrite: bool = True) -> None:
    """Write a file under another name, bring it to the disk, then rename it into place.

    Whoever reads `path` finds the old content or the new, whenever the writer is killed. What
    killed writers of this file have left is removed.

    Args:
        path: The file to write; its folder is made when it is missing.
        content: Bytes, or text to be encoded as UTF-8.
        overwrite: Whether the file may be replaced when it holds anything else.

    Raises:
        OutputExistsError: When it does, and may not be.
    """
    data = content.encode() if isinstance(content, str) else content
    if not overwrite and path.exists() and path.read_bytes() != data:
        raise OutputExistsError(f"{path} exists; pass overwrite=True (--overwrite) to replace it")
    with named(path), temporary_folder(path) as folder:
        temporary = folder / path.name
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Name the file that could not be written: a full disk names none, or a temporary one.

    Args:
        path: The file; an error that names another is left as it is.
    """
    try:
        yield
    except OSError as error:
        if not (error.filename is None or _is_temporary(Path(str(error.filename)), path)):
            raise
        if error.errno is None:  # The libraries below Keras have words of their own.
            raise OSError(f"{path}: {first_line(error)}") from error
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_temporary(file: Path, path: Path) -> bool:
    """Whether a file is a temporary folder of an output, or lies in one."""
    return str(file.absolute()).startswith(str(path.absolute().with_name(f".{path.name}.")))


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A folder beside a file for what has to be whole before it is renamed to that file.

    It is locked as long as its writer lives; the folders of writers that were killed are removed
    here, by the next writer of the same file. Where folders have no locks, they stay.

    Args:
        path: The file that is going to be written; its folder is made when it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    made = False
    while not made:
        name = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
        try:
            with held(Path(name)) as ours:
                made = ours is not False  # Else it was taken for a leftover before that.
                if made:
                    yield Path(name)
        finally:
            shutil.rmtree(name, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what writers of a file left when they were killed; leave what living ones use."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????{_TEMPORARY}"):
        with contextlib.suppress(OSError), held(left) as ours:
            if ours:  # Not where nobody can tell.
                shutil.rmtree(left)
