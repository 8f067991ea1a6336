"""What is to be known of a method, read from its docstrings: for the docs and the command line."""

import inspect
import re
from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from typing import Any

from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.methods.base import Complete, Conservative, Method

_HEADS = re.compile(r"^(Attributes|Args|Returns|Raises|Source):[ \n]*", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): ", re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter: its name, its value and what it means."""

    name: str
    value: str
    meaning: str


def parts_of(thing: Callable[..., Any]) -> dict[str, str]:
    """The parts of a docstring by their heads, `Args` and others; what leads, by `""`."""
    pieces = _HEADS.split(inspect.getdoc(thing) or "")
    return {"": pieces[0].strip(), **dict(zip(pieces[1::2], pieces[2::2], strict=True))}


def definition(method: Method) -> str:
    """The equation of a method, with those of the rules that it is made of; Markdown."""
    rules: dict[Any, list[str]] = {}
    for field in _fields(method):
        value = getattr(method, field.name)
        if hasattr(value, "shares"):
            rules.setdefault(value, []).append(field.name)
    lines = [f"- {', '.join(names)}: {_brief(rule)}" for rule, names in rules.items()]
    return "\n\n".join([parts_of(type(method))[""], *(["\n".join(lines)] if lines else [])])


def parameters(method: Method) -> list[Parameter]:
    """The hyper-parameters of a method with the values that it has."""
    meanings: dict[str, str] = {}
    for kind in reversed(type(method).__mro__):
        # Not with inspect.getdoc, which takes a base's docstring for that of a class without.
        entries = _ENTRY.split(_indented(kind.__dict__.get("__doc__")))
        meanings |= dict(zip(entries[1::2], entries[2::2], strict=True))
    return [
        Parameter(field.name, repr(getattr(method, field.name)), _line(meanings[field.name]))
        for field in _fields(method)
    ]


def promises(method: Method) -> list[str]:
    """What a method promises of its maps, in a word or two each."""
    about = method.about
    # In this order: a method can have baselines, and account for them.
    sums = ["accounted"] if isinstance(method, Conservative) else []
    sums = sums or (["complete"] if isinstance(method, Complete) else [])
    return [
        *sums,
        "signed" if about.signed else "unsigned",
        *([] if about.class_sensitive else ["blind to the class"]),
        f"per {place(method)}",
    ]


def place(method: Method) -> str:
    """What a method has a value for: each `"pixel"` in each channel, or each `"place"`."""
    returns = _returned(method)
    if "(N, H, W, 1)" in returns:
        return "place"
    return "pixel" if "(N, H, W, C)" in returns else place(_wrapped(method))


def returned(method: Method) -> str:
    """What a method's maps are, their shape and units."""
    text = _returned(method)
    return text if "(N, H, W" in text else f"{text} Here: {_returned(_wrapped(method))}"


def cost(method: Method, network: Network) -> str:
    """How often a method runs through a network for an image, such as `"256 gradient passes"`."""
    passes = method.passes(network)
    return f"{passes:,.10g} {method.about.unit} pass{'' if passes == 1 else 'es'}"


def _fields(method: Any) -> tuple[Field[Any], ...]:
    """A method's hyper-parameters: methods are dataclasses, which their protocol cannot say."""
    return fields(method)


def _wrapped(method: Method) -> Method:
    """The method whose maps are averaged by this one."""
    return getattr(method, "method")  # noqa: B009


def _returned(method: Method) -> str:
    lead = parts_of(type(method).__call__)[""]
    return _line(lead.removeprefix("Return ").split("\n\n")[0])


def _brief(rule: Any) -> str:
    return f"`{rule!r}`: {_line(parts_of(type(rule))[''])}"


def _indented(docstring: str | None) -> str:
    """The part `Attributes` of a class's own docstring, indented."""
    pieces = _HEADS.split(inspect.cleandoc(docstring or ""))
    named = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    # The head swallows the first entry's indentation, or leaves it.
    return "    " + named.get("Attributes", "").lstrip()


def _line(text: str) -> str:
    return " ".join(text.split())
