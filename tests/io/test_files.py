"""Writing files whole or not at all."""

import os
import re
import stat

import pytest

from mnist_xai.io import files
from mnist_xai.io.files import OutputExistsError, check_writable, errors_name, write_atomically


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, "first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_file_gets_the_default_permissions(tmp_path):
    write_atomically(tmp_path / "ours", "x")
    (tmp_path / "default").write_text("x")
    ours, default = ((tmp_path / name).stat().st_mode for name in ("ours", "default"))
    assert stat.S_IMODE(ours) == stat.S_IMODE(default)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_only_the_old_file(tmp_path, monkeypatch, failure):
    path = tmp_path / "model.keras"
    path.write_text("old")

    def fail(_):
        raise failure

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(type(failure)) as caught:
        write_atomically(path, "new")
    if isinstance(failure, OSError):
        assert str(caught.value) == f"[Errno 28] No space left on device: '{path}'"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_output_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(OutputExistsError, match=r"model.keras exists; pass overwrite=True"):
        check_writable(path, overwrite=False)
    check_writable(path, overwrite=True)
    with pytest.raises(IsADirectoryError, match="got a folder"):
        check_writable(tmp_path, overwrite=True)
    assert path.read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write to read-only folders")
def test_a_folder_without_write_access_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        check_writable(tmp_path / "model.keras", overwrite=False)
    tmp_path.chmod(0o700)


def test_an_output_whose_folder_cannot_be_created_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="file"):
        check_writable(tmp_path / "file" / "model.keras", overwrite=False)


def test_checking_an_output_creates_nothing(tmp_path):
    check_writable(tmp_path / "new" / "folder" / "model.keras", overwrite=False)
    assert not list(tmp_path.iterdir())


def test_an_error_names_the_file_that_caused_it(tmp_path):
    (tmp_path / "afile").write_text("x")
    with pytest.raises(OSError, match=r"'[^']*afile'$"):
        write_atomically(tmp_path / "afile" / "out.png", "new")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left"), "[Errno 28] No space left: 'out.png'"),
        (OSError(28, "No space left", ".out.png.ab.tmp/out.png"),
         "[Errno 28] No space left: 'out.png'"),
        (OSError(2, "No such file", "fonts"), "[Errno 2] No such file: 'fonts'"),
        (OSError(2, "No such file", "out.png.tmp"), "[Errno 2] No such file: 'out.png.tmp'"),
        (OSError("write failed, errno = 28\nelsewhere"), "out.png: write failed, errno = 28"),
    ],
)  # fmt: skip
def test_an_error_with_no_name_or_a_temporary_name_gets_the_name_of_the_output(error, message):
    with (
        pytest.raises(OSError, match=f"^{re.escape(message)}$"),
        errors_name(files.Path("out.png")),
    ):
        raise error
