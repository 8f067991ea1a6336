"""The methods as text for a terminal: a table of all, or one method in full."""

from collections.abc import Mapping
from itertools import zip_longest
from textwrap import fill, wrap

from mnist_xai.interpret import METHODS, Method, Network
from mnist_xai.interpret.methods import docstrings

_MIN_TABLE_WIDTH = 100  # In a narrower terminal, two columns of sentences get too few words a line.
_MAX_LINE = 100  # Longer lines are hard to read.


def of_family(family: str) -> dict[str, Method]:
    """Return the methods of a family by name; `family` is the beginning of the family's name.

    Raises:
        ValueError: When not exactly one family's name begins with `family`.
    """
    families = dict.fromkeys(method.about.family for method in METHODS.values())
    matching = [f for f in families if f.startswith(family.lower())]
    if len(matching) != 1:
        raise ValueError(f"family: expected one of {', '.join(families)}; got {family!r}")
    return {name: method for name, method in METHODS.items() if method.about.family == matching[0]}


def table(methods: Mapping[str, Method], network: Network, width: int) -> str:
    """Return a table of methods: family, cost, what they show, when they mislead.

    Args:
        methods: The methods by name.
        network: The network that the costs are given for.
        width: Columns of the terminal. In a narrow one, each method gets a paragraph, not a row.
    """
    rows = [
        (name, m.about.family, docstrings.cost(m, network), m.about.shows, m.about.caveat)
        for name, m in methods.items()
    ]
    if width < _MIN_TABLE_WIDTH:
        return "\n\n".join(_as_paragraph(*row, width=width) for row in rows)
    widths = [max(map(len, methods)), 12, 8]
    sentence = (width - sum(widths) - 2 * (len(widths) + 1)) // 2
    widths += [min(sentence, _MAX_LINE)] * 2
    head = _as_row(("method", "family", "passes", "shows", "caveat"), widths)
    body = [_as_row((*row[:2], row[2].rsplit(" ", 1)[0], *row[3:]), widths) for row in rows]
    return "\n\n".join([head, *body])


def details(name: str, method: Method, network: Network, width: int) -> str:
    """Return one method in full: equation, properties, hyper-parameters and source."""
    width = min(width, _MAX_LINE)
    about = method.about
    facts = {
        "shows": about.shows,
        "caveat": about.caveat,
        "promises": ", ".join(docstrings.promises(method)),
        "returns": docstrings.returned(method),
        "cost": f"{docstrings.cost(method, network)} for an image of the case study",
        "reference": about.reference,
        "class": f"{type(method).__module__}.{type(method).__name__}",
    }
    parts = [
        f"{name} ({about.family})",
        *(_wrapped(text, width) for text in docstrings.definition(method).split("\n\n")),
        "\n".join(_labelled(label, text, 11, width) for label, text in facts.items()),
    ]
    parameters = docstrings.parameters(method)
    if parameters:
        lines = [f"{p.name} = {p.value}\n{_indented(p.meaning, width)}" for p in parameters]
        parts.append("\n".join(["Hyper-parameters", *(f"  {line}" for line in lines)]))
    return "\n\n".join(parts)


def _as_paragraph(name: str, family: str, cost: str, shows: str, caveat: str, *, width: int) -> str:
    head = f"{name} ({family}, {cost})"
    sentences = (("  shows", shows), ("  caveat", caveat))
    return "\n".join([head, *(_labelled(label, text, 12, width) for label, text in sentences)])


def _as_row(cells: tuple[str, ...], widths: list[int]) -> str:
    """Return a row of a table, each cell wrapped within its column."""
    columns = [wrap(cell, w) for cell, w in zip(cells, widths, strict=True)]
    lines = (
        "  ".join(part.ljust(w) for part, w in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*columns, fillvalue="")
    )
    return "\n".join(lines)


def _labelled(label: str, text: str, indent: int, width: int) -> str:
    """Return a label followed by text, the text's further lines indented below its first."""
    return fill(
        text, width, initial_indent=label.ljust(indent), subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )  # fmt: skip


def _indented(text: str, width: int) -> str:
    return fill(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _wrapped(text: str, width: int) -> str:
    """Wrap a paragraph; keep an indented equation as it is, and wrap a list item by item."""
    if text.startswith("    "):
        return text
    if text.startswith("- "):
        lines = text.split("\n")
        return "\n".join(fill(line, width, subsequent_indent="  ") for line in lines)
    return fill(text, width)
