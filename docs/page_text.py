"""Markdown that is written by a script: tables, and a check whether a committed page is stale."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with its head; a bar within a cell is escaped, because it ends a cell."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return "".join(f"| {line} |\n" for line in cells)


def write_or_check(path: Path, make: Callable[[], str], script: str, does: str) -> int | None:
    """Write a page, or with `--check` compare it; return 1 if stale, 0 if not, None if written.

    Args:
        path: The page.
        make: Returns its text.
        script: How the script is called, for messages.
        does: What the script does, for `--help`.
    """
    parser = argparse.ArgumentParser(prog=script, description=does)
    parser.add_argument("--check", action="store_true", help="compare the text, write nothing")
    arguments = parser.parse_args()
    text = make()
    if not arguments.check:
        path.write_text(text, encoding="utf-8")
        return None
    stale = not path.exists() or path.read_text(encoding="utf-8") != text
    if stale:
        sys.stderr.write(f"{path}: out of date; run python {script}\n")
    return int(stale)
