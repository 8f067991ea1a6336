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
    """A cell of a table that says more than its text.

    Attributes:
        text: What is read.
        value: What the column is sorted by; by default the text.
        mark: Whether it is to be noticed, and how.
        hint: A sentence shown when a reader points at it, and read out to one who cannot see.
    """

    text: str
    value: float | None = None
    mark: Literal["", "good", "bad"] = ""
    hint: str = ""

    @property
    def key(self) -> str:
        """The value as an attribute of the page; what is not finite comes last."""
        finite = self.value is not None and math.isfinite(self.value)
        return f"{self.value:.9g}" if finite else ""


Table = Sequence[Sequence[str | Cell]]


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, a sentence, and a list, a picture or a table, or several.

    Attributes:
        title: The heading.
        text: What is to be seen, in plain words.
        picture: A PNG; its alternative text is `text`.
        table: Rows, the first of which is the head; readers can sort it by any column.
        points: Sentences, each a point of a list.
    """

    title: str
    text: str
    picture: bytes | None = None
    table: Table | None = None
    points: Sequence[str] = ()

    @property
    def rows(self) -> list[list[Cell]]:
        """The table, every cell a `Cell`."""
        return [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.table or ()]

    @property
    def anchor(self) -> str:
        """The heading as an address within the page."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")

    @property
    def data_uri(self) -> str:
        """The picture as an address that needs no file beside the page."""
        return "data:image/png;base64," + base64.b64encode(self.picture or b"").decode()


def png(figure: Figure) -> bytes:
    """Render a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def html_page(
    title: str, summary: Sequence[str], sections: Sequence[Section], files_beside: Mapping[str, str]
) -> str:
    """Lay out a page that opens from disk and needs nothing beside it.

    Every text is escaped: names of classes and files may hold anything.

    Args:
        title: The page's title.
        summary: The sentences it opens with.
        sections: Its parts, in order.
        files_beside: What lies in the same folder: name and what it is.

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
        # The page may run this script and nothing else, whatever a name in it holds.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _template(name: str) -> str:
    return files("mnist_xai").joinpath("templates", name).read_text(encoding="utf-8")
