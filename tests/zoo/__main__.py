"""Try every family of methods on every model of the zoo; print the findings, write the table.

.venv/bin/python -m tests.zoo [--only PATTERN] [--family PATTERN] [--save-to docs/zoo.md]

Findings are kept in a file; with `--only`, the page takes those of the other models from it.

Exits with 1 when a map is wrong, a refusal has no way out, or a map could not be checked.
"""

import argparse
import gc
import sys
import time
from pathlib import Path

import keras

from tests.zoo.models import ALL
from tests.zoo.specimen import Build
from tests.zoo.table import Row, page
from tests.zoo.trials import FAMILIES, Subject, Verdict, try_family


def main() -> int:
    """Run the trials that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo")
    parser.add_argument("--only", default="", help="Part of a kind's or model's name.")
    parser.add_argument("--family", default="", help="Part of the name of a family of methods.")
    parser.add_argument("--findings", type=Path, default=Path("runs/zoo.jsonl"))
    parser.add_argument("--save-to", type=Path, help="Markdown page with the table.")
    given = parser.parse_args()
    rows = [
        _try_model(kind, name, build, given.family)
        for kind, builds in ALL.items()
        for name, build in builds.items()
        if given.only.lower() in f"{kind}/{name}".lower()
    ]
    if not rows:
        parser.error(f"--only: expected a part of a kind's or model's name; got {given.only!r}")
    if given.save_to:
        kept = _kept(given.findings) | {(row.kind, row.name): row for row in rows}
        order = [(kind, name) for kind, builds in ALL.items() for name in builds]
        given.save_to.write_text(page([kept[key] for key in order if key in kept], len(order)))
        given.findings.parent.mkdir(exist_ok=True)
        given.findings.write_text("".join(f"{row.as_json()}\n" for row in kept.values()))
    worst = max(finding.verdict for row in rows for finding in row.all)
    return int(worst > Verdict.REFUSED)


def _try_model(kind: str, name: str, build: Build, family: str) -> Row:
    """Try the families of methods whose names contain `family` on one model."""
    start, subject, row = time.perf_counter(), Subject(build()), Row(kind, name)
    for one in FAMILIES:
        if family in one:
            row.findings[one] = try_family(subject, one)
    _report(row, time.perf_counter() - start)
    del subject
    keras.backend.clear_session()
    gc.collect()
    return row


def _kept(findings: Path) -> dict[tuple[str, str], Row]:
    """Return the rows of earlier runs."""
    lines = findings.read_text().splitlines() if findings.exists() else []
    rows = map(Row.of_json, lines)
    return {(row.kind, row.name): row for row in rows}


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
