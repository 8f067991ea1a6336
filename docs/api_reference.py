"""The API reference: the names that a page lists, and docstrings in the form that Sphinx reads."""

import ast
import functools
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.domains.python import PyObject
from sphinx.pycode import ModuleAnalyzer

PACKAGE = "mnist_xai"
PACKAGES = (PACKAGE, *(f"{PACKAGE}.{name}" for name in ("audit", "interpret", "quality", "plots")))
FOUNDATIONS = f"{PACKAGE}.foundations"


def page(package: str) -> str:
    """Return the Markdown of a page: every public name of a package, grouped by module."""
    exported = _exported(package)
    elsewhere = [name for name in exported if names()[f"{package}.{name}"] != f"{package}.{name}"]
    groups: dict[str, list[str]] = {}
    for name in exported.keys() - set(elsewhere):
        groups.setdefault(_home(name, exported[name]), []).append(f"{package}.{name}")
    parts = [_elsewhere(package, elsewhere)] if elsewhere else []
    for home in sorted(groups):
        parts += [_section(home), *map(_entry, sorted(groups[home]))]
    return "\n".join(parts)


def foundations_page() -> str:
    """Return the Markdown of a page: the functions of every module of the foundations."""
    parts = []
    for module in _submodules():
        parts += [_section(module.__name__), *map(_entry, _functions(module))]
    return "\n".join(parts)


@functools.cache
def names() -> dict[str, str]:
    """Return every public path, such as `mnist_xai.interpret.Network`, and where it is described.

    An object has one description, under the first of `PACKAGES` that exports it.
    """
    first: dict[int, str] = {}
    paths: dict[str, str] = {}
    for package in PACKAGES:
        for name, value in _exported(package).items():
            path = f"{package}.{name}"
            paths[path] = first.setdefault(id(value), path)
    return paths | {path: path for module in _submodules() for path in _functions(module)}


def value_of(path: str) -> Any:
    """Return the object that a public path names."""
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def _exported(package: str) -> dict[str, Any]:
    module = importlib.import_module(package)
    found = {name: getattr(module, name) for name in module.__all__}
    return {name: value for name, value in found.items() if not isinstance(value, ModuleType)}


def _submodules() -> list[ModuleType]:
    return [importlib.import_module(f"{FOUNDATIONS}.{name}") for name in
            importlib.import_module(FOUNDATIONS).__all__]  # fmt: skip


def _functions(module: ModuleType) -> list[str]:
    """Return the paths of the public functions that a module defines."""
    return [
        f"{module.__name__}.{name}"
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]


def _home(name: str, value: Any) -> str:
    """Return the module in which a public name is defined."""
    home = getattr(value, "__module__", "")
    if inspect.isclass(value) or inspect.isfunction(value):
        return home
    return next(module for module, _ in _constants(name, value))


