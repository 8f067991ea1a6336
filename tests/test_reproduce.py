"""The case study in one run folder."""

import io
import json
import sys
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module

import pytest

import mnist_xai as mx
from mnist_xai.io.files import OutputExistsError
from tests.faults.trials import BUDGET
from tests.test_report import Page
from tests.test_train import SHORT


def shorten(monkeypatch):
    recipes = {"default": SHORT, "small": SHORT}
    monkeypatch.setattr(sys.modules["mnist_xai.train"], "RECIPES", recipes)
    few = partial(mx.audit, methods=["gradient"], budget=BUDGET)
    monkeypatch.setattr(import_module("mnist_xai.reproduce"), "audit", few)


@pytest.fixture
def short(monkeypatch):
    """Make every recipe and the audit take seconds."""
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run on a machine without MNIST: the page, and what was printed."""
    folder = tmp_path_factory.mktemp("reproduce") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(io.StringIO()) as printed:
        shorten(monkeypatch)
        monkeypatch.setenv("MNIST_XAI_DATA", "/no/such/folder")
        index = mx.reproduce(folder)
    return index, printed.getvalue()


FILES = {
    "index.html", "cnn.keras", "cnn.json", "history.csv", "history.json", "learning_curves.png",
    "confusion_matrix.png", "misclassified_images.png", "feature_maps_of_conv1.png",
    "feature_maps_of_conv2.png", "attention_maps_of_conv1.png", "attention_maps_of_conv2.png",
    "gradient_maps.png", "audit.html", "audit.json", "audit.csv",
}  # fmt: skip
WITHOUT_LINKS = {"audit.json", "audit.csv"}


def test_one_folder_contains_all_files_of_the_run(run):
    index, _ = run
    assert {path.name for path in index.parent.iterdir()} == FILES
    card = json.loads((index.parent / "cnn.json").read_text())
    page = Page(index.read_text())
    assert f"accuracy {card['test']['accuracy']:.2%}" in page.text
    assert "The case study on scikit-learn digits" in page.text
    links = {a["href"] for tag, a in page.tags if tag == "a"}
    assert {link for link in links if not link.startswith("#")} == FILES - WITHOUT_LINKS - {
        "index.html"
    }
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 8
    with pytest.raises(OutputExistsError, match=r"index.html exists; pass overwrite=True"):
        mx.reproduce(index.parent, data="digits")


def test_without_mnist_the_digits_are_used_and_every_output_says_so(run):
    index, printed = run
    assert "MNIST IS NOT AVAILABLE: MNIST_XAI_DATA: no such file or folder" in printed
    assert "1,797 HANDWRITTEN DIGITS OF SCIKIT-LEARN" in printed
    assert "scikit-learn digits" in Page(index.read_text()).text
    card = json.loads((index.parent / "cnn.json").read_text())
    assert card["data"]["name"] == "scikit-learn digits"


def test_other_data_sets_are_not_replaced_by_the_digits(short, tmp_path):
    with pytest.raises(ValueError, match="data: expected one of"):
        mx.reproduce(tmp_path / "run", data="mnits")
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_stopped_in_its_audit_resumes_the_audit(short, tmp_path, monkeypatch):
    reproduce = import_module("mnist_xai.reproduce")
    audit = reproduce.audit

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "audit", stopped)
    with pytest.raises(KeyboardInterrupt):
        mx.reproduce(tmp_path, data="digits")
    model = (tmp_path / "cnn.keras").stat()
    monkeypatch.setattr(reproduce, "audit", audit)
    mx.reproduce(tmp_path, data="digits")
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert (tmp_path / "cnn.keras").stat().st_mtime_ns == model.st_mtime_ns
