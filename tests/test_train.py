"""Training: results, resuming, outputs, errors."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import mnist_xai as mx
from mnist_xai.io import checkpoint, files
from mnist_xai.io.files import OutputExistsError
from mnist_xai.io.saving import file_sha256
from mnist_xai.train import RECIPES, train

# All parts of the default recipe, in seconds.
SHORT = replace(
    RECIPES["default"], epochs=3, steps_per_epoch=12, batch_size=64, averaging=0.9, held_out=0.1
)


@pytest.fixture(scope="module")
def result(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    return train(data=digits, recipe=SHORT, seed=3, save_to=path, progress=False)


def test_a_short_training_reaches_90_percent_accuracy(digits):
    recipe = replace(SHORT, steps_per_epoch=80)
    assert train(data=digits, recipe=recipe, progress=False).evaluation.accuracy > 0.9


def test_the_result_has_model_history_and_evaluation(result, digits):
    assert result.model.name == "cnn"
    assert all(variable.dtype == "float32" for variable in result.model.variables)
    assert not result.model.compiled
    assert {name: len(values) for name, values in result.history.items()} == {
        "accuracy": 3, "loss": 3, "val_accuracy": 3, "val_loss": 3,
    }  # fmt: skip
    assert len(result.evaluation.labels) == len(digits.test_labels)
    loaded = mx.load_model(result.path)
    images = mx.normalise(digits.test_images[:10])
    np.testing.assert_array_equal(loaded(images), result.model(images))


def test_the_card_describes_the_model_its_data_and_its_training(result, digits):
    card = json.loads(result.path.with_suffix(".json").read_text())
    assert card == json.loads(json.dumps(result.card))
    assert card["model"] == "cnn"
    assert card["parameters"] == 184_586
    assert card["seed"] == 3
    assert card["data"]["name"] == "scikit-learn digits"
    assert card["data"]["sha256"] == digits.sha256
    assert card["recipe"]["epochs"] == 3
    assert card["recipe"]["augmentation"]["rotation"] == RECIPES["default"].augmentation.rotation
    assert card["test"]["accuracy"] == result.evaluation.accuracy
    assert card["validation"]["images"] == 144
    assert len(card["test"]["per_class"]) == 10
    assert set(card["versions"]) == {"python", "mnist_xai", "tensorflow", "keras", "numpy"}
    assert card["file_sha256"] == file_sha256(result.path)


def test_versions_are_those_of_the_modules_under_any_package_name(monkeypatch):
    """TensorFlow may be installed as tensorflow-cpu; a checkout may not be installed."""
    installed = checkpoint.versions()

    def not_installed(name):
        raise checkpoint.PackageNotFoundError(name)

    monkeypatch.setattr(checkpoint, "version", not_installed)
    assert checkpoint.versions() == installed | {"mnist_xai": "not installed"}
    assert installed["tensorflow"] == tf.__version__


def test_two_trainings_give_the_same_bytes(result, digits, tmp_path):
    again = train(data=digits, recipe=SHORT, seed=3, save_to=tmp_path / "a.keras", progress=False)
    assert again.path.read_bytes() == result.path.read_bytes()
    assert again.history == result.history
    other = train(data=digits, recipe=SHORT, seed=4, save_to=tmp_path / "b.keras", progress=False)
    assert other.path.read_bytes() != result.path.read_bytes()


INTERRUPTED_ONCE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # Shells have background jobs ignore it.
from dataclasses import replace
import mnist_xai as mx
from tests.test_train import SHORT
recipe = replace(SHORT, epochs=4, steps_per_epoch=60)
for _ in range(2):
    try:
        mx.train(data="digits", recipe=recipe, save_to=sys.argv[1], csv=sys.argv[2])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def epochs_done(unfinished):
    if not unfinished.exists():
        return 0
    with np.load(unfinished) as state:
        return json.loads(str(state["header"]))["epochs"]


def test_a_training_interrupted_and_killed_within_epochs_resumes_and_gives_the_same_bytes(
    digits, tmp_path, capfd
):
    recipe = replace(SHORT, epochs=4, steps_per_epoch=60)
    whole = train(data=digits, recipe=recipe, save_to=tmp_path / "whole.keras", progress=False)

    target, table = tmp_path / "killed.keras", tmp_path / "killed.csv"
    unfinished = tmp_path / ".killed.keras.unfinished"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED_ONCE, str(target), str(table)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def within_the_epoch_after(epochs):
        deadline = time.monotonic() + 120
        while epochs_done(unfinished) < epochs:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(0.1)  # Now in the next epoch, which takes about 0.6 s.

    within_the_epoch_after(1)
    process.send_signal(signal.SIGINT)
    printed = ""
    while not printed.endswith("interrupted\n"):
        line = process.stdout.readline()
        assert line, printed
        printed += line
    assert not target.exists()
    first = epochs_done(unfinished)
    within_the_epoch_after(first + 1)
    process.kill()
    printed = process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == -signal.SIGKILL
    assert f"Resuming after epoch {first} of 4" in printed
    assert not target.exists()
    done = epochs_done(unfinished)
    assert 1 <= first < done < 4

    capfd.readouterr()
    resumed = train(data=digits, recipe=recipe, save_to=target, csv=table)
    shown = capfd.readouterr().out  # Progress is shown unless it is turned off.
    assert f"Resuming after epoch {done} of 4" in shown
    assert "accuracy" in shown
    assert target.read_bytes() == whole.path.read_bytes()
    assert target.with_suffix(".json").read_text() == whole.path.with_suffix(".json").read_text()
    assert resumed.history == whole.history
    assert not unfinished.exists()
    assert [line.split(",")[0] for line in table.read_text().splitlines()] == [
        "epoch", "1", "2", "3", "4",
    ]  # fmt: skip


def test_the_state_of_another_training_is_not_resumed(result, digits, tmp_path):
    path = tmp_path / "model.keras"
    unfinished = tmp_path / ".model.keras.unfinished"
    call = {"data": digits, "recipe": SHORT, "seed": 3, "save_to": path, "progress": False}
    for change in ({"seed": 4}, {"recipe": replace(SHORT, learning_rate=1e-4)}):
        with pytest.raises(_StoppedError):  # In its first epoch: nothing was resumed.
            train(**(call | change), callbacks=[_Stops(1)])
        assert unfinished.exists()
    assert train(**call).path.read_bytes() == result.path.read_bytes()


def test_a_training_stopped_after_its_last_epoch_writes_its_complete_history(digits, tmp_path):
    table = tmp_path / "history.csv"
    call = {"data": digits, "recipe": SHORT, "save_to": tmp_path / "model.keras", "csv": table}
    with pytest.raises(_StoppedError):
        train(**call, callbacks=[_Stops(SHORT.epochs)])
    whole = table.read_text()
    table.write_text(
        "".join(whole.splitlines(keepends=True)[:-1])
    )  # The state that a kill may leave.
    train(**call)
    assert table.read_text() == whole


def test_a_damaged_state_is_replaced(result, digits, tmp_path):
    state = tmp_path / ".model.keras.unfinished"
    for content in (b"", b"no archive", b"PK\x03\x04"):
        state.write_bytes(content)
        assert checkpoint.Checkpoint(state, {}).epochs() == 0
    again = train(
        data=digits, recipe=SHORT, seed=3, save_to=tmp_path / "model.keras", progress=False
    )
    assert again.path.read_bytes() == result.path.read_bytes()
    assert not state.exists()


class _StoppedError(Exception):
    pass


class _Stops(keras.callbacks.Callback):
    """Stops the training after an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            raise _StoppedError


