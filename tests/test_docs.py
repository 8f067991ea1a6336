"""The docs are what the code says."""

import importlib.util
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import mnist_xai as mx
from mnist_xai.interpret.methods import docstrings

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_methods", DOCS / "build_methods.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def text():
    return (DOCS / "methods.md").read_text(encoding="utf-8")


def test_the_page_of_methods_is_what_the_docstrings_say(build, text):
    assert build.page() == text, "stale: python docs/build_methods.py writes it anew"


def test_a_stale_page_is_found(build, text, monkeypatch, tmp_path, capsys):
    page = tmp_path / "methods.md"
    page.write_text(text, encoding="utf-8")
    monkeypatch.setattr(build, "PAGE", page)
    monkeypatch.setattr("sys.argv", ["build_methods.py", "--check"])
    assert build.main() == 0
    page.write_text(text.replace("gradient", "slope"), encoding="utf-8")
    assert build.main() == 1
    assert "stale" in capsys.readouterr().err
    page.unlink()
    assert build.main() == 1


def test_every_method_has_a_section_a_link_and_a_picture(text):
    pictures = re.findall(r"!\[.+\]\((.+)\)", text)
    assert pictures == [f"images/methods/{name}.png" for name in mx.METHODS]
    for name, picture in zip(mx.METHODS, pictures, strict=True):
        with Image.open(DOCS / picture) as image:
            assert min(image.size) > 200
        assert f"\n### {name}\n" in text
        assert f"| [{name}](#{name}) |" in text
    assert {p.stem for p in (DOCS / "images/methods").iterdir()} == set(mx.METHODS)


def test_the_pictures_are_small():
    sizes = [path.stat().st_size for path in (DOCS / "images/methods").iterdir()]
    assert sum(sizes) < 1.5e6


def test_every_row_of_a_table_has_as_many_cells_as_its_head(text):
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1, block


def test_every_function_of_the_page_is_called_as_it_says(build, text):
    for function in build.FUNCTIONS:
        assert getattr(mx, function.__name__) is function
        assert f"\n### {function.__name__}\n" in text


@pytest.mark.parametrize("name", mx.METHODS)
def test_every_hyper_parameter_is_explained(name):
    method = mx.METHODS[name]
    for parameter in docstrings.parameters(method):
        assert parameter.meaning.endswith(".")
        assert "\n" not in parameter.meaning
        assert parameter.value == repr(getattr(method, parameter.name))


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
def test_maps_are_per_pixel_or_per_place_as_the_guide_says(name, colour):
    image = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    channels = {"pixel": 3, "place": 1}[docstrings.place(mx.METHODS[name])]
    assert mx.explain(colour, image, method=name).maps.shape == (1, 8, 8, channels)
