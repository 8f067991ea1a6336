"""Locks that end with their holder, however it ends."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class OutputBusyError(OSError):
    """Another process is at work on the same output."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Lock an existing file or folder for this process, and say whether that succeeded.

    The lock is the kernel's: it ends with the process, by `kill -9` too. It fails when another
    process has it, or has removed the file meanwhile. Windows and file systems without locks have
    none: there it always succeeds.

    Args:
        path: What to lock.
    """
    if sys.platform == "win32":
        yield True
        return
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _locked(handle) and _is(handle, path)
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
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _taken(lock, path):
            yield
    finally:
        with contextlib.suppress(OSError):  # It is in use, or someone else's by now.
            for folder in missing:
                folder.rmdir()


@contextlib.contextmanager
def _taken(lock: Path, path: Path) -> Iterator[None]:
    while True:
        # Whoever locks a file that its last holder has removed holds nothing, and tries again.
        lock.touch()
        with held(lock) as ours:
            if ours:
                lock.write_text(str(os.getpid()))
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return
            with contextlib.suppress(FileNotFoundError):
                holder = lock.read_text()
                raise OutputBusyError(
                    f"{path}: another process{f' ({holder})' if holder else ''} is at work on it; "
                    "wait for its end, or save elsewhere"
                )


if sys.platform != "win32":

    def _locked(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # A file system without locks.
        return True

    def _is(handle: int, path: Path) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), path.lstat())
        except FileNotFoundError:
            return False
