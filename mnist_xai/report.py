"""One self-contained HTML page of figures and tables."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import jinja2
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, a sentence, and a picture or a table, or both.

    Attributes:
        title: The heading.
        text: What is to be seen, in plain words.
        picture: A PNG; its alternative text is `text`.
        table: Rows, the first of which is the head.
    """

    title: str
    text: str
    picture: bytes | None = None
    table: Sequence[Sequence[str]] | None = None

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
    source = files("mnist_xai").joinpath("templates", "page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(source).render(
        title=title, summary=summary, sections=sections, files_beside=files_beside
    )
