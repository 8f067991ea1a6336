"""Several processes that write the same output."""

import contextlib
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from importlib import import_module
from pathlib import Path

import pytest

import mnist_xai as mx
from mnist_xai.io import locks
from mnist_xai.io.files import remove_leftovers, temporary_folder, write_atomically
from mnist_xai.io.locks import OutputBusyError, output_lock, try_lock

HOLD = """
import sys, time
from pathlib import Path
from mnist_xai.io.locks import output_lock
with output_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def held_elsewhere(path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def work_on(path, monkeypatch):
    """Start the kind of work that the output's name implies; its first step fails."""

    def started(*_):
        raise AssertionError("the work started")

    run = import_module("mnist_xai.audit.run")
    for module in (import_module("mnist_xai.train"), run, import_module("mnist_xai.reproduce")):
        monkeypatch.setattr(module, "load_data", started)
    monkeypatch.setattr(run, "load_model", started)
    if path.suffix == ".keras":
        mx.train(data="digits", save_to=path)
    elif path.name == "index.html":
        mx.reproduce(path.parent, data="digits")
    else:
        mx.audit("no.keras", "digits", save_to=path)


@pytest.mark.parametrize("name", ["model.keras", "audit.html", "index.html"])
def test_a_second_process_is_refused_before_any_work(tmp_path, monkeypatch, name):
    path = tmp_path / name
    with held_elsewhere(path) as process:
        expected = rf"{name}: another process \({process.pid}\) is writing it; wait until it ends"
        with pytest.raises(OutputBusyError, match=expected):
            work_on(path, monkeypatch)
        assert [p.name for p in tmp_path.iterdir()] == [f".{name}.lock"]


@pytest.mark.parametrize("name", ["model.keras", "audit.html", "index.html"])
def test_a_lock_ends_with_a_holder_that_is_killed(tmp_path, monkeypatch, name):
    path = tmp_path / name
    with held_elsewhere(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / f".{name}.lock").exists()
    with pytest.raises(AssertionError, match="the work started"):
        work_on(path, monkeypatch)
    assert not list(tmp_path.iterdir())


