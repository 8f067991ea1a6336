"""Saving and loading models, and model cards."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from mnist_xai import ModelFileError, Network, build_model, load_model, save_model
from mnist_xai.io import saving
from mnist_xai.io.saving import said_of_images


@pytest.fixture
def saved(tmp_path):
    save_model(build_model(seed=0), tmp_path / "model.keras")
    return tmp_path / "model.keras"


def rewrite(path, **members):
    """Replace members of a `.keras` archive."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (content | members).items():
            archive.writestr(name, data)


def test_equal_models_give_equal_bytes(saved, tmp_path):
    save_model(build_model(seed=0), tmp_path / "again.keras")
    assert saved.read_bytes() == (tmp_path / "again.keras").read_bytes()
    save_model(build_model(seed=1), tmp_path / "other.keras")
    assert saved.read_bytes() != (tmp_path / "other.keras").read_bytes()


def test_only_the_network_is_saved(tmp_path, images):
    model = build_model(seed=0)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, np.arange(5), verbose=0)
    save_model(model, tmp_path / "model.keras")
    assert (
        tmp_path / "model.keras"
    ).stat().st_size <= 1_000_000  # 184,586 float32 weights are 738 kB.
    loaded = load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded(images), model(images))


def test_keras_itself_loads_a_saved_model(saved, images):
    np.testing.assert_array_equal(keras.saving.load_model(saved)(images), load_model(saved)(images))


def test_models_saved_by_keras_are_loaded(tmp_path, model, images):
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        load_model(tmp_path / "model.keras")(images, training=False), model(images, training=False)
    )


@pytest.mark.parametrize("name", ["model.h5", "model", "model.keras.zip", "model.pkl"])
def test_other_formats_are_refused_by_their_file_name(tmp_path, name):
    for use in (load_model, lambda path: save_model(build_model(), path)):
        with pytest.raises(ModelFileError, match="expected a file name that ends in .keras"):
            use(tmp_path / name)


def test_a_missing_model_is_named_in_the_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="mine.keras: no such model file"):
        load_model(tmp_path / "mine.keras")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n legacy", b"text"])
def test_a_file_of_another_format_is_refused(tmp_path, content):
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"damaged, or not a .keras model"):
        load_model(tmp_path / "model.keras")


def test_a_truncated_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-1000])
    with pytest.raises(ModelFileError, match="model.keras: damaged"):
        load_model(saved)


def test_tampered_weights_are_refused(saved):
    rewrite(saved, **{"model.weights.h5": b"no weights"})
    with pytest.raises(ModelFileError, match="model.keras: damaged weights"):
        load_model(saved)


def test_a_lambda_layer_is_refused_before_it_is_built(tmp_path):
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Lambda(lambda x: x), layers.Flatten()]
    )
    model.save(tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match="Lambda, which is code from outside Keras"):
        load_model(tmp_path / "model.keras")


def test_a_class_from_outside_keras_is_refused_and_not_imported(saved, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("open('canary', 'w').close()\nclass Layer: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(saved) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"][1]["module"] = "evil"
    config["config"]["layers"][1]["class_name"] = "Layer"
    rewrite(saved, **{"config.json": json.dumps(config).encode()})
    with pytest.raises(ModelFileError, match="evil.Layer, which is code from outside Keras"):
        load_model(saved)
    assert not (tmp_path / "canary").exists()


# --- model cards -------------------------------------------------------------------------


@pytest.fixture
def card(saved):
    path = saving.card_path(saved)
    path.write_text(json.dumps({"seed": 3, "file_sha256": saving.file_sha256(saved)}))
    return path


def test_a_card_is_read_with_and_without_its_model(card, saved):
    assert saving.read_card(card)["seed"] == 3
    saved.unlink()
    assert saving.read_card(card)["seed"] == 3


def test_the_card_of_another_model_is_refused(card, saved):
    save_model(build_model(seed=1), saved)
    with pytest.raises(ModelFileError, match="the card of model.keras; its SHA-256 differs"):
        saving.read_card(card)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"file_sha256": 1}', b"\xff", b"[" * 9999]
)
def test_a_file_that_is_not_a_card_is_refused_in_one_line(card, content):
    card.write_bytes(content)
    with pytest.raises(ModelFileError, match="model card") as caught:
        saving.read_card(card)
    assert "\n" not in str(caught.value)


def test_a_missing_card_is_named_in_the_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="cnn.json: no such model card"):
        saving.read_card(tmp_path / "cnn.json")


def test_the_cards_of_the_committed_models_have_their_hashes():
    cards = sorted((Path(__file__).parents[2] / "saved_models").glob("*.json"))
    assert [saving.read_card(path)["model"] for path in cards] == ["attention_cnn", "cnn"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pixels": "caffe"}, {"pixels": "caffe"}),
        ({"pixels": (0, (1, 2, 3))}, {"pixels": [0, [1, 2, 3]]}),
        ({"preprocess": "resnet50"}, {"preprocess": "resnet50"}),
        ({}, {}),
    ],
)
def test_a_card_says_how_a_saved_model_takes_images(tmp_path, given, said):
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(2)])
    save_model(model, tmp_path / "m.keras", **given)
    assert said_of_images(tmp_path / "m.keras") == said
    network = Network(load_model(tmp_path / "m.keras"), **said)
    assert network.pixels.origin == ("found" if "preprocess" in given else
                                     "given" if given else "open")  # fmt: skip
