"""The findings of the zoo as a Markdown page: family of model × family of method."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.zoo.trials import FAMILIES, Finding, Verdict

_MARKS = {
    Verdict.RIGHT: "right",
    Verdict.ASKED: "right\\*",
    Verdict.REFUSED: "refused",
    Verdict.UNCHECKED: "not checked",
    Verdict.DEAD_END: "**no way out**",
    Verdict.WRONG: "**wrong**",
}
_HEAD = """# The zoo

Models as their owners have them, each tried with six families of methods. `make zoo` makes this
page. Weights are random, pictures are made on the spot, images are what the model takes.

- *right*: the map equals what plain calls of the model give (a `GradientTape`, the score of each
  changed image), or it keeps the sum that the method promises, both ends taken from the model.
- *right\\**: the same, after `pixels=` said which range the pixels have. Nothing is guessed.
- *refused*: the message says why and what to do; the reasons follow each table. *m of n* are
  right, the others are refused.
"""


@dataclass
class Row:
    """A model of the zoo, and what came of each family of methods."""

    kind: str
    name: str
    findings: dict[str, list[Finding]] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return the row on one line."""
        cells = {
            f: [(x.method, x.verdict.name, x.why) for x in v] for f, v in self.findings.items()
        }
        return json.dumps({"kind": self.kind, "name": self.name, "findings": cells})

    @classmethod
    def of_json(cls, line: str) -> "Row":
        """Return the row of a line."""
        stored = json.loads(line)
        findings = {
            family: [Finding(Verdict[verdict], method, why) for method, verdict, why in found]
            for family, found in stored["findings"].items()
        }
        return cls(stored["kind"], stored["name"], findings)

    @property
    def all(self) -> list[Finding]:
        """All findings."""
        return [finding for family in self.findings.values() for finding in family]

    def verdict(self, family: str) -> Verdict:
        """Return the worst verdict of a family."""
        return max(finding.verdict for finding in self.findings[family])

    def cell(self, family: str) -> str:
        """Return what the table says of a family."""
        found = self.findings.get(family)
        if not found:
            return ""
        refused = [finding for finding in found if finding.verdict is Verdict.REFUSED]
        worst = self.verdict(family)
        if worst is Verdict.REFUSED and len(refused) < len(found):
            return f"{len(found) - len(refused)} of {len(found)}"
        return _MARKS[worst]


def page(rows: Iterable[Row], models: int) -> str:
    """Return the page for the rows of some, or all, of the `models` of the zoo."""
    rows = list(rows)
    kinds = dict.fromkeys(row.kind for row in rows)
    tried = f"{len(rows)} of {models} models were tried in the runs that this page is from.\n"
    return "\n".join(
        [_HEAD, tried, *(_section(k, [r for r in rows if r.kind == k]) for k in kinds)]
    )


def _section(kind: str, rows: list[Row]) -> str:
    head = ["model", *FAMILIES]
    body = [[row.name, *(row.cell(family) for family in FAMILIES)] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    reasons = "\n".join(_reasons(rows))
    return f"## {kind}\n\n{table}\n" + (f"\n{reasons}\n" if reasons else "")


def _reasons(rows: list[Row]) -> list[str]:
    """Return one line for each reason of a refusal, with the models and methods it concerns."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        for reason in dict.fromkeys(_plain(f.why) for f in row.all if f.verdict >= Verdict.REFUSED):
            methods = [f.method for f in row.all if f.verdict >= Verdict.REFUSED]
            methods = [m for m in methods if m in _methods_with(row, reason)]
            which = "every method" if len(methods) == len(row.all) else ", ".join(methods)
            by_reason.setdefault(reason, []).append(f"{row.name} ({which})")
    return [f"- {'; '.join(names)}:\n  `{reason}`" for reason, names in by_reason.items()]


def _methods_with(row: Row, reason: str) -> set[str]:
    return {f.method for f in row.all if f.why and _plain(f.why) == reason}


def _plain(why: str) -> str:
    """Return a message on one line, without its type and numbers in the names of layers."""
    message = " ".join(why.split()).split(": ", 1)[-1]
    return re.sub(r"(?<=[a-z])_\d+\b", "", message).replace("`", "'")