def _constants(name: str, value: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield the modules that document a constant of this name and value, with the text."""
    for path, module in sorted(sys.modules.items()):
        if path.startswith(f"{PACKAGE}.") and getattr(module, name, None) is value:
            text = ModuleAnalyzer.for_module(path).find_attr_docs().get(("", name))
            if text:
                yield path, text


def _section(home: str) -> str:
    """Return the heading of a module, its name within the package, and its docstring."""
    module = importlib.import_module(home)
    return f"## {home.removeprefix(f'{PACKAGE}.')}\n\n{inspect.getdoc(module)}\n"


def _elsewhere(package: str, listed: list[str]) -> str:
    links = ", ".join(f"`{names()[f'{package}.{name}']}`" for name in listed)
    return f"Other names of `{package}` are described on another page: {links}.\n"


def _entry(path: str) -> str:
    """Return the directive that describes one name."""
    name, value = path.rsplit(".", 1)[1], value_of(path)
    if inspect.isclass(value):
        lines = [f".. autoclass:: {path}", "   :members:", "   :special-members: __call__"]
    elif inspect.isfunction(value):
        lines = [f".. autofunction:: {path}"]
    else:
        text = next(text for _, text in _constants(name, value))
        lines = [f".. py:data:: {path}", "", *(f"   {line}" for line in restructured(text))]
        if isinstance(value, Mapping):
            lines += ["", f"   Keys: {', '.join(f'``{key}``' for key in value)}."]
    return "\n".join(["```{eval-rst}", *lines, "```\n"])


# --- Docstrings and signatures ----------------------------------------------------------------


def restructured(lines: list[str]) -> list[str]:
    """Return a docstring's lines as reStructuredText: backticks are code, the rest is plain."""
    pieces = "\n".join(lines).split("`")
    pieces[::2] = [re.sub(r"([*|\\]|_(?!\w))", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(
        piece if not number % 2 else f"``{' '.join(piece.split())}``"
        for number, piece in enumerate(pieces)
    ).split("\n")


def signature(value: Any) -> tuple[str, str | None] | None:
    """Return parameters and result as the source spells them; None where there is no source."""
    if inspect.isclass(value) and is_dataclass(value):
        return _fields(value), None
    function = value.__init__ if inspect.isclass(value) else inspect.unwrap(value)
    if not inspect.isfunction(function):
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except OSError:
        return None
    if not isinstance(tree, ast.FunctionDef):
        return None
    if "." in function.__qualname__:
        tree.args.args = tree.args.args[1:]  # Without `self`.
    result = ast.unparse(tree.returns) if tree.returns and not inspect.isclass(value) else None
    return f"({ast.unparse(tree.args)})", result


def _fields(kind: type) -> str:
    """Return the hyper-parameters of a dataclass, such as `(steps: int = 256)`."""
    annotations: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        for line in getattr(tree, "body", ()):
            if isinstance(line, ast.AnnAssign):
                annotations[ast.unparse(line.target)] = ast.unparse(line.annotation)
    given = []
    for field in (field for field in fields(kind) if field.init):
        default = field.default if field.default is not MISSING else field.default_factory
        made = default() if default is field.default_factory is not MISSING else default
        text = "" if made is MISSING else f" = {made!r}"
        given.append(f"{field.name}: {annotations[field.name]}{text}")
    return f"({', '.join(given)})"


# --- Hooks ------------------------------------------------------------------------------------


def _docstring(_app: Any, _what: str, _name: str, _value: Any, _options: Any, lines: Any) -> None:
    lines[:] = restructured(lines)


def _signature(
    _app: Any, _what: str, _name: str, value: Any, _options: Any, _given: Any, _result: Any
) -> tuple[str, str | None] | None:
    return signature(value) if callable(value) else None


def _link_names(app: Any, tree: nodes.document) -> None:
    """Make links of code that is a public name: `mx.train`, `Network`, `foundations.cnn.loss`."""
    for literal in list(tree.findall(nodes.literal)):
        target = _described(literal.astext())
        if target and not _within(literal, nodes.reference, pending_xref, nodes.title):
            link = pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, refdoc=app.env.docname
            )
            literal.replace_self(link)
            link += literal


def _within(node: nodes.Node, *kinds: type[nodes.Node]) -> bool:
    return node.parent is not None and (
        isinstance(node.parent, kinds) or _within(node.parent, *kinds)
    )


def _described(text: str) -> str | None:
    """Return where a name is described; a bare word has to be the name of a class."""
    word = re.sub(r"^mx\.", f"{PACKAGE}.", text.removesuffix("()"))
    if "." in word:
        return names().get(word) or names().get(f"{PACKAGE}.{word}")
    if word.islower() or word.isupper():
        return None
    return next(
        (names()[p] for p in (f"{package}.{word}" for package in PACKAGES) if p in names()), None
    )


def _mend_back_links(_app: Any, page: str, _template: str, context: Any, _tree: Any) -> None:
    """Correct the links from source pages to descriptions.

    Sphinx takes one package for all names of a module; some are described under another one.
    """
    if page.startswith("_modules/"):
        context["body"] = re.sub(r"api/\w+\.html#([\w.]+)", _back_link, context["body"])


def _back_link(found: re.Match[str]) -> str:
    """Return the page and the anchor of a name, or of a member of a class."""
    path = next((p for p in (found[1], found[1].rpartition(".")[0]) if p in names()), None)
    if path is None:
        return found[0]
    anchor = names()[path] + found[1].removeprefix(path)
    page = FOUNDATIONS if anchor.startswith(FOUNDATIONS) else names()[path].rpartition(".")[0]
    return f"api/{page.rpartition('.')[2]}.html#{anchor}"


def setup(app: Any) -> dict[str, bool]:
    """Register the hooks with Sphinx."""
    for kind in PyObject.doc_field_types:
        if kind.name == "variable":
            kind.label = "Attributes"  # As the docstrings call them.
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # Before napoleon's.
    app.connect("autodoc-process-signature", _signature)
    app.connect("doctree-read", _link_names)
    app.connect("html-page-context", _mend_back_links)
    return {"parallel_read_safe": True}
