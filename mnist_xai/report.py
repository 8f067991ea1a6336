"""One self-contained HTML page of figures and tables."""

import base64
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import jinja2
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Cell:
    """A table cell with a sort key, a mark or a hint.

    Attributes:
        text: The text shown.
        value: The number that the column is sorted by; None to sort by the text.
        mark: `"good"` or `"bad"` to highlight the cell.
        hint: A tooltip; screen readers read it out.
    """

    text: str
    value: float | None = None
    mark: Literal["", "good", "bad"] = ""
    hint: str = ""

    @property
    def key(self) -> str:
        """Return the sort key as text; empty, which sorts last, when it is not finite."""
        finite = self.value is not None and math.isfinite(self.value)
        return f"{self.value:.9g}" if finite else ""


Table = Sequence[Sequence[str | Cell]]


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading and a text, with an optional list, picture and table.

    Attributes:
        title: The heading.
        text: What the section shows, in plain words.
        picture: A PNG; its alternative text is `text`.
        table: Rows; the first is the head. Readers can sort the table by any column.
        points: The items of a list.
    """

    title: str
    text: str
    picture: bytes | None = None
    table: Table | None = None
    points: Sequence[str] = ()

    @property
    def rows(self) -> list[list[Cell]]:
        """Return the table with every cell as a `Cell`."""
        return [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.table or ()]

    @property
    def anchor(self) -> str:
        """Return the section's id, for links within the page."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")

    @property
    def data_uri(self) -> str:
        """Return the picture as a data URI, so that the page needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self.picture or b"").decode()


def png(figure: Figure) -> bytes:
    """Render a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def html_page(
    title: str, summary: Sequence[str], sections: Sequence[Section], files_beside: Mapping[str, str]
) -> str:
    """Render a self-contained page, which can be opened from disk without other files.

    All text is escaped, because names of classes and files may hold anything.

    Args:
        title: The page's title.
        summary: The paragraphs at the top.
        sections: The sections, in order.
        files_beside: Files in the same folder to link to: name and description.

    Returns:
        The page as HTML.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    script = _template("sort.js")
    return environment.from_string(_template("page.html")).render(
        title=title,
        summary=summary,
        sections=sections,
        files_beside=files_beside,
        script=script,
        # The page may run only this script, whatever the names on it hold.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _template(name: str) -> str:
    return files("mnist_xai").joinpath("templates", name).read_text(encoding="utf-8")