def test_the_recipe_article_has_the_hyper_parameters_of_the_article():
    recipe = RECIPES["article"]
    assert (recipe.epochs, recipe.batch_size, recipe.steps_per_epoch) == (10, 32, 187)
    assert recipe.validation_steps == 31
    assert recipe.augmentation is None
    assert recipe.weight_decay == 0
    assert not recipe.cosine
    assert recipe.learning_rate == 1e-3  # The default of Keras's Adam, which the article uses.


def test_without_weight_decay_the_optimiser_is_adam(digits):
    """One step of a plain recipe equals one step of Keras's Adam."""
    recipe = mx.Recipe(epochs=1, batch_size=32, steps_per_epoch=1, validation_steps=1)
    ours = train(data=digits, recipe=recipe, progress=False).model
    batch = mx.data.training_batches(
        digits.train_images, digits.train_labels, batch_size=32, classes=10, seed=0
    )
    theirs = mx.build_model(seed=0)
    theirs.compile("adam", "categorical_crossentropy", jit_compile=False)
    theirs.fit(batch, steps_per_epoch=1, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_the_result_is_the_average_of_the_weights(digits):
    """Averaging with momentum m: a_t = m a_(t-1) + (1 - m) w_t, from a_1 = w_1."""

    recipe = mx.Recipe(
        epochs=1, batch_size=32, steps_per_epoch=3, averaging=0.8, validation_steps=1
    )
    stepped = _Weights()
    found = train(data=digits, recipe=recipe, callbacks=[stepped], progress=False).model
    for average, w1, w2, w3 in zip(found.get_weights(), *stepped.weights, strict=True):
        assert not np.array_equal(w1, w3)
        np.testing.assert_allclose(average, 0.8 * (0.8 * w1 + 0.2 * w2) + 0.2 * w3, atol=1e-6)


class _Weights(keras.callbacks.Callback):
    """Keeps the weights after every step, before any average."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append([w.copy() for w in self.model.get_weights()])


def test_calibration_lowers_the_loss_without_changing_a_prediction(result, digits):
    plain = train(data=digits, recipe=replace(SHORT, calibrate=False), seed=3, progress=False)
    np.testing.assert_array_equal(plain.evaluation.predictions, result.evaluation.predictions)
    assert result.card["validation"]["loss"] < plain.card["validation"]["loss"]


def test_held_out_images_are_never_trained_on(digits):
    from mnist_xai.train import _split

    split = _split(digits, SHORT)
    assert len(split.images) + len(split.validation_images) == len(digits.train_images)
    seen = {image.tobytes() for image in split.images}
    doubles = len(digits.train_images) - len({i.tobytes() for i in digits.train_images})
    assert sum(i.tobytes() in seen for i in split.validation_images) <= doubles
    article = _split(digits, replace(RECIPES["article"], validation_steps=5))
    np.testing.assert_array_equal(article.validation_images, digits.test_images[:160])


def test_history_and_tensorboard_logs_are_written(digits, tmp_path):
    recipe = replace(SHORT, epochs=2, steps_per_epoch=2)
    table, board = tmp_path / "history.csv", tmp_path / "board"
    result = train(data=digits, recipe=recipe, csv=table, tensorboard=board, progress=False)
    lines = table.read_text().splitlines()
    assert lines[0] == "epoch,accuracy,loss,val_accuracy,val_loss"
    assert float(lines[2].split(",")[2]) == result.history["loss"][1]
    assert list(board.rglob("events.out.tfevents.*"))


def test_without_progress_nothing_is_printed_and_no_global_random_state_changes(digits, capfd):
    keras.utils.set_random_seed(5)
    before = np.random.get_state()[1].copy()
    capfd.readouterr()
    train(data=digits, recipe=replace(SHORT, epochs=1, steps_per_epoch=2), progress=False)
    assert capfd.readouterr().out == ""
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "resnet"}, "name: expected one of cnn"),
        ({"recipe": "best"}, "recipe: expected one of default, small, article; got 'best'"),
        ({"seed": -1}, "seed: expected a number of at least 0; got -1"),
        ({"data": "mnits"}, "data: expected one of mnist"),
        ({"save_to": "model.h5"}, "expected a file name that ends in .keras"),
        ({"recipe": replace(SHORT, batch_size=2000)}, "expected at least 2000 training images"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_written(
    digits, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        train(**({"data": digits, "recipe": SHORT} | arguments))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.keras", "model.json"])
def test_an_existing_model_or_card_is_not_replaced_without_overwrite(digits, tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(OutputExistsError, match=f"{name} exists; pass overwrite=True"):
        train(data=digits, recipe=SHORT, save_to=tmp_path / "model.keras")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_on_a_full_disk_the_existing_model_stays(digits, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    path.write_text("precious")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        train(data=digits, recipe=SHORT, save_to=path, overwrite=True, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]
    assert path.read_text() == "precious"


def test_unwritable_history_and_logs_are_refused_before_the_training(tmp_path, digits):
    (tmp_path / "taken").write_text("precious")
    for given, error in (({"csv": tmp_path}, IsADirectoryError),
                         ({"tensorboard": tmp_path / "taken"}, NotADirectoryError)):  # fmt: skip
        started = []
        watch = keras.callbacks.LambdaCallback(on_train_begin=started.append)
        with pytest.raises(error, match="expected a"):
            train(data=digits, recipe=SHORT, callbacks=[watch], progress=False, **given)
        assert started == []
    assert (tmp_path / "taken").read_text() == "precious"
