"""Runs each case in its own process, watches it, and reports what it did.

One process imports TensorFlow and forks for every case, so that the import is paid once. It runs
no TensorFlow operation itself, because a fork would lose TensorFlow's threads. As a program, it
reads cases from standard input, one JSON object on a line, and answers in the same format.
"""

import contextlib
import io
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from pathlib import Path

SECONDS, MEMORY = 10.0, 1 << 30
_EVENTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen",
           "socket.connect", "socket.getaddrinfo", "pickle.find_class", "urllib.Request",
           "shutil.unpack_archive"}  # fmt: skip


def _watch(seen, case):
    """Record everything that Python is asked to do and that no file may ask for."""
    writable = (case["temporary"], case["out"], "/dev/")

    def hook(event, arguments):
        if event in _EVENTS:
            seen.append(f"{event} {arguments[:1]}")
        elif event == "import" and arguments[0].startswith("canary"):
            seen.append(f"import {arguments[0]}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if path == case["secret"]:
                seen.append(f"read {path}")
            elif writes and not path.startswith(writable):
                seen.append(f"write {path}")

    sys.addaudithook(hook)


def _resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) << 10 for name in ("VmHWM", "VmRSS", "VmSize")}


def _run(case):
    """Open the file of a case; return what a user would see, and how it ended."""
    import mnist_xai as mx
    from mnist_xai.cli import app

    if case["call"] == "cli":
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                app.main(case["arguments"])
            except SystemExit as end:
                code = end.code or 0
        return {"value": out.getvalue(), "message": err.getvalue().rstrip("\n"), "code": code}
    try:
        if case["call"] == "unsafely":
            return {"value": _unsafely(case["path"])}
        found = getattr(mx, case["call"])(case["path"])
    except Exception as error:  # noqa: BLE001  The test must see every error.
        return {"message": str(error), "error": type(error).__name__}
    return {"value": _content(found)}


def _unsafely(path):
    """Open a file without protection, to test that the attack works and is detected."""
    import keras
    import numpy as np

    if path.endswith(".npz"):
        with np.load(path, allow_pickle=True) as archive:
            return str([archive[name].size for name in archive.files])
    if path.endswith(".keras"):
        return _content(keras.saving.load_model(path, safe_mode=False))
    return str(Path(path, "train", "cat", "b.png").read_bytes())


def _content(found):
    """Return everything that was read from a file as text, to search it for the secret."""
    if hasattr(found, "weights"):
        arrays = b"".join(weight.numpy().tobytes() for weight in found.weights)
        return json.dumps(found.get_config(), default=str) + arrays.decode("latin-1")
    arrays = found.train_images.tobytes() + found.test_images.tobytes()
    return repr((found.name, found.class_names)) + arrays.decode("latin-1")


def _child(case):
    os.chdir(case["inside"])
    sys.path.insert(0, case["inside"])
    tempfile.tempdir = os.environ["TMPDIR"] = case["temporary"]
    os.environ["MNIST_XAI_CANARY"] = case["token"]
    before, environment, seen = _resident(), dict(os.environ), []
    # A hard limit far above the allowed one, so that a failing case does not harm the machine.
    most = before["VmSize"] + 4 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    _watch(seen, case)
    start, used = time.monotonic(), time.process_time()
    try:
        answer = _run(case)
    except BaseException as error:  # noqa: BLE001
        answer = {"message": f"{type(error).__name__}: {error}", "error": "not caught"}
    return answer | {
        "seconds": time.monotonic() - start,
        "processor": time.process_time() - used,
        "memory": _resident()["VmHWM"] - before["VmRSS"],
        "seen": seen,
        "environment": dict(os.environ) == environment,
    }


def _forked(case):
    """Run a case in a fork; kill it when its deadline has passed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reading)
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            with os.fdopen(writing, "wb") as answer:
                answer.write(json.dumps(_child(case)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    content, deadline = b"", time.monotonic() + case.get("deadline", 3 * SECONDS)
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            break
        chunk = os.read(reading, 1 << 20)
        if not chunk:
            break
        content += chunk
    late = time.monotonic() >= deadline
    if late:
        os.killpg(pid, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    if content and not late:
        return json.loads(content)
    return {"error": "killed", "message": f"signal {status & 127}; {'too late' * late}"}


def main():
    """Run cases until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Output of libraries must not mix with the answers.
    start = time.monotonic()
    import mnist_xai as mx
    from mnist_xai.cli import terminal

    # Import everything that a case may need, so that imports do not count as its time.
    terminal.start_tensorflow = lambda: None
    for name in ("load_model", "load_data", "Network", "evaluate", "explain", "plots"):
        getattr(mx, name)
    answers.write(json.dumps({"import": time.monotonic() - start}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(_forked(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
