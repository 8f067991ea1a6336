"""Values that register themselves under a name: attribution methods, metrics."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pkgutil import walk_packages
from threading import RLock
from typing import Any, TypeVar

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Mapping[str, T]):
    """Values by name, ordered by family, year of publication and module.

    A class registers itself where it is defined, and nothing else has to be changed:

        @register("gradient")
        @dataclass(frozen=True)
        class Gradient: ...

    All modules of the package are imported when the registry is first read. Values may be
    registered later, by users too.

    Args:
        kind: What the values are, for messages: `"method"`.
        package: Name of the package whose modules register values.
        families: The families in their order; others come last.
    """

    def __init__(self, kind: str, package: str, families: Sequence[str]) -> None:
        self._kind = kind
        self._package = package
        self._families = list(families)
        self._values: dict[str, Any] = {}
        self._complete = False
        self._lock = RLock()

    def register(self, name: str) -> Callable[[C], C]:
        """Return a class decorator that registers `cls()`, its defaults, under a name.

        The value is made when the registry is first read: its module is complete by then.

        Raises:
            ValueError: For a name that is taken.
        """

        def decorate(cls: C) -> C:
            self._add(name, cls)
            return cls

        return decorate

    def add(self, name: str, value: T) -> None:
        """Register a value under a name.

        Raises:
            ValueError: For a name that is taken.
        """
        self._add(name, value)

    def named(self, name: str) -> T:
        """Return the value of this name.

        Raises:
            ValueError: When there is none; the message suggests similar names.
        """
        if name in self:
            return self[name]
        word = name.lower().replace("-", "_")
        near = [*get_close_matches(word, self), *(n for n in self if word and word in n)]
        if not near:
            raise ValueError(f"{self._kind}: expected one of {', '.join(self)}; got {name!r}")
        meant = " or ".join(dict.fromkeys(near[:5]))
        raise ValueError(f"{self._kind}: there is no {name!r}; did you mean {meant}?")

    def __getitem__(self, name: str) -> T:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all(), key=self._place))

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"<{len(self)} {self._kind}s: {', '.join(self)}>"

    def _add(self, name: str, value: Any) -> None:
        with self._lock:
            if name in self._values:
                raise ValueError(f"{self._kind}: the name {name!r} is taken: {self._values[name]}")
            self._values[name] = value

    def _all(self) -> dict[str, T]:
        with self._lock:
            if not self._complete:
                package = import_module(self._package)
                for module in walk_packages(package.__path__, f"{self._package}."):
                    import_module(module.name)
                self._complete = True
            for name, value in self._values.items():
                if isinstance(value, type):
                    self._values[name] = value()
            return self._values

    def _place(self, name: str) -> tuple[int, int, str]:
        about: Any = getattr(self._values[name], "about")  # noqa: B009  T is any class.
        families, year = self._families, re.search(r"\b(?:19|20)\d\d\b", about.reference)
        family = families.index(about.family) if about.family in families else len(families)
        # The module, so that the order does not depend on which module is imported first. Within
        # a module, sorting keeps the order of registration.
        return family, int(year[0]) if year else 9999, type(self._values[name]).__module__
