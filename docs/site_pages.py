"""Pages that are generated when the site is built, from the registries and the docstrings.

A page asks for generated text with a comment on a line of its own: `<!-- generated: gallery -->`.
"""

import re
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import api_reference
import bibliography
from page_text import table

import mnist_xai as mx
from mnist_xai.interpret import METHODS, Method
from mnist_xai.interpret.methods import docstrings

FAMILIES = {
    "gradient": "These methods differentiate the score with respect to the pixels. A single "
    "gradient is noisy; the others average gradients along a path or over noisy copies.",
    "class activation map": "These methods weight the channels of a convolutional layer. Most of "
    "the maps are coarse: they show a region, not a pixel.",
    "relevance": "These methods pass the score back layer by layer, with a rule for each kind of "
    "layer. Most cost a few passes. A layer without a rule is an error that names the layer.",
    "perturbation": "These methods change the image and compare the scores. They use only the "
    "outputs of the model and cost the most passes.",
}

_MARK = re.compile(r"^<!-- generated: ([\w-]+)(?: ([\w.]+))? -->$", re.MULTILINE)


def choosing() -> str:
    """Return the methods by family: what each shows, its caveat and its cost."""
    network = mx.Network(mx.build_model("cnn"))
    parts = []
    for family, names in _by_family():
        parts.append(f"### {family[0].upper()}{family[1:]}\n\n{FAMILIES.get(family, '')}\n")
        rows = [
            (
                f"[{name}](methods.md#{name})",
                _sentence(METHODS[name].about.shows),
                _sentence(METHODS[name].about.caveat),
                docstrings.cost(METHODS[name], network),
            )
            for name in names
        ]
        parts.append(table(("method", "shows", "caveat", "cost"), rows))
    return "\n".join(parts)


def promises() -> str:
    """Return which methods make each promise, a row for each."""
    kept: dict[str, list[str]] = {}
    for name, method in METHODS.items():
        for promise in docstrings.promises(method):
            kept.setdefault(promise, []).append(f"[{name}](methods.md#{name})")
    return table(("promise", "methods"), [(word, ", ".join(names)) for word, names in kept.items()])


def gallery() -> str:
    """Return the pictures of all methods with captions, family by family."""
    parts = []
    for family, names in _by_family():
        parts.append(f"## {family[0].upper()}{family[1:]}\n\n::::{{container}} gallery\n")
        parts += [_picture(name, METHODS[name]) for name in names]
        parts.append("::::\n")
    return "\n".join(parts)


def _picture(name: str, method: Method) -> str:
    return (
        f":::{{figure}} images/methods/{name}.png\n:alt: Maps of {name} for a seven and a three\n\n"
        f"[{name}](methods.md#{name}) shows {method.about.shows}.\n:::\n"
    )


def _by_family() -> list[tuple[str, list[str]]]:
    return [
        (key, list(names)) for key, names in groupby(METHODS, lambda n: METHODS[n].about.family)
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


GENERATED: Mapping[str, Callable[..., str]] = {
    "api": api_reference.page,
    "foundations": api_reference.foundations_page,
    "bibliography": bibliography.page,
    "choosing": choosing,
    "promises": promises,
    "gallery": gallery,
}
"""What a page can ask for."""


def fill(text: str) -> str:
    """Return a page's text with the generated parts in the place of their marks."""
    return _MARK.sub(lambda found: GENERATED[found[1]](*filter(None, [found[2]])), text)


PAGES_OF_FILES = {"../SECURITY.md": "security.md", "../CONTRIBUTING.md": "contributing.md"}
"""Files of the repository, and the pages that show them."""


def _read(_app: Any, _page: str, source: list[str]) -> None:
    text = fill(source[0])
    for path, page in PAGES_OF_FILES.items():
        text = text.replace(f"]({path}", f"]({page}")
    source[0] = text


def setup(app: Any) -> dict[str, bool]:
    """Register the hook with Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
