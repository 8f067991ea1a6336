"""`python -m tests.hostile`: print time and memory of every kind of hostile file."""

import tempfile
from pathlib import Path

from tests.hostile.corpus import CASES, Box
from tests.hostile.test_hostile import Cage, run


def main():
    """Open the file of every case once; print a line for each kind of file."""
    kinds = {}
    cage = Cage()
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            answer, _ = run(cage, Box(Path(folder)), case)
        kinds.setdefault(case.write.__module__.split(".")[-1], []).append((case, answer))
    cage.close()
    print("kind    cases  refused  read  harm  slowest, s  most memory, MiB")
    for kind, answers in kinds.items():
        refused = sum(bool(answer.get("message")) for _, answer in answers)
        harm = sum(bool(answer.get("seen")) or "seconds" not in answer for _, answer in answers)
        seconds = max(answer.get("seconds", float("inf")) for _, answer in answers)
        memory = max(answer.get("memory", float("inf")) for _, answer in answers) / 2**20
        print(
            f"{kind:8}{len(answers):5} {refused:8} {len(answers) - refused:5} {harm:5} "
            f"{seconds:11.2f} {memory:17.0f}"
        )


if __name__ == "__main__":
    main()
