"""Read what the docs and the command line say about a method from its docstrings."""

import inspect
import re
from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from typing import Any

from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.methods.base import Complete, Conservative, Method

_HEADINGS = re.compile(r"^(Attributes|Args|Returns|Raises|Source):[ \n]*", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): ", re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter: its name, its value and its meaning."""

    name: str
    value: str
    meaning: str


def parts_of(thing: Callable[..., Any]) -> dict[str, str]:
    """Return the parts of a docstring by heading, such as `Args`; the part before any, as `""`."""
    return _parts(inspect.getdoc(thing) or "")


def definition(method: Method) -> str:
    """Return the equation of a method and the equations of its rules, as Markdown."""
    rules: dict[Any, list[str]] = {}
    for field in _fields(method):
        value = getattr(method, field.name)
        if hasattr(value, "shares"):
            rules.setdefault(value, []).append(field.name)
    lines = [f"- {', '.join(names)}: {_brief(rule)}" for rule, names in rules.items()]
    return "\n\n".join([parts_of(type(method))[""], *(["\n".join(lines)] if lines else [])])


def parameters(method: Method) -> list[Parameter]:
    """Return the hyper-parameters of a method, with this method's values."""
    meanings: dict[str, str] = {}
    for kind in reversed(type(method).__mro__):
        # Not inspect.getdoc: for a class without a docstring it returns that of a base class.
        entries = _ENTRY.split(_attributes(kind.__dict__.get("__doc__")))
        meanings |= dict(zip(entries[1::2], entries[2::2], strict=True))
    return [
        Parameter(field.name, repr(getattr(method, field.name)), _line(meanings[field.name]))
        for field in _fields(method)
    ]


def promises(method: Method) -> list[str]:
    """Return what a method promises about its maps, a word or two for each promise."""
    about = method.about
    # Conservative first, because a method can be both: it may account for its baselines.
    sums = ["accounted"] if isinstance(method, Conservative) else []
    sums = sums or (["complete"] if isinstance(method, Complete) else [])
    return [
        *sums,
        "signed" if about.signed else "unsigned",
        *([] if about.class_sensitive else ["blind to the class"]),
        f"per {place(method)}",
    ]


def place(method: Method) -> str:
    """Return `"pixel"` for maps with a value per pixel and channel, else `"place"`."""
    returns = _returned(method)
    if "(N, H, W, 1)" in returns:
        return "place"
    return "pixel" if "(N, H, W, C)" in returns else place(_wrapped(method))


def returned(method: Method) -> str:
    """Return the shape and units of a method's maps, in words."""
    text = _returned(method)
    return text if "(N, H, W" in text else f"{text} Here: {_returned(_wrapped(method))}"


def cost(method: Method, network: Network) -> str:
    """Return the passes through a network for one image, such as `"256 gradient passes"`."""
    passes = method.passes(network)
    return f"{passes:,.10g} {method.about.unit} pass{'' if passes == 1 else 'es'}"


def _fields(method: Any) -> tuple[Field[Any], ...]:
    """Return a method's fields. Methods are dataclasses, but a protocol cannot declare that."""
    return fields(method)


def _wrapped(method: Method) -> Method:
    """Return the method whose maps a method such as SmoothGrad averages."""
    return getattr(method, "method")  # noqa: B009


def _returned(method: Method) -> str:
    summary = parts_of(type(method).__call__)[""]
    return _line(summary.removeprefix("Return ").split("\n\n")[0])


def _parts(docstring: str) -> dict[str, str]:
    pieces = _HEADINGS.split(docstring)
    return {"": pieces[0].strip(), **dict(zip(pieces[1::2], pieces[2::2], strict=True))}


def _brief(rule: Any) -> str:
    return f"`{rule!r}`: {_line(parts_of(type(rule))[''])}"


def _attributes(docstring: str | None) -> str:
    """Return the entries under `Attributes` in a docstring, each indented by four spaces."""
    attributes = _parts(inspect.cleandoc(docstring or "")).get("Attributes", "")
    # The heading's pattern may have removed the indentation of the first entry.
    return "    " + attributes.lstrip()


def _line(text: str) -> str:
    return " ".join(text.split())
