"""The bibliography: every paper that a method, a metric, a rule or a docstring cites."""

import inspect
import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import api_reference

from mnist_xai.interpret import METHODS
from mnist_xai.quality import METRICS

PAPERS = Path(__file__).parent / "papers.toml"

_NAME = r"[^\W\d_][\w-]+"
_CITATION = re.compile(rf"(?:{_NAME}(?:, | and ))*{_NAME}(?: et al\.)? (?:19|20)\d\d")
_DETAIL = re.compile(r"[^,;()]*?(?=[,;()]|\.(?: |$)|$)")


@dataclass(frozen=True)
class Paper:
    """A paper with the ways in which it is cited, such as `Bach et al. 2015`."""

    authors: str
    year: int
    title: str
    published: str
    cited: tuple[str, ...]


@dataclass(frozen=True)
class Use:
    """A place that cites a paper: its link in Markdown, and what it takes from the paper."""

    link: str
    citation: str
    detail: str


def papers() -> list[Paper]:
    """Return the papers of `papers.toml`."""
    found = tomllib.loads(PAPERS.read_text(encoding="utf-8"))["paper"]
    return [Paper(**{**paper, "cited": tuple(paper["cited"])}) for paper in found]


def uses() -> list[Use]:
    """Return every citation in the registries and in the docstrings of public names."""
    found = []
    for page, registry in (("methods", METHODS), ("metrics", METRICS)):
        for name, entry in registry.items():
            link = f"[{name}]({page}.md#{name})"
            found += [Use(link, *pair) for pair in citations(entry.about.reference)]
    covered = {type(entry) for entry in (*METHODS.values(), *METRICS.values())}
    for path in dict.fromkeys(api_reference.names().values()):
        value = api_reference.value_of(path)
        described = inspect.isclass(value) or inspect.isfunction(value)
        if described and value not in covered and not path.startswith(api_reference.FOUNDATIONS):
            link = f"`{path.replace('mnist_xai', 'mx', 1)}`"
            found += [Use(link, *pair) for pair in citations(inspect.getdoc(value) or "")]
    return found


def citations(text: str) -> Iterator[tuple[str, str]]:
    """Yield `("Bach et al. 2015", "section 4")` for each citation in a text."""
    line = " ".join(text.split()).replace("eq. ", "equation ")
    for found in _CITATION.finditer(line):
        rest = line[found.end() :].removeprefix(", ")
        yield found[0], _DETAIL.match(rest)[0].strip()


def paper_of(use: Use, known: list[Paper]) -> Paper | None:
    """Return the paper that a citation means: the one with the longest matching form."""
    text = f"{use.citation}, {use.detail}"
    forms = [(form, paper) for paper in known for form in paper.cited if text.startswith(form)]
    return max(forms, key=lambda pair: len(pair[0]))[1] if forms else None


def page() -> str:
    """Return the list of papers with the places that cite each."""
    known = papers()
    by_paper: dict[Paper | str, list[Use]] = {}
    for use in uses():
        by_paper.setdefault(paper_of(use, known) or use.citation, []).append(use)
    entries = [_entry(paper, cited) for paper, cited in by_paper.items()]
    return "\n".join(sorted(entries, key=lambda entry: unicodedata.normalize("NFKD", entry)))


def _entry(paper: Paper | str, cited: list[Use]) -> str:
    places = [f"{use.link} ({use.detail})" if use.detail else use.link for use in cited]
    if isinstance(paper, str):
        head = f"**{paper}**"
    else:
        title = paper.title if paper.title.endswith("?") else f"{paper.title}."
        head = f"**{paper.authors} {paper.year}.** *{title}* {paper.published}."
    return f"- {head} Cited by {'; '.join(dict.fromkeys(places))}."
