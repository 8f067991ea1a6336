"""No reader fails on inputs that once broke one, or on inputs that the fuzzer starts from."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

REGRESSIONS = sorted(Path(__file__).with_name("regressions").iterdir())


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_an_input_that_once_broke_a_reader_is_read_or_refused(path, tmp_path):
    TARGETS[path.name.split("-")[0]].run(path.read_bytes(), tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_every_reader_handles_the_inputs_that_the_fuzzer_starts_from(name, tmp_path):
    for seed in TARGETS[name].seeds():
        for content in (seed, seed[:-1], seed[: len(seed) // 2], seed[:1], b"", seed + b"\0"):
            TARGETS[name].run(content, tmp_path)


def test_the_regression_inputs_are_small_and_belong_to_a_target():
    assert REGRESSIONS
    assert max(path.stat().st_size for path in REGRESSIONS) <= 4096
    assert {path.name.split("-")[0] for path in REGRESSIONS} <= set(TARGETS)
