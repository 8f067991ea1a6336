"""Every row of `docs/formulas.md` names a function, a test and an erratum that exist."""

import re
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "formulas.md").read_text(encoding="utf-8")
ERRATA = (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")

KINDS = ("displayed", "inline", "code")
VERDICTS = ("right", "incomplete", "wrong")


class Row(NamedTuple):
    number: str
    section: str
    kind: str
    formula: str
    verdict: str
    function: str
    test: str


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


ROWS = [Row(*cells(line)) for line in TEXT.splitlines() if re.match(r"\| 00\d\.\d", line)]


def verdict(row):
    return re.match(r"\w*", row.verdict)[0]


def anchor(heading):
    """Return the anchor that GitHub derives from a heading."""
    characters = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
    return characters.replace(" ", "-")


HEADINGS = {anchor(heading) for heading in re.findall(r"^## (.+)$", ERRATA, re.MULTILINE)}


def test_rows_are_numbered_without_gaps_in_the_order_of_the_sections():
    for document in ("000", "001", "002", "003", "004"):
        rows = [row for row in ROWS if row.number.startswith(document)]
        assert [row.number for row in rows] == [f"{document}.{i + 1}" for i in range(len(rows))]
        sections = [[int(n) for n in row.section.strip("§").split(".")] for row in rows]
        assert sections == sorted(sections)


def test_the_counts_at_the_top_match_the_rows():
    table = [cells(line) for line in TEXT.splitlines() if re.match(r"\| (\[00\d\]|all) ?", line)]
    stated = {re.search(r"00\d|all", line[0])[0]: [int(n) for n in line[1:]] for line in table}
    counted = Counter()
    for row in ROWS:
        for document in (row.number[:3], "all"):
            counted.update((document, column) for column in (row.kind, verdict(row), "rows"))
    assert len(stated) == 6
    for document, numbers in stated.items():
        columns = (*KINDS, "rows", *VERDICTS)
        assert numbers == [counted[document, column] for column in columns], document


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number)
def test_a_row_has_a_function_and_a_test_and_an_erratum_unless_it_is_right(row):
    assert row.kind in KINDS
    assert verdict(row) in VERDICTS
    assert re.fullmatch(r"`.+`", row.formula)

    module, name = row.function.strip("`").rsplit(".", 1)
    assert callable(getattr(import_module(f"mnist_xai.{module}"), name))

    file, name = row.test.strip("`").split("::")
    assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8")

    links = re.findall(r"\(errata\.md#(.+?)\)", row.verdict)
    assert links or row.verdict == "right"
    assert HEADINGS.issuperset(links)


@pytest.mark.parametrize("page", ["formulas.md", "errata.md"])
def test_links_between_the_pages_have_a_target(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([\w./]*)#?([^)]*)\)", text)
    assert links
    for file, target in links:
        linked = (ROOT / "docs" / (file or page)).read_text(encoding="utf-8")
        anchors = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", linked, re.MULTILINE)}
        assert not target or target in anchors


def test_a_row_with_a_missing_function_is_detected():
    row = ROWS[0]._replace(function="`foundations.dense.missing`")
    with pytest.raises(AttributeError, match="missing"):
        test_a_row_has_a_function_and_a_test_and_an_erratum_unless_it_is_right(row)
