"""Work to be killed: a parent that has imported everything, and a forked child for each trial.

A child starts after the imports, so it takes only as long as the work. The parent has run no
TensorFlow operation when it forks, so the child misses no thread of TensorFlow.
"""

import contextlib
import functools
import hashlib
import http.server
import itertools
import json
import os
import shutil
import signal
import socketserver
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import mnist_xai as mx
from mnist_xai.audit import Budget
from mnist_xai.io import datasets
from mnist_xai.quality import METRICS
from mnist_xai.train import RECIPES

RECIPE = replace(RECIPES["default"], epochs=3, steps_per_epoch=6, batch_size=32, held_out=0.1)
MEASURED = ("pixel_flipping", "sparseness")
BUDGET = Budget(2, 2, 2, without=tuple(name for name in METRICS if name not in MEASURED))
UNFINISHED = {"train": ".model.keras.unfinished", "audit": ".audit.html.unfinished"}


@functools.cache
def digits():
    """Return a few of scikit-learn's digits, which are quick to load and to hash."""
    whole = mx.load_data("digits")
    return replace(
        whole,
        train_images=whole.train_images[:400],
        train_labels=whole.train_labels[:400],
        test_images=whole.test_images[:40],
        test_labels=whole.test_labels[:40],
    )


def train(folder):
    mx.train(data=digits(), recipe=RECIPE, save_to=folder / "model.keras",
             csv=folder / "history.csv", progress=False)  # fmt: skip


def audit(folder):
    # A clock that counts calls, so that pages with times can be compared byte by byte.
    sys.modules["mnist_xai.audit.run"].time = _Clock()
    mx.audit(folder.parent / "given.keras", digits(), methods=["gradient", "gradcam"],
             budget=BUDGET, save_to=folder / "audit.html", progress=False)  # fmt: skip


class _Clock:
    def __init__(self):
        self.perf_counter = map(float, itertools.count()).__next__


def save(folder):
    mx.save_model(mx.build_model("cnn", seed=1), folder / "model.keras")


def download(folder):
    datasets._KERAS_URL = (folder.parent / "address").read_text()
    names = datasets._FASHION_MD5
    datasets._FASHION_MD5 = {n: _md5(folder.parent / "served" / n) for n in names}
    datasets._cache_folder = lambda: folder
    mx.load_data("fashion_mnist")


def _md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


WORK = {"train": train, "audit": audit, "save": save, "download": download}


@dataclass
class Child:
    """A forked process that works in a folder."""

    pid: int
    started: float
    errors: Path

    def wait(self):
        """Return the exit code, or minus the signal; raise with its output when it failed."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if code not in (0, -signal.SIGKILL):
            raise AssertionError(f"exit code {code}: {self.errors.read_text()}")
        return code

    def kill(self, after):
        """Kill -9 this many seconds after its start; return whether it was still working."""
        time.sleep(max(0.0, self.started + after - time.monotonic()))
        os.kill(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL


def start(work, folder, at_step=None):
    """Fork a child for a piece of work; with `at_step`, it kills itself at that file access."""
    folder.mkdir(parents=True, exist_ok=True)
    errors = folder.parent / "errors"
    ready, signalled = os.pipe()
    if pid := os.fork():
        os.close(signalled)
        os.read(ready, 1)
        os.close(ready)
        return Child(pid, time.monotonic(), errors)
    code = 1
    try:
        handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        tempfile.tempdir = str(folder.parent / "system")
        Path(tempfile.tempdir).mkdir(exist_ok=True)
        if at_step is not None:
            sys.addaudithook(_Steps(folder, at_step))
        os.write(signalled, b"!")
        WORK[work](folder)
        code = 0
    except BaseException:  # noqa: BLE001  The parent reads it.
        traceback.print_exc()
    finally:
        os._exit(code)


class _Steps:
    """Counts Python's accesses to the files of a folder, and kills the process at one of them."""

    EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod",
                        "tempfile.mkdtemp", "tempfile.mkstemp", "shutil.rmtree"})  # fmt: skip

    def __init__(self, folder, last):
        self.folder, self.left = str(folder), last

    def __call__(self, event, arguments):
        if event not in self.EVENTS or not str(arguments[0]).startswith(self.folder):
            return
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def finish(work, folder):
    """Do a piece of work without a kill; return its duration in seconds."""
    child = start(work, folder)
    assert child.wait() == 0
    return time.monotonic() - child.started


