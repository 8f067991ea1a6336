"""Part of `make faults`: kill -9 at random moments, and at every access to a file."""

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.faults.trials import WORK, Bench, digits


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs="*", choices=WORK, default=list(WORK))
    parser.add_argument(
        "--trials", type=int, default=30, help="random moments for each kind of work"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-steps", action="store_true", help="random moments only")
    given = parser.parse_args()
    digits()
    print("work      seconds  moments  killed  survived  steps  survived", flush=True)
    lost = 0
    for work in given.work:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), work)
            try:
                lost += report(bench, given)
            finally:
                bench.close()
    raise SystemExit(bool(lost))


def report(bench, given):
    draw = random.Random(f"{given.seed} {bench.work}")
    killed, survived, steps, kept = 0, 0, 0, 0
    start = time.monotonic()
    for _ in range(given.trials):
        moment = draw.random()
        try:
            killed += bench.trial(moment)
            survived += 1
        except AssertionError as error:
            print(f"{bench.work}, at {moment:.3f} of its duration: {error}", flush=True)
    while not given.no_steps:
        try:
            if not bench.trial(at_step=steps + 1):
                break
            kept += 1
        except AssertionError as error:
            print(f"{bench.work}, at step {steps + 1}: {error}", flush=True)
        steps += 1
    print(
        f"{bench.work:9} {bench.seconds:7.2f} {given.trials:8} {killed:7} {survived:9} {steps:6} "
        f"{kept:9}   ({time.monotonic() - start:.0f} s)",
        flush=True,
    )
    return given.trials - survived + steps - kept


if __name__ == "__main__":
    main()
