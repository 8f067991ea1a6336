"""Part of `make faults`: send Ctrl-C at random moments of every long command."""

import argparse
import importlib
import io
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

from PIL import Image

from tests.faults.trials import BUDGET, RECIPE, Bench, digits


def commands(root, folder):
    """Return the arguments of each command; its outputs go to the folder."""
    model = str(root / "given.keras")
    data = ["--data", "digits"]
    return {
        "train": ["train", *data, "--recipe", "small", "--save-to", f"{folder}/model.keras",
                  "--csv", f"{folder}/history.csv"],
        "audit": ["audit", model, *data, "--methods", "gradient,gradcam",
                  "--save-to", f"{folder}/audit.html"],
        "reproduce": ["reproduce", *data, "--save-to", str(folder / "run")],
        "explain": ["explain", model, *data, "--index", "0", "--method", "kernel_shap",
                    "--save-to", f"{folder}/why.png"],
        "evaluate": ["evaluate", model, *data],
        "data": ["data", "fashion_mnist", "--save-to", f"{folder}/some.png"],
    }  # fmt: skip


def make_small(root, folder):
    """Make the commands take seconds; called in a child process."""
    for module in ("mnist_xai.train", "mnist_xai.recipes"):
        sys.modules[module].RECIPES = {"default": RECIPE, "small": RECIPE}
    importlib.import_module("mnist_xai.audit.run").BUDGETS = {"fast": BUDGET}
    from mnist_xai import data
    from mnist_xai.io import datasets

    data.LOADERS["digits"] = lambda: (digits().name, as_arrays(digits()))
    datasets._KERAS_URL = (root / "address").read_text()
    datasets._FASHION_MD5 = json.loads((root / "sums.json").read_text())
    datasets._cache_folder = lambda: folder / "cache"


def as_arrays(dataset):
    from mnist_xai.io.readers import Arrays

    return Arrays(dataset.train_images, dataset.train_labels, dataset.test_images,
                  dataset.test_labels, dataset.class_names)  # fmt: skip


def run(root, name, after):
    """Run a command and send Ctrl-C `after` seconds.

    Returns the exit code, the lines on standard error, the seconds from the signal to the end, and
    the seconds in total.
    """
    folder = root / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    ready, signalled = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            in_child(root, folder, name, signalled)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:  # noqa: BLE001  The parent reads it.
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(signalled)
    os.read(ready, 1)
    os.close(ready)
    start = time.monotonic()
    if not ends_within(pid, after):
        os.kill(pid, signal.SIGINT)
    signalled_at = time.monotonic()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    end = time.monotonic()
    lines = (root / "stderr").read_text().split("\n")
    return code, [line for line in lines if line], end - signalled_at, end - start


def ends_within(pid, seconds):
    """Return whether a child ends within this time; it must still be waited for."""
    handle = os.pidfd_open(pid)
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def in_child(root, folder, name, signalled):
    for number, stream in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(root / stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tempfile.tempdir = str(root)
    make_small(root, folder)
    from mnist_xai.cli.app import main

    sys.argv = ["mnist-xai"]
    os.write(signalled, b"!")
    main(commands(root, folder)[name])


def check_tidy(folder):
    """Assert that the folder has no temporary files, and that every file is complete."""
    for path in folder.rglob("*"):
        assert not path.name.endswith((".tmp", ".lock")), path
        data = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".html" and path.is_file():
            assert data.rstrip().endswith(b"</html>"), path
        elif path.suffix == ".json":
            json.loads(data)
        elif path.suffix == ".keras":
            assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
        elif path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()


def trials(root, name, given):
    count, draw = given.trials, random.Random(f"{given.seed} {name}")
    code, stderr, seconds, duration = run(root, name, given.within)
    duration -= seconds
    assert code in (0, 130), stderr
    interrupted, good, slowest = 0, 0, 0.0
    for _ in range(count):
        after = draw.random() * duration
        code, stderr, seconds, _ = run(root, name, after)
        if code == 0 and not stderr:  # The command ended before the signal arrived.
            good += 1
            continue
        interrupted += 1
        slowest = max(slowest, seconds)
        try:
            assert code == 130, code
            assert stderr == ["Interrupted."], stderr
            assert seconds <= given.prompt, seconds
            check_tidy(root / "trial")
            good += 1
        except AssertionError as error:
            print(f"{name}, after {after:.3f} s of {duration:.3f}: {error}", flush=True)
    print(
        f"{name:10} {duration:7.2f} {count:8} {interrupted:12} {good:5} {slowest:8.2f}", flush=True
    )
    return count - good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    names = list(commands(Path(), Path()))
    parser.add_argument("--commands", nargs="*", choices=names, default=names)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=float, help="interrupt within this many seconds")
    parser.add_argument(
        "--prompt", type=float, default=2.0, help="seconds within which the command must end"
    )
    given = parser.parse_args()
    digits()
    print("command    seconds  moments  interrupted  good  slowest", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bench = Bench(root, "interrupts")
        try:
            bad = sum(trials(root, name, given) for name in given.commands)
        finally:
            bench.close()
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
