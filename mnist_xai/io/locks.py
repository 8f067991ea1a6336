"""Locks on outputs, released when the process that holds them ends, however it ends."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_ATTEMPTS = 100  # Attempts to create a lock file while other runs remove its folder.


class OutputBusyError(OSError):
    """Another process, or another thread, is writing the same output."""


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool | None]:
    """Try to lock an existing file or folder while the block runs.

    The lock is the kernel's (`flock`), so it ends with the process, also after `kill -9`.

    Args:
        path: The file or folder.

    Yields:
        True: this process holds the lock. False: another process holds it, or has removed the
        file. None: unknown, because Windows and some file systems have no locks (NFS has none
        for folders). On None, remove nothing that another process may need.

    Raises:
        PermissionError: When the file may not be read.
    """
    if sys.platform == "win32":
        yield None
        return
    try:
        handle = _open(path)
    except FileNotFoundError:
        yield False
        return
    try:
        locked = _flock(handle)
        yield locked if _is_same_file(handle, path) else False
    finally:
        os.close(handle)


@contextlib.contextmanager
def output_lock(path: Path | None) -> Iterator[None]:
    """Keep all other processes from writing an output while the block runs.

    Meanwhile a file `.name.lock` with the process's number lies beside the output. After
    `kill -9` the file remains, but unlocked: the next run takes it over and removes it.

    Args:
        path: The output. Its folder is created when missing, and removed again when it stays
            empty. None locks nothing.

    Raises:
        OutputBusyError: When another process, or another thread, holds the lock.
    """
    if path is None:
        yield
        return
    lock_file = path.absolute().with_name(f".{path.name}.lock")
    missing = [folder for folder in lock_file.parents if not folder.exists()]
    try:
        with _hold(lock_file, path):
            yield
    finally:
        with contextlib.suppress(OSError):  # The folder is in use.
            for folder in missing:
                folder.rmdir()


@contextlib.contextmanager
def _hold(lock_file: Path, path: Path) -> Iterator[None]:
    try:
        while True:
            _create(lock_file)
            with _try_lock_of_any_user(lock_file) as ours:
                if ours is not False:
                    with _process_number_in(lock_file):
                        yield
                    return
                if lock_file.exists():  # If not, its last holder has removed it: try again.
                    _raise_busy(lock_file, path)
    except BaseException:
        # Ctrl-C may arrive after the file is created and before it is locked.
        with contextlib.suppress(OSError), try_lock(lock_file) as ours:
            if ours:
                lock_file.unlink()
        raise


def _create(lock_file: Path) -> None:
    """Create a lock file and its folder where they are missing."""
    for _ in range(_ATTEMPTS):
        # Another run may remove the folder (it created it) between the next two calls.
        with contextlib.suppress(FileNotFoundError):
            lock_file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                lock_file.touch(exist_ok=False)
            return
    lock_file.touch()  # Raises the error that names the cause.


@contextlib.contextmanager
def _try_lock_of_any_user(lock_file: Path) -> Iterator[bool | None]:
    """Yield what `try_lock` yields; False for another user's file that may not be read."""
    with contextlib.ExitStack() as stack:
        try:
            ours = stack.enter_context(try_lock(lock_file))
        except PermissionError:
            ours = False
        yield ours


@contextlib.contextmanager
def _process_number_in(lock_file: Path) -> Iterator[None]:
    """Write this process's number into a lock file that it holds; remove the file at the end."""
    try:
        with contextlib.suppress(OSError):  # The file is another user's, or the disk is full.
            lock_file.write_text(str(os.getpid()))
        yield
    finally:
        with contextlib.suppress(OSError):
            lock_file.unlink()


def _raise_busy(lock_file: Path, path: Path) -> None:
    holder = ""
    with contextlib.suppress(OSError, ValueError):
        holder = lock_file.read_text()
    who = "this process" if holder == str(os.getpid()) else "another process"
    number = f" ({holder})" if holder.isdigit() and who == "another process" else ""
    raise OutputBusyError(
        f"{path}: {who}{number} is writing it; wait until it ends, or save to another path"
    )


if sys.platform != "win32":

    def _open(path: Path) -> int:
        # NFS locks only files open for writing; folders and other users' files cannot be so.
        try:
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except (IsADirectoryError, PermissionError):
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)

    def _flock(handle: int) -> bool | None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True

    def _is_same_file(handle: int, path: Path) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), path.lstat())
        except FileNotFoundError:
            return False
