"""Locks that end with their holder, however it ends."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_ATTEMPTS = 100  # To make a lock while other runs remove its folder, before that is an error.


class OutputBusyError(OSError):
    """Another process is at work on the same output."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool | None]:
    """Lock an existing file or folder for this process, and say whether that succeeded.

    The lock is the kernel's: it ends with the process, by `kill -9` too. True: it is ours. False:
    another has it, or has removed the file meanwhile. None: nobody can tell, since Windows and
    some file systems have no locks (NFS has none for folders); who would remove what another
    may need has to leave it then.

    Args:
        path: What to lock.

    Raises:
        PermissionError: When it may not even be read.
    """
    if sys.platform == "win32":
        yield None
        return
    try:
        handle = _opened(path)
    except FileNotFoundError:
        yield False
        return
    try:
        locked = _locked(handle)
        yield locked if _is(handle, path) else False
    finally:
        os.close(handle)


@contextlib.contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """Keep every other process from the work on an output, until the block ends.

    A file `.name.lock` lies beside the output meanwhile. `kill -9` leaves it there, empty but for
    a number, and unlocked: the next run takes it over and removes it.

    Args:
        path: The output; its folder is made when it is missing, and removed again when it stays
            empty. None locks nothing.

    Raises:
        OutputBusyError: When another process, or another thread, has the lock.
    """
    if path is None:
        yield
        return
    lock = path.absolute().with_name(f".{path.name}.lock")
    missing = [folder for folder in lock.parents if not folder.exists()]
    try:
        with _taken(lock, path):
            yield
    finally:
        with contextlib.suppress(OSError):  # It is in use, or someone else's by now.
            for folder in missing:
                folder.rmdir()


@contextlib.contextmanager
def _taken(lock: Path, path: Path) -> Iterator[None]:
    try:
        while True:
            _make(lock)
            with _tried(lock) as ours:
                if ours is not False:
                    with _numbered(lock):
                        yield
                    return
                if lock.exists():  # Else its last holder has removed it: once more.
                    _refuse(lock, path)
    except BaseException:
        # Ctrl-C may fall between the making of the file and its lock.
        with contextlib.suppress(OSError), held(lock) as nobody_s:
            if nobody_s:
                lock.unlink()
        raise


def _make(lock: Path) -> None:
    """Make the file of a lock, and its folder, unless they are there."""
    for _ in range(_ATTEMPTS):
        # A run that ends removes the folder that it made, between these two lines too.
        with contextlib.suppress(FileNotFoundError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                lock.touch(exist_ok=False)
            return
    lock.touch()  # It says what is wrong.


@contextlib.contextmanager
def _tried(lock: Path) -> Iterator[bool | None]:
    """What `held` says; the lock of another user that may not even be read is another's."""
    with contextlib.ExitStack() as stack:
        try:
            ours = stack.enter_context(held(lock))
        except PermissionError:
            ours = False
        yield ours


@contextlib.contextmanager
def _numbered(lock: Path) -> Iterator[None]:
    """Say in a lock that is ours who has it, and remove it in the end."""
    try:
        with contextlib.suppress(OSError):  # Another user left it, or the disk is full.
            lock.write_text(str(os.getpid()))
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()


def _refuse(lock: Path, path: Path) -> None:
    holder = ""
    with contextlib.suppress(OSError, ValueError):
        holder = lock.read_text()
    who = "this process" if holder == str(os.getpid()) else "another process"
    number = f" ({holder})" if holder.isdigit() and who == "another process" else ""
    raise OutputBusyError(
        f"{path}: {who}{number} is at work on it; wait for its end, or save elsewhere"
    )


if sys.platform != "win32":

    def _opened(path: Path) -> int:
        # NFS locks only what is open for writing. A folder cannot be, nor another user's file.
        try:
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except (IsADirectoryError, PermissionError):
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)

    def _locked(handle: int) -> bool | None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def _is(handle: int, path: Path) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), path.lstat())
        except FileNotFoundError:
            return False
