"""What a user imports."""

import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import mnist_xai as mx

ALL_MODULES = ["mnist_xai", *(m.name for m in pkgutil.walk_packages(mx.__path__, "mnist_xai."))]


@pytest.mark.parametrize("name", mx.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    value = getattr(mx, name)
    if inspect.isfunction(value) or inspect.isclass(value):
        assert inspect.getdoc(value)
    assert name in dir(mx)


@pytest.mark.parametrize("module", ALL_MODULES)
def test_every_name_that_a_module_exports_exists(module):
    imported = import_module(module)
    missing = [n for n in getattr(imported, "__all__", ()) if not hasattr(imported, n)]
    assert missing == []


@pytest.mark.parametrize("name", ["foundations", "interpret", "plots", "quality"])
def test_modules_are_there_without_an_import_of_their_own(name):
    code = f"import mnist_xai as mx; assert mx.{name}.__name__ == 'mnist_xai.{name}'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="trian"):
        _ = mx.trian


@pytest.mark.parametrize(
    "first",
    [
        "import mnist_xai.train",
        "import mnist_xai.reproduce",
        "from mnist_xai.train import RECIPES",
        "",
    ],
)
def test_functions_named_like_their_module_are_the_functions(first):
    code = f"{first}\nimport mnist_xai as mx\nassert callable(mx.train) and callable(mx.reproduce)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_does_not_import_tensorflow():
    code = "import sys, mnist_xai, mnist_xai.cli.app; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_plots_know_nothing_of_tensorflow():
    code = "import sys, mnist_xai.plots; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