def test_other_outputs_in_the_folder_are_not_locked(tmp_path):
    with (
        output_lock(tmp_path / "a.keras"),
        output_lock(tmp_path / "b.keras"),
        output_lock(None),
        output_lock(None),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_removes_the_folders_that_it_created_unless_they_are_used(tmp_path):
    with output_lock(tmp_path / "new" / "folder" / "a.keras"):
        pass
    assert not list(tmp_path.iterdir())
    with output_lock(tmp_path / "new" / "a.keras"):
        (tmp_path / "new" / "a.keras").write_text("made")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.keras"]


def contend(path, seen, turns):
    done = 0
    while done < turns:
        with contextlib.suppress(OutputBusyError), output_lock(path):
            inside = os.open(seen, os.O_CREAT | os.O_EXCL)  # Fails when another process is inside.
            os.close(inside)
            Path(seen).unlink()
            done += 1


def test_only_one_of_several_processes_holds_a_lock_at_a_time(tmp_path):
    given = (tmp_path / "a.keras", tmp_path / "inside", 100)
    fork = multiprocessing.get_context("spawn")
    others = [fork.Process(target=contend, args=given) for _ in range(2)]
    for process in others:
        process.start()
    for process in others:
        process.join(120)
        assert process.exitcode == 0
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_living_writer_is_not_removed_as_a_leftover(tmp_path):
    path = tmp_path / "model.keras"
    with temporary_folder(path) as folder:
        (folder / "part").write_text("new")
        remove_leftovers(path)
        write_atomically(path, "by another")
        assert (folder / "part").read_text() == "new"
        with try_lock(folder) as free:
            assert free is False
    (tmp_path / ".model.keras.abcd1234.tmp").mkdir()  # Left by a killed writer.
    (tmp_path / ".model.keras.notes.tmp").mkdir()  # Not ours.
    write_atomically(path, "new")
    assert {p.name for p in tmp_path.iterdir()} == {"model.keras", ".model.keras.notes.tmp"}


@pytest.fixture(params=[errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP])
def _without_locks(request, monkeypatch):
    """A file system without locks, like folders on NFS."""

    def flock(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(locks.fcntl, "flock", flock)


@pytest.mark.usefixtures("_without_locks")
def test_without_locks_nothing_that_a_living_writer_may_need_is_removed(tmp_path):
    path = tmp_path / "model.keras"
    with temporary_folder(path) as folder:
        (folder / "part").write_text("new")
        remove_leftovers(path)
        write_atomically(path, "by another")
        with try_lock(folder) as ours:
            assert ours is None
        assert (folder / "part").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.usefixtures("_without_locks")
def test_without_locks_the_work_runs_and_leaves_no_lock_file(tmp_path):
    with output_lock(tmp_path / "new" / "a.keras"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_locked_file_is_open_for_writing_as_nfs_requires(tmp_path, monkeypatch):
    """On NFS, an exclusive `flock` fails for a file that is not open for writing."""
    flock = locks.fcntl.flock

    def as_on_nfs(handle, operation):
        if locks.fcntl.fcntl(handle, locks.fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, operation)

    monkeypatch.setattr(locks.fcntl, "flock", as_on_nfs)
    (tmp_path / "lock").touch()
    with try_lock(tmp_path / "lock") as ours, try_lock(tmp_path / "lock") as again:
        assert (ours, again) == (True, False)
    with try_lock(tmp_path) as ours:
        assert ours is None


def test_a_folder_removed_before_the_lock_file_is_created_is_created_again(tmp_path, monkeypatch):
    """The run that created the folder removes it at its end, also when another needs it."""
    touch, removals = Path.touch, [2]

    def folder_removed(self, **given):
        if removals[0]:
            removals[0] -= 1
            with contextlib.suppress(FileNotFoundError):
                self.parent.rmdir()
        touch(self, **given)

    monkeypatch.setattr(Path, "touch", folder_removed)
    with output_lock(tmp_path / "new" / "a.keras"):
        assert [p.name for p in (tmp_path / "new").iterdir()] == [".a.keras.lock"]
    removals[0] = 10**6
    with (
        pytest.raises(FileNotFoundError, match=r"a.keras.lock"),
        output_lock(tmp_path / "new/a.keras"),
    ):
        pass


def test_a_second_thread_is_refused_with_this_process_in_the_message(tmp_path):
    path, messages = tmp_path / "a.keras", []

    def second():
        try:
            with output_lock(path):
                messages.append("the work started")
        except OutputBusyError as error:
            messages.append(str(error))

    with output_lock(path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert messages == [
        f"{path}: this process is writing it; wait until it ends, or save to another path"
    ]
    assert not list(tmp_path.iterdir())


@contextlib.contextmanager
def another_user():
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o644, 0o600])
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as two users")
def test_the_lock_of_another_user_is_respected(mode):
    with tempfile.TemporaryDirectory() as name:  # Other users may not enter pytest's folder.
        path = Path(name) / "a.keras"
        path.parent.chmod(0o777)
        with held_elsewhere(path) as process:
            (path.parent / ".a.keras.lock").chmod(mode)
            number = rf" \({process.pid}\)" if mode == 0o644 else ""
            expected = f"another process{number} is writing it"
            with another_user(), pytest.raises(OutputBusyError, match=expected), output_lock(path):
                pass
        if mode == 0o644:  # Its holder is dead, and everybody may write to the folder.
            with another_user(), output_lock(path):
                pass
            assert not list(path.parent.iterdir())


@pytest.mark.parametrize("where", ["touch", "write_text"])
def test_ctrl_c_while_a_lock_is_created_leaves_no_lock_file(tmp_path, monkeypatch, where):
    real = getattr(Path, where)

    def interrupted(self, *given, **named):
        real(self, *given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, where, interrupted)
    with pytest.raises(KeyboardInterrupt), output_lock(tmp_path / "new" / "a.keras"):
        pass
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_another_process_holds_the_lock_leaves_its_lock_file(tmp_path, monkeypatch):
    path = tmp_path / "a.keras"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with held_elsewhere(path):
        monkeypatch.setattr(locks, "_raise_busy", interrupted)
        with pytest.raises(KeyboardInterrupt), output_lock(path):
            pass
        assert [p.name for p in tmp_path.iterdir()] == [".a.keras.lock"]
