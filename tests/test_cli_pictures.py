"""The command line on a user's own pictures: one picture, class folders, train/ and test/."""

import json
import re
import shutil

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers
from PIL import Image

import mnist_xai as mx
from mnist_xai.cli.app import main
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


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """Dark and bright pictures, and classifiers of them: one for bytes, one for [-1, 1]."""
    root = tmp_path_factory.mktemp("bright")
    draw = np.random.default_rng(1)
    for label, middle in (("dark", 60), ("light", 190)):
        (root / "data" / label).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(draw.normal(middle, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "data" / label / f"{i}.png")
    for name, first in (("bytes", [layers.Rescaling(1 / 127.5, -1.0)]), ("tf", [])):
        mean = layers.GlobalAveragePooling2D()
        unit = layers.Dense(1, "sigmoid", kernel_initializer="ones")
        keras.Sequential([keras.Input((16, 16, 3)), *first, mean, unit]).save(
            root / f"{name}.keras"
        )
    return root


@pytest.mark.parametrize(
    ("model", "options", "range_"),
    [("bytes", [], "[0, 255]"), ("tf", ["--pixels", "tf"], "[-1, 1]"),
     ("tf", ["--pixels", "-1,1"], "[-1, 1]"),
     ("tf", ["--preprocess", "mobilenet_v2"], "[0, 255]")],
)  # fmt: skip
def test_a_binary_model_of_any_pixels_is_evaluated(bright, model, options, range_):
    out, err = invoke("evaluate", bright / f"{model}.keras", "--data", bright / "data", *options)
    assert f"40 test images with pixels in {range_}" in out
    assert "accuracy           1.0000" in out
    assert err == ""


@pytest.mark.filterwarnings("default:'sequential:UserWarning")
def test_a_far_more_accurate_range_is_said_first(bright):
    _, err = invoke("evaluate", bright / "tf.keras", "--data", bright / "data")
    expected = (
        r"Warning: 'sequential.*' is right for 50% of these images taken as \[0, 1\], "
        r"and for 100% of them in the range \[-1, 1\] \(pixels='tf'\)"
    )
    assert re.match(expected, err)


@pytest.mark.filterwarnings("default:'sequential:UserWarning")
def test_the_audit_warns_of_a_far_more_accurate_range(bright, tmp_path):
    out = tmp_path / "audit.html"
    _, err = invoke("audit", bright / "tf.keras", "--data", bright / "data", "--methods",
                    "gradient", "--images", 2, "--save-to", out)  # fmt: skip
    assert "(pixels='tf'). Its pixels seem to be misread" in err
    _, err = invoke("audit", bright / "tf.keras", "--data", bright / "data", "--methods",
                    "gradient", "--images", 2, "--save-to", out, "--overwrite",
                    "--pixels", "tf")  # fmt: skip
    assert err == ""


def test_explain_passes_pictures_as_the_model_takes_them(bright, tmp_path):
    picture = bright / "data" / "light" / "0.png"
    out, _ = invoke("explain", bright / "bytes.keras", "--image", picture, "--data",
                    bright / "data", "--method", "gradient",
                    "--save-to", tmp_path / "a.npy")  # fmt: skip
    assert "Predicted class 1 (light)" in out
    # The mean of three channels, each divided by 127.5: the gradient of a pixel's byte.
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), 1 / 127.5 / 16**2, rtol=1e-4)
    invoke("layers", bright / "tf.keras", "--image", picture, "--pixels=-1,1")
    out, _ = invoke("explain", bright / "tf.keras", "--image", picture, "--pixels", "tf",
                    "--score", "output", "--save-to", tmp_path / "a.png")  # fmt: skip
    assert "Explained: output 0, which is 0." in out


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--pixels", "0,1,2"], "expected a name, LOW,HIGH, or one LOW for each channel"),
     (["--pixels", "a,b"], "expected a name, LOW,HIGH"),
     (["--pixels", "imagenet"], "pixels: expected one of unit, bytes, tf, caffe, torch"),
     (["--pixels", "1,0"], "pixels: expected finite numbers with low < high"),
     (["--preprocess", "resnets"], "preprocess: expected a callable or one of convnext"),
     (["--output", "other"], "output: expected one of")],
)  # fmt: skip
def test_wrong_options_of_the_model_are_named(bright, options, message):
    done = CliRunner().invoke(
        main, ["evaluate", str(bright / "tf.keras"), "--data", str(bright / "data"), *options]
    )
    assert done.exit_code != 0
    assert message in done.output


def test_data_describes_a_flat_folder_of_one_size(pets, tmp_path):
    shutil.copytree(pets / "cat", tmp_path / "flat" / "a")
    (tmp_path / "flat" / "a" / "1.png").unlink()
    shutil.copytree(tmp_path / "flat" / "a", tmp_path / "flat" / "b")
    out, _ = invoke("data", tmp_path / "flat", "--save-to", tmp_path / "some.png")
    assert "flat: 0 training and 2 test images of 16 x 16 x 3" in out
    assert (tmp_path / "some.png").exists()
