"""A command with invalid arguments reports the error in one line and writes nothing."""

import keras
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

import mnist_xai as mx
from mnist_xai.cli.app import main
from tests.properties.budget import examples
from tests.properties.terminal import is_harmless_line

# Any text that a shell can pass, but never the name of a file or data set, nor a number.
words = st.text(st.characters(exclude_characters="\0/"), max_size=20).map(lambda text: f"zz{text}")
odd = words | st.sampled_from(["", " ", "-", "--", "0x10", "1e3", "nan", "-1", "९", "1" * 50])
numbers = st.sampled_from(["-1", "360", "1e3", "nan", "", "0.5", "--", "99999999999999999999"])
files = words.map(lambda word: f"no/such/{word}") | st.just(".")

# For each command: valid arguments, and options for which every value here is invalid.
VALID = {
    "train": ["--data", "digits", "--save-to", "new.keras"],
    "evaluate": ["MODEL", "--data", "digits"],
    "layers": ["MODEL", "--data", "digits", "--index", "1", "--save-to", "new"],
    "explain": ["MODEL", "--data", "digits", "--index", "1", "--save-to", "new.png"],
    "audit": ["MODEL", "--data", "digits", "--save-to", "new.html"],
    "methods": [],
    "data": ["digits"],
    "reproduce": ["--data", "digits", "--save-to", "run"],
}
_IMAGE = {"--index": numbers, "--data": odd}
INVALID = {
    "train": {"--model": odd, "--data": odd, "--recipe": odd, "--seed": words,
              "--csv": st.just("."), "--save-to": words | st.just(".")},
    "evaluate": {"--data": odd},
    "layers": _IMAGE,
    "explain": {**_IMAGE, "--method": odd, "--target": numbers, "--score": odd, "--save-to": odd},
    "audit": {"--data": odd, "--methods": odd, "--budget": odd, "--save-to": odd,
              "--images": st.sampled_from(["0", "1", "-3", "many"]), "--seed": words},
    "methods": {"--family": odd},
    "data": {"--save-to": st.just(".")},
    "reproduce": {"--data": odd, "--seed": words},
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that fits the digits, so that only the arguments are invalid."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    image = keras.Input((28, 28, 1))
    mx.save_model(keras.Model(image, layers.Dense(10)(layers.Flatten()(image))), path)
    return path


@st.composite
def invalid_arguments(draw, command):
    """Draw arguments with at least one invalid among them."""
    fault = draw(st.sampled_from(["value", "option", "argument", "file"]))
    valid = list(VALID[command])
    if fault == "option":
        name = draw(st.text("abcxyz-_=\n é", min_size=2, max_size=9).map(lambda t: f"--zz{t}"))
        place = draw(st.sampled_from([0, len(valid)]))
        return [*valid[:place], name, *valid[place:]]
    if fault == "file" and "MODEL" in valid:
        return [draw(files) if given == "MODEL" else given for given in valid]
    if fault == "argument":
        return [*valid, draw(words), draw(words)]
    option = draw(st.sampled_from([*INVALID[command]]))
    return [*valid, option, draw(INVALID[command][option])]


@pytest.mark.parametrize("command", VALID)
@given(data=st.data())
@examples(20)
def test_a_command_with_invalid_arguments_reports_one_line_and_writes_nothing(
    command, data, model, tmp_path
):
    arguments = data.draw(invalid_arguments(command))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        given_arguments = [str(model) if a == "MODEL" else a for a in arguments]
        done = CliRunner().invoke(main, [command, *given_arguments])
    assert done.exit_code in (1, 2), (arguments, done.output)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("Error: ")
    assert is_harmless_line(done.stderr[:-1]), done.stderr
    assert not list(tmp_path.iterdir()), [path.name for path in tmp_path.iterdir()]
