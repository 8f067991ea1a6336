"""Two processes at work on one output."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import mnist_xai as mx
from mnist_xai.files import remove_leftovers, temporary_folder, write_whole
from mnist_xai.locks import OutputBusyError, alone, held

HOLD = """
import sys, time
from pathlib import Path
from mnist_xai.locks import alone
with alone(Path(sys.argv[1])):
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
    """Begin each kind of work on an output; whatever it would do first fails."""

    def worked(*_):
        raise AssertionError("it began to work")

    run = import_module("mnist_xai.audit.run")
    for module in (import_module("mnist_xai.train"), run, import_module("mnist_xai.reproduce")):
        monkeypatch.setattr(module, "load_data", worked)
    monkeypatch.setattr(run, "load_model", worked)
    if path.suffix == ".keras":
        mx.train(data="digits", save_to=path)
    elif path.name == "index.html":
        mx.reproduce(path.parent, data="digits")
    else:
        mx.audit("no.keras", "digits", save_to=path)


@pytest.mark.parametrize("name", ["model.keras", "audit.html", "index.html"])
def test_the_second_says_so_and_stops_before_any_work(tmp_path, monkeypatch, name):
    path = tmp_path / name
    with held_elsewhere(path) as process:
        expected = rf"{name}: another process \({process.pid}\) is at work on it; wait for its end"
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
    with pytest.raises(AssertionError, match="it began to work"):
        work_on(path, monkeypatch)
    assert not list(tmp_path.iterdir())


def test_other_outputs_in_the_folder_are_free(tmp_path):
    with alone(tmp_path / "a.keras"), alone(tmp_path / "b.keras"), alone(None), alone(None):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_leaves_no_folder_that_it_made_unless_it_is_used(tmp_path):
    with alone(tmp_path / "new" / "folder" / "a.keras"):
        pass
    assert not list(tmp_path.iterdir())
    with alone(tmp_path / "new" / "a.keras"):
        (tmp_path / "new" / "a.keras").write_text("made")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.keras"]


def contend(path, seen, turns):
    done = 0
    while done < turns:
        with contextlib.suppress(OutputBusyError), alone(path):
            inside = os.open(seen, os.O_CREAT | os.O_EXCL)  # Fails when someone else is inside.
            os.close(inside)
            Path(seen).unlink()
            done += 1


def test_of_many_that_take_and_give_back_only_one_holds_at_a_time(tmp_path):
    given = (tmp_path / "a.keras", tmp_path / "inside", 100)
    fork = multiprocessing.get_context("spawn")
    others = [fork.Process(target=contend, args=given) for _ in range(2)]
    for process in others:
        process.start()
    for process in others:
        process.join(120)
        assert process.exitcode == 0
    assert not list(tmp_path.iterdir())


def test_what_a_living_writer_needs_is_no_leftover(tmp_path):
    path = tmp_path / "model.keras"
    with temporary_folder(path) as folder:
        (folder / "part").write_text("new")
        remove_leftovers(path)
        write_whole(path, "by another")
        assert (folder / "part").read_text() == "new"
        with held(folder) as free:
            assert not free
    (tmp_path / ".model.keras.abcd1234.tmp").mkdir()  # Of one that was killed.
    (tmp_path / ".model.keras.notes.tmp").mkdir()  # Not ours.
    write_whole(path, "new")
    assert {p.name for p in tmp_path.iterdir()} == {"model.keras", ".model.keras.notes.tmp"}
