"""Inputs that once broke a reader, and those the fuzzer begins with, break none."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

KEPT = sorted(Path(__file__).with_name("regressions").iterdir())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_once_broke_a_reader_is_refused(path, tmp_path):
    TARGETS[path.name.split("-")[0]].run(path.read_bytes(), tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_every_reader_survives_what_the_fuzzer_begins_with(name, tmp_path):
    for seed in TARGETS[name].seeds():
        for content in (seed, seed[:-1], seed[: len(seed) // 2], seed[:1], b"", seed + b"\0"):
            TARGETS[name].run(content, tmp_path)


def test_kept_inputs_are_small():
    assert KEPT
    assert max(path.stat().st_size for path in KEPT) <= 4096
    assert {path.name.split("-")[0] for path in KEPT} <= set(TARGETS)
