"""What a user imports."""

import inspect
import json
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


FRESH = """
import json, sys, traceback
import tensorflow  # Once: importing it takes 5 seconds, and is not what is tested.
found = []
for code in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "mnist_xai"]:
        del sys.modules[name]
    try:
        exec(code, {})
        found.append("")
    except Exception:
        found.append(traceback.format_exc())
print(json.dumps(found))
"""
MODULES = {
    name: f"import mnist_xai as mx; assert mx.{name}.__name__ == 'mnist_xai.{name}'"
    for name in ("foundations", "interpret", "plots", "quality")
}
FUNCTIONS = {
    first: f"{first}\nimport mnist_xai as mx\nassert callable(mx.train) and callable(mx.reproduce)"
    for first in (
        "import mnist_xai.train",
        "import mnist_xai.reproduce",
        "from mnist_xai.train import RECIPES",
        "",
    )
}
WRONG = "import mnist_xai as mx; assert mx.nonsense"


@pytest.fixture(scope="module")
def complaints():
    """What each piece of code complains of when nothing of the package was imported before."""
    codes = [*MODULES.values(), *FUNCTIONS.values(), WRONG]
    command = [sys.executable, "-c", FRESH, *codes]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(zip(codes, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_there_without_an_import_of_their_own(name, complaints):
    assert complaints[MODULES[name]] == ""


@pytest.mark.parametrize("first", FUNCTIONS)
def test_functions_named_like_their_module_are_the_functions(first, complaints):
    assert complaints[FUNCTIONS[first]] == ""


def test_code_that_fails_complains(complaints):
    assert "AttributeError" in complaints[WRONG]


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="trian"):
        _ = mx.trian


def test_importing_the_package_does_not_import_tensorflow():
    code = "import sys, mnist_xai, mnist_xai.cli.app; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_plots_know_nothing_of_tensorflow():
    code = "import sys, mnist_xai.plots; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
