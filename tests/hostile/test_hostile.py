"""No hostile file runs code, writes or reads outside, hangs, or uses too much memory."""

import json
import re
import subprocess
import sys

import pytest

from tests.hostile import building, data, models, texts  # noqa: F401
from tests.hostile.cage import MEMORY, SECONDS
from tests.hostile.corpus import CASES, Box


class Cage:
    """The process that forks for every case."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.cage"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.started = json.loads(self.process.stdout.readline())

    def ask(self, request):
        """Run one case; return the report on what it did."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def cage():
    cage = Cage()
    yield cage
    cage.close()


@pytest.fixture
def box(tmp_path):
    (tmp_path / "box").mkdir()
    return Box(tmp_path / "box")


def inventory(box):
    """Return mode, size and time of change of every file in the box, except the outputs."""
    found = {}
    for path in sorted(box.root.rglob("*")):
        if box.out not in path.parents:
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return {path: what for path, what in found.items() if not path.endswith(str(box.out))}


def run(cage, box, case, **changes):
    """Open the file of a case in the cage."""
    opened = case.write(box)
    before = inventory(box)
    request = {
        "call": case.call, "token": box.token, "secret": str(box.secret.resolve()),
        "inside": str(box.inside), "out": str(box.out), "temporary": str(box.temporary),
        "arguments" if case.call == "cli" else "path":
            [str(word) for word in opened] if case.call == "cli" else str(opened),
    }  # fmt: skip
    return cage.ask(request | changes), before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_file_does_no_harm(cage, box, case):
    answer, before = run(cage, box, case)
    assert answer.get("error") != "killed", answer
    assert answer["seen"] == [], "asked for something forbidden"
    assert not box.mark.exists(), "ran code"
    changed = {path for path, what in inventory(box).items() if before.get(path) != what}
    # The time of a folder changes when a temporary file in it is created and removed.
    assert changed <= {str(box.temporary)}, "wrote something"
    assert box.token not in answer.get("value", "") + answer.get("message", ""), "read outside"
    assert answer["environment"], "changed the environment"
    # Processor time, because tests run side by side. A case that only waits is killed.
    assert answer["processor"] < SECONDS
    assert answer["memory"] < MEMORY
    message = answer.get("message", "")
    for line in answer.get("value", "").splitlines() if case.call == "cli" else ():
        assert line.isprintable(), "would act on the terminal"
    if case.message is None:
        assert not message
        return
    assert answer.get("error") in {None, "DataError", "ModelFileError", "FileNotFoundError"}, answer
    assert re.search(case.message, message), message
    assert message.isprintable(), "not one line that acts on no terminal"
    assert len(message) < 1000


def unsafely(cage, box, name, **changes):
    """Open the file of a case without protection."""
    case = next(case for case in CASES if case.name == name)
    return run(cage, box, case, call="unsafely", **changes)[0]


def test_the_cage_detects_code_that_runs(cage, box):
    unsafely(cage, box, "lambda_layer")
    assert box.mark.exists()


def test_the_cage_detects_unpickling(cage, box):
    assert any("pickle" in event for event in unsafely(cage, box, "npz_of_pickled_objects")["seen"])
    assert box.mark.exists()


def test_the_cage_detects_reading_outside_the_folder(cage, box):
    answer = unsafely(cage, box, "picture_that_is_a_link_to_the_secret")
    assert answer["seen"] == [f"read {box.secret.resolve()}"]
    assert box.token in answer["value"]


def test_the_cage_detects_too_much_memory(cage, box):
    answer = unsafely(cage, box, "shape_of_more_than_a_gigabyte")
    assert answer.get("error") == "killed" or answer["memory"] > MEMORY


def test_the_cage_kills_a_case_that_waits(cage, box):
    answer = unsafely(cage, box, "picture_that_is_a_pipe", deadline=1)
    assert answer["error"] == "killed"


def test_there_are_at_least_60_cases_with_different_names():
    assert len({case.name for case in CASES}) == len(CASES) >= 60


def test_every_published_attack_has_a_case():
    sources = " ".join(case.source for case in CASES)
    for name in (
        "CVE-2025-1550", "CVE-2025-8747", "CVE-2025-9905", "CVE-2025-9906", "CVE-2025-12058",
        "CVE-2025-12060", "CVE-2025-49655", "CVE-2026-0897", "CVE-2026-1462", "CVE-2026-1669",
        "CVE-2026-12481",
    ):  # fmt: skip
        assert name in sources, name
