"""Labels and file names with HTML, formulas and control sequences are harmless in reports."""

import numpy as np
import pytest
from PIL import Image

import mnist_xai as mx
from mnist_xai import plots
from mnist_xai.io.safe_text import escape_controls, first_line
from mnist_xai.report import png
from tests.hostile.texts import ERASE, OVER, TITLE
from tests.test_reproduce import short  # noqa: F401

IMG = '<img src=x onerror="document.title=1">'
LABELS = (IMG, "<script>document.title=2", '" onload="document.title=3', "{{ 7 * 7 }}", "$\\frac{$",
          f"a{TITLE}", f"b{ERASE}", f"c{OVER}", "--><b>javascript:alert(1)",
          "&lt;i&gt;")  # fmt: skip


@pytest.fixture
def folder(tmp_path, digits):
    """Digits as pictures in folders with hostile names."""
    root = tmp_path / f"{IMG}$\\bad{{$"
    for part, images, labels in (
        ("train", digits.train_images, digits.train_labels),
        ("test", digits.test_images, digits.test_labels),
    ):
        for label, name in enumerate(LABELS):
            (root / part / name).mkdir(parents=True)
            for number in np.flatnonzero(labels == label)[:20]:
                picture = Image.fromarray(images[number, ..., 0])
                picture.save(root / part / name / f"{number}.png")
    return root


def test_hostile_names_are_shown_as_text_in_reports(short, folder, tmp_path, opened):  # noqa: F811
    index = mx.reproduce(tmp_path / "run", data=folder)
    for name, titled in (("index.html", "The case study on "), ("audit.html", "Audit of ")):
        text = (index.parent / name).read_text(encoding="utf-8")
        assert not set(text) & set("\x1b\x07\r\u202e")
        page = opened(index.parent / name)
        assert page.title().startswith(titled)
        assert page.locator("img:not([src^='data:'])").count() == 0
        assert page.locator("script").count() == 1
        cells = page.locator("td:first-child").all_inner_texts()
        for label in LABELS:
            assert escape_controls(label) in [cell.strip() for cell in cells]


def test_a_dollar_sign_is_shown_as_text_in_every_plot():
    names = ["$\\frac{$", "$x$ $", "\\$ a $b$"]
    images = np.zeros((3, 4, 4, 1), np.float32)
    figures = [
        plots.confusion_matrix(np.eye(3, dtype=int), names, stamp=names[0]),
        plots.image_grid(images, names, names[0], stamp=names[0]),
        plots.signed_maps(images, images, names, names[0], unit="logit", stamp=names[0]),
        plots.feature_maps(images[0], np.zeros((4, 4, 2), np.float32), names[0], stamp=names[0]),
    ]
    for figure in figures:
        assert png(figure).startswith(b"\x89PNG")
    labels = [text.get_text() for text in figures[0].axes[0].get_xticklabels()]
    assert labels == [r"\$\frac{\$", r"\$x\$ \$", r"\\$ a \$b\$"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ä 日本 🙂", "plain, ä 日本 🙂"),
        ("\x1b[2K\r\t\x00", r"\x1b[2K\r\t\x00"),
        ("\x9b31m\x85\u2028\u2029", r"\x9b31m\x85\u2028\u2029"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("\udcff", r"\udcff"),
    ],
)
def test_unsafe_characters_are_escaped(text, shown):
    assert escape_controls(text) == shown
    assert escape_controls(text).isprintable()
    assert escape_controls(f"a\n{text}", keep="\n") == f"a\n{shown}"


def test_the_first_line_of_an_error_is_short():
    assert first_line(ValueError("\n one\nbut not two")) == "one"
    assert first_line(ValueError("")) == "ValueError"
    assert len(first_line(ValueError("x" * 10**6))) < 500
