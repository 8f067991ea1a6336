"""Full disks, read-only folders, and files that disappear."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.audit.results import MethodResult, ResultStore
from mnist_xai.io.checkpoint import Checkpoint
from mnist_xai.io.files import check_writable, write_atomically
from mnist_xai.io.readers import DataError, read_path
from tests.faults.trials import RECIPE
from tests.io.test_readers import TEST, TEST_LABELS, TRAIN, TRAIN_LABELS, idx

# In its own mount namespace: the file system is invisible outside and ends with the test.
MOUNT = 'mount -t tmpfs -o "size=$1" tmpfs "$0" && shift && exec "$@"'
ON_A_DISK = """
import sys
from dataclasses import replace
from pathlib import Path
import mnist_xai as mx
from mnist_xai.io.files import write_atomically
from tests.faults.trials import RECIPE, digits
disk = Path(sys.argv[1])
{script}
"""


def on_a_disk(folder, size, script):
    """Run a script with a file system of this size mounted at a folder; return its output lines."""
    namespace = ["unshare", "--mount", "--user", "--map-root-user"]
    code = ON_A_DISK.format(script=script)
    command = ["sh", "-c", MOUNT, str(folder), size, sys.executable, "-c", code, str(folder)]
    try:
        subprocess.run([*namespace, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the program unshare and permission to create a mount namespace")
    done = subprocess.run([*namespace, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_on_a_full_disk_the_old_model_stays_and_the_error_names_the_file(tmp_path):
    lines = on_a_disk(tmp_path, "1m", """
path = disk / "model.keras"
path.write_bytes(b"precious")
(disk / "filling").write_bytes(bytes(600_000))
jobs = {
    "write": lambda: write_atomically(path, bytes(900_000)),
    "save": lambda: mx.save_model(mx.build_model(), path),
    "train": lambda: mx.train(data=digits(), recipe=RECIPE, save_to=path, overwrite=True,
                              progress=False),
}
for name, job in jobs.items():
    try:
        job()
    except OSError as error:
        message = str(error).replace(str(disk), "DISK")
        files = sorted(p.name for p in disk.iterdir())
        print(name, "|", message, "|", path.read_bytes().decode(), "|", files)
""")  # fmt: skip
    assert len(lines) == 3, lines
    for line in lines:
        _, message, kept, files = line.split(" | ")
        assert "No space left on device" in message, line
        assert kept == "precious"
        assert files == "['filling', 'model.keras']"
    written = ["DISK/model.keras", "DISK/model.keras", "DISK/.model.keras.unfinished"]
    for line, path in zip(lines, written, strict=True):
        assert f"'{path}'" in line


def test_a_limit_on_file_size_is_handled_like_a_full_disk(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("precious")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=rf"File too large: '{path}'"):
            write_atomically(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_read_only_folder_is_refused_before_any_work_but_can_be_read(tmp_path):
    lines = on_a_disk(tmp_path, "5m", """
import subprocess
mx.save_model(mx.build_model(seed=0), disk / "given.keras")
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
jobs = {
    "train": lambda: mx.train(data="no such data", save_to=disk / "model.keras"),
    "audit": lambda: mx.audit("no such model", save_to=disk / "new" / "audit.html"),
    "save": lambda: mx.save_model(mx.build_model(), disk / "model.keras"),
}
for name, job in jobs.items():
    try:
        job()
    except OSError as error:
        print(name, "|", error)
model = mx.load_model(disk / "given.keras")
print("loaded", "|", len(model.get_weights()))
""")  # fmt: skip
    assert [line.split(" | ")[0] for line in lines] == ["train", "audit", "save", "loaded"]
    for line in lines[:3]:
        assert "Read-only file system: '" in line, line


@pytest.mark.parametrize("removed", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_data_file_that_disappears_after_the_check_is_named_in_the_error(
    tmp_path, monkeypatch, removed
):
    parts = {"train-images-idx3-ubyte": TRAIN, "train-labels-idx1-ubyte": TRAIN_LABELS,
             "t10k-images-idx3-ubyte": TEST, "t10k-labels-idx1-ubyte": TEST_LABELS}  # fmt: skip
    for name, array in parts.items():
        (tmp_path / name).write_bytes(idx(array))
    disappears(monkeypatch, tmp_path / removed, "is_file")
    with pytest.raises(DataError, match=f"cannot be read .*No such file.*{removed}"):
        read_path(tmp_path)


def test_an_archive_or_a_folder_that_disappears_is_named_in_the_error(tmp_path, monkeypatch):
    np.savez(tmp_path / "m.npz", x_train=TRAIN)
    disappears(monkeypatch, tmp_path / "m.npz", "is_file")
    with pytest.raises(DataError, match="m.npz.*No such file"):
        read_path(tmp_path / "m.npz")
    (tmp_path / "pictures" / "train").mkdir(parents=True)
    disappears(monkeypatch, tmp_path / "pictures" / "train", "is_dir", times=2)
    with pytest.raises(DataError, match="pictures.*[Nn]o such f"):
        read_path(tmp_path / "pictures")


def test_a_model_that_disappears_after_the_check_is_named_in_the_error(tmp_path, monkeypatch):
    mx.save_model(mx.build_model(), tmp_path / "model.keras")
    disappears(monkeypatch, tmp_path / "model.keras", "is_file")
    with pytest.raises((mx.ModelFileError, FileNotFoundError), match="model.keras.*[Nn]o such"):
        mx.load_model(tmp_path / "model.keras")


def disappears(monkeypatch, path, check, times=1):
    """Remove a file just after a method of `Path` has checked it, at the given call."""
    real = getattr(Path, check)
    left = [times]

    def checked(self, **given):
        found = real(self, **given)
        if self == path:
            left[0] -= 1
            if not left[0]:
                path.rmdir() if path.is_dir() else path.unlink()
        return found

    monkeypatch.setattr(Path, check, checked)


def test_unfinished_work_that_disappears_starts_again(tmp_path):
    assert Checkpoint(tmp_path / "gone", {}).epochs() == 0
    store = ResultStore(tmp_path / "kept", {"model": 1})
    store.keep(MethodResult("gradient"))
    assert ResultStore(tmp_path / "kept", {"model": 1}).find("gradient") is not None
    (tmp_path / "kept" / "gradient.npz").unlink()
    assert store.find("gradient") is None


def test_an_output_folder_that_disappears_during_the_work_is_created_again(tmp_path, digits):
    folder = tmp_path / "run"
    folder.mkdir()
    check_writable(folder / "model.keras", overwrite=False)

    def remove(epoch, _):
        if epoch == 0:
            shutil.rmtree(folder)

    callback = keras.callbacks.LambdaCallback(on_epoch_end=remove)
    result = mx.train(data=digits, recipe=RECIPE, save_to=folder / "model.keras",
                      callbacks=[callback], progress=False)  # fmt: skip
    assert result.path.read_bytes()
    assert {p.name for p in folder.iterdir()} == {"model.keras", "model.json"}
