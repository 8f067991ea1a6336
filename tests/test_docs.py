"""The documents say what the code says, and their examples run."""

import dataclasses
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import mnist_xai as mx
from mnist_xai.interpret.methods import docstrings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REGISTRIES = {"methods": mx.METHODS, "metrics": mx.quality.METRICS}
EXAMPLES = sorted(path.stem for path in (DOCS / "examples").glob("*.py"))


@pytest.fixture(params=REGISTRIES)
def page(request):
    """The name of a page that is generated and committed."""
    return request.param


@pytest.fixture
def build(page, monkeypatch):
    """The script that writes the page."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module(f"build_{page}")


def read(page):
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def test_a_generated_page_is_what_the_docstrings_say(page, build):
    assert build.page() == read(page), f"out of date: run python docs/build_{page}.py"


def test_a_page_that_is_out_of_date_is_found(page, build, monkeypatch, tmp_path, capsys):
    copy = tmp_path / "page.md"
    copy.write_text(read(page), encoding="utf-8")
    monkeypatch.setattr(build, "PAGE", copy)
    monkeypatch.setattr("sys.argv", ["script", "--check"])
    assert build.main() == 0
    copy.write_text(read(page).replace("gradient", "slope"), encoding="utf-8")
    assert build.main() == 1
    assert f"run python docs/build_{page}.py" in capsys.readouterr().err
    copy.unlink()
    assert build.main() == 1


def test_every_registered_name_has_a_section_and_a_link(page):
    text = read(page)
    for name in REGISTRIES[page]:
        assert f"\n### {name}\n" in text
        assert f"| [{name}](#{name}) |" in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head(page):
    blocks = re.findall(r"(?:^\|.*\n)+", read(page), re.MULTILINE)
    assert blocks
    for block in blocks:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1, block


def test_every_method_has_a_picture():
    pictures = re.findall(r"!\[.+\]\((.+)\)", read("methods"))
    assert pictures == [f"images/methods/{name}.png" for name in mx.METHODS]
    for picture in pictures:
        with Image.open(DOCS / picture) as image:
            assert min(image.size) > 200
    assert {p.stem for p in (DOCS / "images/methods").iterdir()} == set(mx.METHODS)


def test_the_pictures_are_small():
    sizes = [path.stat().st_size for path in (DOCS / "images/methods").iterdir()]
    assert sum(sizes) < 1.5e6


@pytest.mark.parametrize("page", ["methods"], indirect=True)
def test_every_function_of_the_page_is_called_as_it_says(page, build):
    for function in build.FUNCTIONS:
        assert getattr(mx, function.__name__) is function
        assert f"\n### {function.__name__}\n" in read(page)


@pytest.mark.parametrize(
    "value",
    [value for registry in REGISTRIES.values() for value in registry.values()],
    ids=[name for registry in REGISTRIES.values() for name in registry],
)
def test_every_hyper_parameter_is_explained(value):
    parameters = docstrings.parameters(value)
    assert [p.name for p in parameters] == [field.name for field in dataclasses.fields(value)]
    for parameter in parameters:
        assert parameter.meaning.endswith(".")
        assert "\n" not in parameter.meaning
        assert parameter.value == repr(getattr(value, parameter.name))


@pytest.fixture(scope="module")
def colour():
    """A network of colour images, whose maps per pixel and per place differ in shape."""
    keras.utils.set_random_seed(0)
    return mx.Network(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Conv2D(4, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(3, activation="softmax"),
            ]
        )
    )


@pytest.mark.parametrize("name", mx.METHODS)
def test_maps_are_per_pixel_or_per_place_as_the_page_says(name, colour):
    image = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    channels = {"pixel": 3, "place": 1}[docstrings.place(mx.METHODS[name])]
    assert mx.explain(colour, image, method=name).maps.shape == (1, 8, 8, channels)


# --- Examples and the README ------------------------------------------------------------------

RUN_ALL = """\
import contextlib, io, json, runpy, sys
printed = {}
for path in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as found:
        runpy.run_path(path)
    printed[path] = found.getvalue()
print(json.dumps(printed))
"""


@pytest.fixture(scope="module")
def printed():
    """What each example prints; in a process of its own, because examples register methods."""
    command = [sys.executable, "-c", RUN_ALL, *(f"docs/examples/{name}.py" for name in EXAMPLES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_documents_prints_what_its_page_shows(name, printed):
    expected = (DOCS / "examples" / f"{name}.txt").read_text(encoding="utf-8")
    assert printed[f"docs/examples/{name}.py"] == expected


def test_every_example_is_shown_on_a_page_with_what_it_prints():
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    for name in EXAMPLES:
        assert f"{{literalinclude}} examples/{name}.py" in text
        assert f"{{literalinclude}} examples/{name}.txt" in text


def links(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_file_that_a_page_of_the_repository_links_exists(name):
    inside = [link for link in links(ROOT / name) if link and "://" not in link]
    assert [link for link in inside if not (ROOT / link).exists()] == []


def test_both_readmes_link_the_same_files_and_count_what_there_is():
    english, chinese = (ROOT / name for name in ("README.md", "README.zh.md"))
    other = {"README.md", "README.zh.md"}
    assert [x for x in links(english) if x not in other] == [
        x for x in links(chinese) if x not in other
    ]
    counts = {f"{len(mx.METHODS)} methods", f"{len(mx.quality.METRICS)} metrics"}
    assert all(count in english.read_text(encoding="utf-8") for count in counts)
    counts = {f"{len(mx.METHODS)} 种方法", f"{len(mx.quality.METRICS)} 个指标"}
    assert all(count in chinese.read_text(encoding="utf-8") for count in counts)


def blocks(path):
    """The code blocks of a page, with comments and blank lines left out."""
    found = re.findall(r"```(?:python)?\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    return [[re.sub(r"\s*#.*", "", line) for line in block.split("\n")] for block in found]


def test_both_readmes_show_the_same_code():
    assert blocks(ROOT / "README.md") == blocks(ROOT / "README.zh.md")
