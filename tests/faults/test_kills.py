"""Kill -9 at a few moments of everything that writes; `make faults` tries many."""

import random
import subprocess
import sys

import pytest


@pytest.mark.parametrize("work", ["save", "download", "train", "audit"])
def test_after_a_kill_files_are_old_or_new_and_the_next_run_gives_the_same_bytes(work):
    trials = {"save": 2, "download": 2, "train": 1, "audit": 1}[work]
    seed = random.Random().randrange(10**6)  # Other moments each time; a failure shows the seed.
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.kills", "--work", work, "--no-steps",
         "--trials", str(trials), "--seed", str(seed)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    assert done.stdout.splitlines()[-1].split()[4] == str(trials)
