"""Pages that are generated when the site is built, from the registries and the docstrings."""

import re
from collections.abc import Callable
from typing import Any

import api_reference

ROOT_FILES = ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")

GENERATED: dict[str, Callable[..., str]] = {
    "reference": api_reference.page,
    "foundations": api_reference.foundations_page,
}

_PLACE = re.compile(r"^<!-- generated: (\w+)(?: ([\w.]+))? -->$", re.MULTILINE)


def fill(text: str) -> str:
    """Return a page's text with the generated part in the place of its mark."""
    return _PLACE.sub(lambda found: GENERATED[found[1]](*filter(None, [found[2]])), text)


def _read(_app: Any, _name: str, source: list[str]) -> None:
    source[0] = fill(source[0])


def setup(app: Any) -> dict[str, bool]:
    """Register the hook with Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
