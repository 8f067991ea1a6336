"""The system clock is changed during the work."""

import ast
import itertools
import time
from pathlib import Path

import pytest

import mnist_xai as mx
from tests.faults.trials import BUDGET, RECIPE, digits

DAY, YEAR = 86_400, 31_557_600


@pytest.fixture
def jumping_clock(monkeypatch):
    """A system clock that jumps by days and years in both directions, also to 1970."""
    now = time.time()
    jumps = itertools.cycle((0, DAY, -YEAR, -now, YEAR, -now + 1, -DAY))
    monkeypatch.setattr(time, "time", lambda: now + next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))


def test_a_training_does_not_depend_on_the_clock(tmp_path, jumping_clock, monkeypatch, capsys):
    def train(name, **given):
        call = {"data": digits(), "recipe": RECIPE, "save_to": tmp_path / name, **given}
        return mx.train(**call)

    jumped = train("jumped.keras", tensorboard=tmp_path / "board", csv=tmp_path / "a.csv")
    monkeypatch.undo()
    plain = train("plain.keras", csv=tmp_path / "b.csv")
    assert jumped.path.read_bytes() == plain.path.read_bytes()
    assert jumped.card == plain.card
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_an_audit_does_not_depend_on_the_clock(tmp_path, jumping_clock, monkeypatch, capsys):
    model = mx.build_model(seed=0)

    def audit(name):
        page = tmp_path / name
        return mx.audit(model, digits(), methods=["gradient"], budget=BUDGET, save_to=page)

    jumped = audit("jumped.html")
    monkeypatch.undo()
    plain = audit("plain.html")
    assert jumped.table() == plain.table()
    for found in (jumped, plain):
        assert all(0 < result.seconds < 60 for result in found.results.values())


def test_no_module_reads_the_system_clock():
    forbidden = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime", "ctime"}
    for path in Path(mx.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = getattr(node.func.value, "id", "")
                reads = owner in {"time", "datetime", "date"} and node.func.attr in forbidden
                assert not reads, f"{path}: line {node.lineno}"
