"""The command line: what users type, see and get."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import mnist_xai as mx
from mnist_xai.cli import outputs, terminal
from mnist_xai.cli.app import main
from tests.faults.trials import BUDGET, RECIPE

COMMANDS = ["train", "evaluate", "layers", "explain", "audit", "methods", "data", "reproduce"]


def run(*arguments, code=0, env=None):
    """Run the installed program; return its standard output and standard error."""
    program = Path(sys.executable).with_name("mnist-xai")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def invoke(*arguments, code=0):
    """Run the program in this process, which has imported TensorFlow already."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "cnn.keras"
    mx.save_model(mx.build_model(seed=0), path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command):
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example:\n    mnist-xai {command}" in result.output
    assert command in CliRunner().invoke(main, ["--help"]).output


def test_help_does_not_import_tensorflow():
    code = (
        "import sys\nsys.argv = ['mnist-xai', 'train', '--help']\n"
        "from mnist_xai.cli.app import main\n"
        "try:\n    main()\nfinally:\n    assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_layers_lists_the_layers_and_writes_a_picture_of_each(model, tmp_path):
    out, err = run("layers", model, "--data", "digits", "--index", 3, "--save-to", tmp_path / "l")
    assert err == ""
    assert "conv1          24 x 24 x 32" in out
    assert {p.name for p in (tmp_path / "l").iterdir()} == {
        "conv1.png", "pool1.png", "conv2.png", "pool2.png",
    }  # fmt: skip


def test_explain_saves_the_same_map_as_the_library(model, tmp_path, digits):
    out, _ = invoke("explain", model, "--data", "digits", "--index", 3, "--target", 7,
                    "--method", "gradient", "--save-to", tmp_path / "map.npy")  # fmt: skip
    assert "explained: class 7" in out
    image = mx.normalise(digits.test_images[3:4])
    expected = mx.gradient_map(mx.load_model(model), image, [7])[0]
    np.testing.assert_allclose(np.load(tmp_path / "map.npy"), expected, atol=1e-6)


def test_explain_accepts_an_image_file(model, tmp_path, digits):
    Image.fromarray(digits.test_images[0, ..., 0]).save(tmp_path / "digit.png")
    invoke("explain", model, "--image", tmp_path / "digit.png", "--save-to", tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as picture:
        assert min(picture.size) > 100


@pytest.mark.parametrize("columns", [60, 80, 100, 132, 200])
def test_methods_lists_every_method_within_the_width_of_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = CliRunner().invoke(main, ["methods"]).output
    assert max(map(len, out.splitlines())) <= columns
    first = [block.split()[0] for block in out.split("\n\n")]
    assert first == ([] if columns < 100 else ["method"]) + list(mx.METHODS)


def test_the_columns_of_the_list_of_methods_are_aligned(monkeypatch):
    monkeypatch.setenv("COLUMNS", "132")
    lines = CliRunner().invoke(main, ["methods"]).output.splitlines()
    starts = [lines[0].index(head) for head in ("family", "passes", "shows", "caveat")]
    for line in lines:
        assert all(line[start - 1 : start].strip() == "" for start in starts), line
    row = next(line for line in lines if line.startswith("occlusion"))
    assert row[starts[0] : starts[1]].strip() == "perturbation"
    assert row[starts[1] : starts[2]].strip() == "170"


def test_methods_of_a_family_are_listed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out, err = invoke("methods", "--family", "class")
    assert err == ""
    names = [block.split()[0] for block in out.split("\n\n")]
    assert names == [n for n, m in mx.METHODS.items() if "activation" in m.about.family]


@pytest.mark.parametrize("name", mx.METHODS)
def test_methods_describes_one_method_in_full(monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "100")
    result = CliRunner().invoke(main, ["methods", name])
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    method = mx.METHODS[name]
    for said in (method.about.shows, method.about.caveat, method.about.reference):
        assert said in words
    assert "`" in words.split("shows", 1)[0]  # The equation.
    for field in dataclasses.fields(method):
        assert f"{field.name} = {getattr(method, field.name)!r}" in result.output
    if name.startswith("lrp"):
        assert f"{method.convolution!r}`: `R_i = " in words


FIRST_OF_ITS_FAMILY = {mx.METHODS[name].about.family: name for name in reversed([*mx.METHODS])}


@pytest.mark.parametrize("name", mx.METHODS)
def test_explain_accepts_every_method_by_name(model, network, tmp_path, monkeypatch, name):
    def shared(loaded, **_):  # With the same weights, and compiled by other tests.
        for ours, theirs in zip(network.model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        return network

    monkeypatch.setattr(mx, "Network", shared)
    pictured = name in FIRST_OF_ITS_FAMILY.values()  # Drawing takes longer than explaining.
    path = tmp_path / ("why.png" if pictured else "why.npy")
    out, _ = invoke("explain", model, "--data", "digits", "--index", 3, "--method", name,
                    "--save-to", path)  # fmt: skip
    assert f"{name}: 1 map of the logit of the target class" in out
    if pictured:
        with Image.open(path) as picture:
            assert min(picture.size) > 100
    else:
        assert np.load(path).any()


def test_evaluate_prints_the_metrics_of_the_library(model, digits):
    out, err = run("evaluate", model, "--data", "digits", "--json")
    assert err == ""
    figures = json.loads(out)
    images = mx.normalise(digits.test_images)
    expected = mx.evaluate(mx.load_model(model), images, digits.test_labels)
    assert figures["accuracy"] == pytest.approx(expected.accuracy)
    assert figures["confusion"] == expected.confusion.tolist()
    out, _ = invoke("evaluate", model, "--data", "digits")
    assert f"accuracy           {expected.accuracy:.4f}" in out


def test_a_closed_output_pipe_is_not_an_error(model):
    program = Path(sys.executable).with_name("mnist-xai")
    process = subprocess.Popen(
        [program, "evaluate", model, "--data", "digits"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_data_describes_a_data_set_and_writes_a_picture(tmp_path, digits):
    out, _ = run("data", "digits", "--save-to", tmp_path / "some.png")
    assert "1,437 training and 360 test images of 28 x 28 x 1" in out
    assert digits.sha256 in out
    assert (tmp_path / "some.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "mnits"], "data: expected one of mnist, fashion_mnist, cifar10, digits"),
        (["evaluate", "no.keras"], "no.keras: no such model file"),
        (["explain", "MODEL"], "expected either --index N or --image FILE"),
        (
            ["explain", "MODEL", "--index", "1", "--data", "digits", "--method", "magic"],
            "method: expected one of gradient",
        ),
        (
            ["explain", "no.keras", "--index", "1", "--method", "gradcma"],
            "method: there is no 'gradcma'; did you mean gradcam",
        ),
        (["methods", "Grad-CAM"], "there is no 'Grad-CAM'; did you mean gradcam"),
        (["methods", "shap"], "did you mean .*deep_shap.* or kernel_shap"),
        (["methods", "magic"], "method: expected one of gradient"),
        (["methods", "--family", "magic"], "family: expected one of gradient, class activation"),
        (["methods", "--family", ""], "family: expected one of gradient, class activation"),
        (["methods", "gradcam", "--family", "gradient"], "or --family; got both"),
        (
            ["explain", "MODEL", "--index", "1", "--data", "digits", "--target", "10"],
            "targets: .*10",
        ),
        (["explain", "MODEL", "--index", "360", "--data", "digits"], "--index: expected 0 to 359"),
        (["explain", "MODEL", "--index", "0", "--save-to", "why.pdf"], "ending in .png or .npy"),
        (["explain", "MODEL", "--image", "no.png"], "no.png: cannot be read as a picture"),
        (["train", "--recipe", "best", "--data", "digits"], "recipe: expected one of default"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--save-to", "m.h5"], "expected a file name that ends in .keras"),
        (["train", "--colour"], "No such option"),
        (["frobnicate"], "No such command"),
    ],
)
def test_errors_are_one_readable_line(model, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    arguments = [str(model) if a == "MODEL" else a for a in arguments]
    program = CliRunner().invoke(main, arguments)
    assert program.exit_code in (1, 2)
    lines = program.stderr.splitlines()
    assert len(lines) == 1, program.stderr
    assert lines[0].startswith("Error: ")
    assert re.search(message, lines[0]), lines[0]
    assert not list(tmp_path.iterdir())


def test_the_traceback_is_shown_with_debug_only():
    _, err = run("data", "mnits", "--debug", code=1)
    assert "Traceback" in err
    _, err = run("data", "mnits", code=1)
    assert "Traceback" not in err


def test_without_a_terminal_an_existing_output_is_refused(model, tmp_path):
    path = tmp_path / "why.npy"
    path.write_text("precious")
    arguments = ["explain", model, "--data", "digits", "--index", 0, "--save-to", path]
    _, err = invoke(*arguments, code=1)
    assert "why.npy exists; pass --overwrite to replace it" in err
    assert path.read_text() == "precious"
    invoke(*arguments, "--overwrite")
    assert np.load(path).shape == (28, 28, 1)


@pytest.fixture
def _restores_ctrl_c():
    """An interrupted command ignores further Ctrl-C; restore the handler after the test."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_restores_ctrl_c")
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130)])
def test_at_a_terminal_the_user_is_asked_before_an_output_is_replaced(
    model, tmp_path, monkeypatch, answer, code
):
    path = tmp_path / "why.npy"
    path.write_text("precious")
    arguments = ["explain", str(model), "--data", "digits", "--index", "0", "--save-to", str(path)]
    monkeypatch.setattr(outputs, "_at_a_terminal", lambda: True)
    result = CliRunner().invoke(main, arguments, input=answer)
    assert result.exit_code == code
    assert "Replace it? [y/N]" in result.output
    assert (path.read_bytes() == b"precious") == (code != 0)


@pytest.mark.usefixtures("_restores_ctrl_c")
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130)])
@pytest.mark.parametrize("command", ["train", "audit"])
def test_the_user_is_asked_also_when_unfinished_work_of_another_run_exists(
    model, tmp_path, monkeypatch, command, answer, code
):
    monkeypatch.setattr(import_module("mnist_xai.train"), "RECIPES", {"small": RECIPE})
    monkeypatch.setattr(import_module("mnist_xai.audit.run"), "BUDGETS", {"fast": BUDGET})
    monkeypatch.setattr(outputs, "_at_a_terminal", lambda: True)
    path = tmp_path / {"train": "model.keras", "audit": "audit.html"}[command]
    path.write_text("precious")
    unfinished = tmp_path / f".{path.name}.unfinished"
    if command == "train":
        unfinished.write_text("of another recipe")
        arguments = ["train", "--recipe", "small"]
    else:
        unfinished.mkdir()
        arguments = ["audit", str(model), "--methods", "gradient"]
    arguments += ["--data", "digits", "--save-to", str(path)]
    result = CliRunner().invoke(main, arguments, input=answer)
    assert result.exit_code == code, result.output
    assert result.output.count(f"{path} exists. Replace it? [y/N]") == 1
    assert (path.read_bytes() == b"precious") == (code != 0)
    assert unfinished.exists() == (code != 0)

    monkeypatch.setattr(outputs, "_at_a_terminal", lambda: False)
    path.write_text("precious")
    unfinished.mkdir(exist_ok=True) if command == "audit" else unfinished.write_text(
        "of another recipe"
    )
    result = CliRunner().invoke(main, arguments, input=answer)
    assert result.exit_code == 1
    assert f"{path} exists; pass --overwrite to replace it" in result.stderr
    assert path.read_text() == "precious"


WAITING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from mnist_xai.cli import app, terminal
def wait():
    print("waiting", flush=True)
    time.sleep(60)
terminal.start_tensorflow = wait
sys.argv = ["mnist-xai", "evaluate", "no.keras"]
app.main()
"""


@pytest.mark.parametrize("apart", [0, 0.0003, 0.001, 0.003, 0.012, 0.03])
def test_ctrl_c_pressed_twice_ends_like_ctrl_c_pressed_once(apart):
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        time.sleep(apart)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=60)[1].decode()
    assert stderr.split() == ["Interrupted."]
    assert process.returncode == 130


@pytest.mark.usefixtures("_restores_ctrl_c")
def test_a_second_ctrl_c_is_ignored_while_the_first_is_handled(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(terminal, "start_tensorflow", interrupted)
    monkeypatch.setattr("click.core.echo", interrupted)  # Click prints a line break.
    try:
        result = CliRunner().invoke(main, ["evaluate", "no.keras"])
    except KeyboardInterrupt:
        pytest.fail("KeyboardInterrupt escaped")
    assert result.stderr == "Interrupted.\n"
    assert result.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_missing_data_set_is_reported_in_one_line(tmp_path):
    env = {"MNIST_XAI_DATA": str(tmp_path / "nowhere")}
    _, err = run("data", "mnist", code=1, env=env)
    assert err.splitlines()[-1].startswith("Error: MNIST_XAI_DATA: no such file or folder")
