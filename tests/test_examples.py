"""The example programs: the tests run those in Keras and parse the one in PyTorch."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


def imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def test_there_are_three_examples():
    assert [path.stem for path in EXAMPLES] == ["cnn_3x3", "dense_keras", "dense_pytorch"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_fits_one_page_and_states_its_correction_and_its_command(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    docstring = ast.get_docstring(ast.parse(text))
    assert re.match(r"Document 00\d, section 5\.\d, corrected: ", docstring)
    assert f"python examples/{path.name} --epochs" in docstring


@pytest.mark.parametrize(
    ("name", "data", "epochs", "accuracy"),
    [
        ("cnn_3x3", "digits", 3, 85),
        ("dense_keras", "digits", 3, 85),
        ("dense_keras", "mnist", 1, 94),
    ],
)
def test_a_keras_example_learns(name, data, epochs, accuracy, request, capsys):
    request.getfixturevalue(data)  # Skips the test if MNIST is missing.
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.main(["--data", data, "--epochs", str(epochs)])
    printed = capsys.readouterr().out
    assert printed.count("loss") == epochs
    assert float(re.search(r"accuracy on the test images: ([\d.]+)%", printed)[1]) > accuracy


def test_the_pytorch_example_parses_and_needs_only_torch_and_this_package():
    path = FOLDER / "dense_pytorch.py"
    compile(path.read_text(encoding="utf-8"), path.name, "exec")
    assert set(imported(path)) <= {"argparse", "torch", "numpy", "mnist_xai"}
    assert {"torch", "mnist_xai"} <= set(imported(path))
