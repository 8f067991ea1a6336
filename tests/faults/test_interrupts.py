"""Ctrl-C at a few moments; `make faults` tries many."""

import _thread
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mnist_xai.cli.interrupts import resend_lost_interrupts
from tests.faults.interrupts import commands


def test_ctrl_c_ends_every_long_command_soon_with_one_line_and_no_temporary_files():
    seed = random.Random().randrange(10**6)  # Other moments each time; a failure shows the seed.
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.interrupts", "--trials", "1", "--within", "1.5",
         "--prompt", "10", "--seed", str(seed)],  # Long, because other tests use the processor.
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == list(commands(Path(), Path()))


@pytest.mark.skipif(
    not Path("/proc/self/maps").exists(),
    reason="needs /proc, to see that TensorFlow is being imported",
)
def test_ctrl_c_while_tensorflow_is_imported(tmp_path):
    program = Path(sys.executable).with_name("mnist-xai")
    command = [program, "train", "--data", "digits", "--save-to", tmp_path / "model.keras"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while "tensorflow" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    moment = random.Random().uniform(0, 0.5)
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, f"after {moment:.3f} s: {stderr}"
    assert stderr.split() == ["Interrupted."], f"after {moment:.3f} s"
    assert not list(tmp_path.iterdir())


class _Finalised:
    """Receives Ctrl-C in its finaliser, where Python prints KeyboardInterrupt and goes on."""

    def __del__(self):
        _thread.interrupt_main()
        for _ in range(100):
            pass


@pytest.fixture
def _receives_ctrl_c():
    # A shell makes its background jobs ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _work(interrupt):
    interrupt()
    for _ in range(300):
        time.sleep(0.01)


@pytest.mark.usefixtures("_receives_ctrl_c")
def test_ctrl_c_in_a_finaliser_is_not_lost():
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), resend_lost_interrupts():
        _work(_Finalised)
    assert time.monotonic() - start < 2
    with pytest.raises(KeyboardInterrupt):
        _work(_thread.interrupt_main)


@pytest.mark.usefixtures("_receives_ctrl_c")
def test_other_errors_in_a_finaliser_are_reported_as_usual(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    hook = sys.unraisablehook

    class Broken:
        def __del__(self):
            raise OSError("broken")

    with resend_lost_interrupts():
        Broken()
    assert [str(lost.exc_value) for lost in reported] == ["broken"]
    assert sys.unraisablehook == hook
