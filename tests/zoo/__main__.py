"""Try every family of methods on every model of the zoo; print the findings, write the table.

.venv/bin/python -m tests.zoo [--only PATTERN] [--save-to docs/zoo.md]

Exits with 1 when a map is wrong, a refusal has no way out, or a map could not be checked.
"""

import argparse
import gc
import sys
import time
from pathlib import Path

import keras

from tests.zoo.models import ALL
from tests.zoo.table import Row, page
from tests.zoo.trials import FAMILIES, Subject, Verdict, try_family


def main() -> int:
    """Run the trials that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo")
    parser.add_argument("--only", default="", help="Part of a kind's or model's name.")
    parser.add_argument("--family", default="", help="Part of the name of a family of methods.")
    parser.add_argument("--save-to", type=Path, help="Markdown page with the table.")
    given = parser.parse_args()
    rows: list[Row] = []
    for kind, builds in ALL.items():
        for name, build in builds.items():
            if given.only.lower() in f"{kind}/{name}".lower():
                start, subject = time.perf_counter(), Subject(build())
                row = Row(kind, name)
                for family in FAMILIES:
                    if given.family in family:
                        row.findings[family] = try_family(subject, family)
                rows.append(row)
                _report(row, time.perf_counter() - start)
                del subject
                keras.backend.clear_session()
                gc.collect()
    if given.save_to:
        given.save_to.write_text(page(rows))
    worst = max(finding.verdict for row in rows for finding in row.all)
    return int(worst > Verdict.REFUSED)


def _report(row: Row, seconds: float) -> None:
    cells = ", ".join(f"{family} {row.verdict(family).name}" for family in row.findings)
    print(f"{row.kind}/{row.name} ({seconds:.0f} s): {cells}", flush=True)
    reasons: dict[str, list[str]] = {}
    for finding in row.all:
        if finding.verdict > Verdict.ASKED:
            reasons.setdefault(f"{finding.verdict.name}: {finding.why}", []).append(finding.method)
    for reason, methods in reasons.items():
        print(f"    {', '.join(methods)}: {reason}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
