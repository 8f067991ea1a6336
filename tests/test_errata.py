"""Run `docs/errata.md`: under every heading the article's version fails and ours works."""

import doctest
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "errata.md").read_text(encoding="utf-8")
UNTESTED = "Claims that no program can test"  # The last heading: history and software.
SECTIONS = {s.partition("\n")[0]: s for s in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
ERRATA = {heading: s for heading, s in SECTIONS.items() if heading != UNTESTED}


def test_headings_are_unique_and_in_the_order_of_the_articles():
    headings = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert len(headings) == len(SECTIONS)
    assert headings[-1] == UNTESTED
    sections = []
    for heading in ERRATA:
        match = re.match(r"(00[0-4]) §([\d.]+)(?: and §[\d.]+)?: \S", heading)
        assert match, heading
        sections.append((match[1], [int(part) for part in match[2].split(".")]))
    assert sections == sorted(sections)
    assert {document for document, _ in sections} == {"000", "001", "002", "003", "004"}


def test_the_number_at_the_top_matches_the_headings():
    assert int(re.search(r"^(\d+) errata", TEXT, re.MULTILINE)[1]) == len(ERRATA)


@pytest.mark.parametrize("heading", ERRATA)
def test_the_articles_version_fails_and_ours_works(heading, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Some examples write files.
    test = doctest.DocTestParser().get_doctest(ERRATA[heading], {}, heading, "errata.md", 0)
    assert len(test.examples) >= 2, "expected an example that fails and one that works"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    report = []
    doctest.DocTestRunner(optionflags=flags, verbose=False).run(test, out=report.append)
    assert not report, "".join(report)


def test_a_false_claim_is_detected():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", "errata.md", 0)
    report = []
    doctest.DocTestRunner(verbose=False).run(wrong, out=report.append)
    assert "Expected:\n    3\nGot:\n    2\n" in "".join(report)
