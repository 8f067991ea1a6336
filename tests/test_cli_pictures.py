"""The command line on a user's own pictures: one picture, class folders, train/ and test/."""

import json
import shutil

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import mnist_xai as mx
from tests.test_cli import invoke


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A classifier of colour pictures, 16 x 16, into bright and dark."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("model") / "own.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A flat folder of class folders; one picture has another size, one is grey."""
    draw, root = np.random.default_rng(0), tmp_path_factory.mktemp("pictures") / "pets"
    shapes = {"cat": [(16, 16, 3), (20, 30, 3)], "dog": [(16, 16, 3), (16, 16)]}
    for label, of_label in shapes.items():
        (root / label).mkdir(parents=True)
        for i, shape in enumerate(of_label):
            Image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(root / label / f"{i}.png")
    return root


def test_evaluate_takes_a_flat_folder_and_says_what_it_resized(model, pets):
    out, err = invoke("evaluate", model, "--data", pets, "--json")
    figures = json.loads(out)
    assert "pets: 1 of 4 pictures resized to 16 x 16 (first: 1.png, 20 x 30)" in err
    assert "pets: 1 of 4 pictures grey, given three channels (first: 1.png, 16 x 16)" in err
    images = mx.normalise(mx.load_data(pets, image_shape=(16, 16, 3)).test_images)
    found = np.asarray(keras.saving.load_model(model)(images)).argmax(axis=1)
    assert figures["accuracy"] == np.mean(found == [0, 0, 1, 1])
    assert [row["class"] for row in figures["per_class"]] == ["cat", "dog"]


def test_evaluate_takes_a_folder_with_train_and_test(model, pets, tmp_path):
    for part in ("train", "test"):
        shutil.copytree(pets, tmp_path / "split" / part)
    out, _ = invoke("evaluate", model, "--data", tmp_path / "split")
    assert "split, 4 test images" in out
    assert "cat" in out


def test_data_of_other_classes_than_the_models_is_refused(model, pets, tmp_path):
    shutil.copytree(pets, tmp_path / "more")
    shutil.copytree(pets / "cat", tmp_path / "more" / "fox")
    _, err = invoke("evaluate", model, "--data", tmp_path / "more", code=1)
    assert "expected 2 classes, as many as the model has; more has 3: cat, dog, fox" in err


def test_explain_resizes_a_picture_and_names_the_classes(model, pets, tmp_path):
    out, err = invoke("explain", model, "--image", pets / "cat" / "1.png", "--data", pets,
                      "--method", "gradient", "--target", 1,
                      "--save-to", tmp_path / "map.npy")  # fmt: skip
    assert "1.png: picture resized to 16 x 16 (1.png, 20 x 30)" in err
    assert "explained: class 1 (dog)" in out
    image = mx.normalise(mx.load_data(pets, image_shape=(16, 16, 3)).test_images[1:2])
    expected = mx.gradient_map(mx.load_model(model), image, [1])[0]
    np.testing.assert_allclose(np.load(tmp_path / "map.npy"), expected, atol=1e-6)


def test_explain_and_layers_take_an_index_of_a_flat_folder(model, pets, tmp_path):
    out, _ = invoke("explain", model, "--data", pets, "--index", 2, "--save-to", tmp_path / "w.png")
    assert "(cat)" in out or "(dog)" in out
    invoke("layers", model, "--data", pets, "--index", 3, "--save-to", tmp_path / "layers")
    assert (tmp_path / "layers" / "conv.png").exists()


def test_audit_takes_a_flat_folder(model, pets, tmp_path):
    page = tmp_path / "audit.html"
    invoke("audit", model, "--data", pets, "--methods", "gradient", "--images", 2,
           "--save-to", page)  # fmt: skip
    text = page.read_text()
    assert "cat" in text
    assert "dog" in text


def test_data_describes_a_flat_folder_of_one_size(pets, tmp_path):
    shutil.copytree(pets / "cat", tmp_path / "flat" / "a")
    (tmp_path / "flat" / "a" / "1.png").unlink()
    shutil.copytree(tmp_path / "flat" / "a", tmp_path / "flat" / "b")
    out, _ = invoke("data", tmp_path / "flat", "--save-to", tmp_path / "some.png")
    assert "flat: 0 training and 2 test images of 16 x 16 x 3" in out
    assert (tmp_path / "some.png").exists()
