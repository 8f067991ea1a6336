"""Values that register themselves."""

import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

import mnist_xai as mx
from mnist_xai.registry import Registry

TOY = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.methods.base import About, register


@register("toy")
@dataclass(frozen=True)
class Toy:
    """The image itself: `x`."""

    about: ClassVar[About] = About("gradient", "ink", "always", "Nobody 2026, section 1")

    def passes(self, network):
        return 0

    def __call__(self, network, images, targets, *, score="logit"):
        """Return `(N, H, W, C)`."""
        return np.array(images)
'''


@dataclass(frozen=True)
class Value:
    family: str
    reference: str

    @property
    def about(self):
        return self


@pytest.fixture
def registry():
    """Registers values of a package that has no modules of its own."""
    return Registry("thing", "tests.references", ("first", "second"))


def test_values_come_by_family_then_year_then_order_of_registration(registry):
    registry.add("late", Value("second", "A 2019"))
    registry.add("stranger", Value("other", "A 1990"))
    registry.add("new", Value("first", "B 2021, section 1984.1"))
    registry.add("undated", Value("first", "C"))
    registry.add("old", Value("first", "D 2017"))
    registry.add("old too", Value("first", "E 2017"))
    assert [*registry] == ["old", "old too", "new", "undated", "late", "stranger"]
    assert len(registry) == 6


def test_a_registered_class_is_made_once_with_its_defaults(registry):
    @registry.register("made")
    @dataclass(frozen=True)
    class Made:
        size: int = 3
        about = SimpleNamespace(family="first", reference="A 2020")

    assert registry["made"] == Made(3)
    assert registry["made"] is registry["made"]


def test_a_name_is_taken_once(registry):
    registry.add("one", Value("first", "A 2020"))
    with pytest.raises(ValueError, match="thing: the name 'one' is taken"):
        registry.add("one", Value("second", "A 2020"))


@pytest.mark.parametrize("table", [mx.METHODS, mx.quality.METRICS])
def test_a_misspelt_name_is_told_its_neighbours(table):
    name = next(iter(table))
    with pytest.raises(ValueError, match=f"there is no '{name}s'; did you mean {name}"):
        table.named(f"{name}s")
    with pytest.raises(ValueError, match="expected one of .*; got 'qqq'"):
        table.named("qqq")


def test_one_file_in_a_room_is_all_that_a_new_method_takes(tmp_path):
    """A module placed in a family's folder is found without another line of code."""
    (tmp_path / "toy.py").write_text(TOY)
    code = (
        "import mnist_xai.interpret.methods.gradients as family\n"
        f"family.__path__.append({str(tmp_path)!r})\n"
        "import numpy as np, mnist_xai as mx\n"
        "assert 'toy' in mx.METHODS\n"
        "x = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)\n"
        "found = mx.explain(mx.build_model('cnn', seed=0), x, method='toy')\n"
        "assert found.name == 'toy' and (found.maps == x).all()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
