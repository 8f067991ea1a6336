"""Kill -9 at a few moments of everything that writes; `make faults` tries many."""

import random
import subprocess
import sys

from tests.faults.trials import WORK


def test_after_a_kill_files_are_old_or_new_and_the_next_run_gives_the_same_bytes():
    seed = random.Random().randrange(10**6)  # Other moments each time; a failure shows the seed.
    done = subprocess.run(  # One process for all kinds of work: it imports TensorFlow once.
        [sys.executable, "-m", "tests.faults.kills", "--no-steps", "--trials", "1",
         "--seed", str(seed)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == list(WORK)
    assert {row[4] for row in rows} == {"1"}