def contents(folder):
    """Return the bytes of every file in a folder by relative path, hidden files included."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def visible(files):
    hidden = (any(part.startswith(".") for part in Path(name).parts) for name in files)
    return {
        name: files[name] for name, is_hidden in zip(files, hidden, strict=True) if not is_hidden
    }


class Bench:
    """A folder with everything that a kind of work needs, and its result without a kill."""

    def __init__(self, root, work):
        self.root, self.work = root, work
        self.served = None
        if work in ("download", "interrupts"):
            self.served = self._serve()
        if work in ("audit", "interrupts"):
            self._made_by(lambda: mx.save_model(mx.build_model(), root / "given.keras"))
        if work == "interrupts":
            sums = {name: _md5(root / "served" / name) for name in datasets._FASHION_MD5}
            (root / "sums.json").write_text(json.dumps(sums))
            return
        self.seconds = finish(work, root / "whole")
        self.whole = contents(root / "whole")
        self.old = {}
        if work == "save":
            self._made_by(lambda: mx.save_model(mx.build_model(), root / "old.keras"))
            self.old = {"model.keras": (root / "old.keras").read_bytes()}

    def _made_by(self, make):
        if pid := os.fork():
            assert os.waitpid(pid, 0)[1] == 0
        else:
            with contextlib.suppress(BaseException):
                make()
                os._exit(0)
            os._exit(1)

    def _serve(self):
        made = self.root / "served"
        made.mkdir()
        draw = np.random.default_rng(0)
        for name in datasets._FASHION_MD5:
            shape = (2000, 28, 28) if "images" in name else (2000,)
            header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
            values = draw.integers(0, 10, shape, np.uint8).tobytes()
            (made / name).write_bytes(header + values)
        handler = functools.partial(_Slow, directory=str(made))
        server = socketserver.TCPServer(("127.0.0.1", 0), handler)
        (self.root / "address").write_text(f"http://127.0.0.1:{server.server_address[1]}/")
        if pid := os.fork():
            server.server_close()
            return pid
        with contextlib.suppress(BaseException):
            server.serve_forever()
        os._exit(0)

    def close(self):
        if self.served:
            os.kill(self.served, signal.SIGKILL)
            os.waitpid(self.served, 0)

    def trial(self, moment=None, at_step=None):
        """Kill the work, check the files, repeat the work; return whether it was killed.

        Args:
            moment: When to kill, as a fraction of the duration of the work.
            at_step: At which access to a file to kill, instead of `moment`.
        """
        folder = self.root / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.root / "system", ignore_errors=True)
        folder.mkdir()
        for name, data in self.old.items():
            (folder / name).write_bytes(data)
        child = start(self.work, folder, at_step)
        killed = child.wait() != 0 if at_step else child.kill(moment * self.seconds)
        left = contents(folder)
        for name, data in visible(left).items():
            self._check_whole(name, data)
        hidden = {name.split("/")[0] for name in left} - set(visible(left))
        if (
            self.work in UNFINISHED
            and visible(left) == self.whole
            and UNFINISHED[self.work] not in hidden
        ):
            # All outputs are written, so a second run would refuse to overwrite them. The next run
            # removes what may be left: an unlocked lock file and a partly removed folder.
            lock, removed = (
                UNFINISHED[self.work].replace("unfinished", "lock"),
                f".{UNFINISHED[self.work]}.",
            )
            assert all(n == lock or n.startswith(removed) for n in hidden), hidden
            self._check_system()
            return killed
        finish(self.work, folder)
        made = contents(folder)
        other = {n for n in made.keys() | self.whole.keys() if made.get(n) != self.whole.get(n)}
        assert not other, f"missing, unexpected or different files: {sorted(other)}"
        assert not list(folder.rglob(".*"))
        self._check_system()
        return killed

    def _check_whole(self, name, data):
        if name == "history.csv":  # It grows by one epoch at a time.
            assert self.whole[name].startswith(data)
            assert data.endswith(b"\n")
        else:
            assert data in (self.whole[name], self.old.get(name)), name

    def _check_system(self):
        """Assert that the system's temporary folder has no files of ours, only AutoGraph's code."""
        files = [path.name for path in (self.root / "system").rglob("*") if path.is_file()]
        assert all(name.startswith("__autograph_generated_file") for name in files), files


class _Slow(http.server.SimpleHTTPRequestHandler):
    def copyfile(self, source, outputfile):
        with contextlib.suppress(ConnectionError):  # The client was killed.
            while block := source.read(65536):
                outputfile.write(block)
                time.sleep(0.005)

    def log_message(self, *_):
        pass
