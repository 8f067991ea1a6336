"""The methods as text for a terminal: all of them in a table, or one of them in full."""

from collections.abc import Mapping
from itertools import zip_longest
from textwrap import fill, wrap

from mnist_xai.interpret import METHODS, Method, Network
from mnist_xai.interpret.methods import docstrings

_NARROW = 100  # Columns below which two columns of sentences leave too few words to a line.
_SENTENCE = 100  # Columns beyond which a line is tiring to read.


def of_family(family: str) -> dict[str, Method]:
    """The methods of a family, which the beginning of its name will do for.

    Raises:
        ValueError: When no family's name, or several, begin so.
    """
    families = dict.fromkeys(method.about.family for method in METHODS.values())
    meant = [f for f in families if f.startswith(family.lower())]
    if len(meant) != 1:
        raise ValueError(f"family: expected one of {', '.join(families)}; got {family!r}")
    return {name: method for name, method in METHODS.items() if method.about.family == meant[0]}


def table(methods: Mapping[str, Method], network: Network, width: int) -> str:
    """Methods with family, cost, what they show and when they mislead.

    Args:
        methods: The methods by name.
        network: What the costs are of.
        width: Columns of the terminal. A narrow one gets the sentences below one another.
    """
    rows = [
        (name, m.about.family, docstrings.cost(m, network), m.about.shows, m.about.caveat)
        for name, m in methods.items()
    ]
    if width < _NARROW:
        return "\n\n".join(_stacked(*row, width=width) for row in rows)
    widths = [max(map(len, methods)), 12, 8]
    sentence = (width - sum(widths) - 2 * (len(widths) + 1)) // 2
    widths += [min(sentence, _SENTENCE)] * 2
    head = _aligned(("method", "family", "passes", "shows", "misleads"), widths)
    body = [_aligned((*row[:2], row[2].rsplit(" ", 1)[0], *row[3:]), widths) for row in rows]
    return "\n\n".join([head, *body])


def details(name: str, method: Method, network: Network, width: int) -> str:
    """One method in full: its equation, what it promises, its hyper-parameters, its source."""
    width = min(width, _SENTENCE)
    about = method.about
    facts = {
        "shows": about.shows,
        "misleads": about.caveat,
        "promises": ", ".join(docstrings.promises(method)),
        "returns": docstrings.returned(method),
        "cost": f"{docstrings.cost(method, network)} for an image of the case study",
        "reference": about.reference,
        "class": f"mnist_xai.interpret.{type(method).__name__}",
    }
    parts = [
        f"{name} ({about.family})",
        *(_paragraph(text, width) for text in docstrings.definition(method).split("\n\n")),
        "\n".join(_hanging(head, text, 11, width) for head, text in facts.items()),
    ]
    parameters = docstrings.parameters(method)
    if parameters:
        lines = [f"{p.name} = {p.value}\n{_indented(p.meaning, width)}" for p in parameters]
        parts.append("\n".join(["Hyper-parameters", *(f"  {line}" for line in lines)]))
    return "\n\n".join(parts)


def _stacked(name: str, family: str, cost: str, shows: str, caveat: str, *, width: int) -> str:
    head = f"{name} ({family}, {cost})"
    sentences = (("  shows", shows), ("  caveat", caveat))
    return "\n".join([head, *(_hanging(key, text, 12, width) for key, text in sentences)])


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    """A row of a table, each cell wrapped within its column."""
    columns = [wrap(cell, w) for cell, w in zip(cells, widths, strict=True)]
    lines = (
        "  ".join(part.ljust(w) for part, w in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*columns, fillvalue="")
    )
    return "\n".join(lines)


def _hanging(head: str, text: str, indent: int, width: int) -> str:
    return fill(
        text, width, initial_indent=head.ljust(indent), subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )  # fmt: skip


def _indented(text: str, width: int) -> str:
    return fill(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _paragraph(text: str, width: int) -> str:
    """A paragraph wrapped; an equation that stands by itself as it is, and a list line by line."""
    if text.startswith("    "):
        return text
    if text.startswith("- "):
        lines = text.split("\n")
        return "\n".join(fill(line, width, subsequent_indent="  ") for line in lines)
    return fill(text, width)
