"""The networks of the articles."""

import keras
import numpy as np
import pytest

from mnist_xai import MODELS, build_model, load_model, save_model


def test_the_network_of_the_case_study_is_the_network_of_the_article():
    model = build_model("cnn")
    assert model.count_params() == 184_586
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert shapes == {
        "image": (28, 28, 1),
        "conv1": (24, 24, 32),
        "pool1": (12, 12, 32),
        "conv2": (8, 8, 64),
        "pool2": (4, 4, 64),
        "flatten": (1024,),
        "dense": (128,),
        "probabilities": (10,),
    }
    assert model.get_layer("conv1").kernel.shape == (5, 5, 1, 32)
    assert model.get_layer("conv2").kernel.shape == (5, 5, 32, 64)
    activations = {layer.name: layer.activation.__name__ for layer in model.layers
                   if hasattr(layer, "activation")}  # fmt: skip
    assert activations == {
        "conv1": "relu", "conv2": "relu", "dense": "relu", "probabilities": "softmax",
    }  # fmt: skip


def test_the_other_networks_have_as_many_parameters_as_in_the_articles():
    # Document 002: 9·32 + 32 + 9·32·64 + 64 + 1600·10 + 10. Document 004: 784·128 + 128 + 1290.
    assert build_model("cnn_3x3").count_params() == 34_826
    assert build_model("dense").count_params() == 101_770
    assert tuple(MODELS) == ("cnn", "cnn_3x3", "dense", "attention_cnn")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("shape", "classes"), [((28, 28, 1), 10), ((32, 40, 3), 7), ((16, 16, 2), 2)]
)
def test_every_network_accepts_any_image_shape_and_number_of_classes(
    name, shape, classes, tmp_path
):
    model = build_model(name, input_shape=shape, classes=classes, seed=0)
    images = np.random.default_rng(0).random((3, *shape), np.float32)
    p = np.asarray(model(images))
    assert p.shape == (3, classes)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    save_model(model, tmp_path / "model.keras")
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras")(images), p)


def test_initial_weights_are_a_function_of_the_seed():
    first, same, other, unseeded = (build_model(seed=s).get_weights() for s in (1, 1, 2, None))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    kernels = [(a, b, c) for a, b, c in zip(first, other, unseeded, strict=True) if a.ndim > 1]
    assert len(kernels) == 4
    assert not any(np.array_equal(a, b) or np.array_equal(a, c) for a, b, c in kernels)
    # Two kernels of one model do not begin with the same numbers.
    draws = [kernel.ravel()[:5] / np.abs(kernel).max() for kernel, *_ in kernels]
    assert not np.allclose(draws[0], draws[1], atol=1e-3)


def test_building_does_not_change_the_global_random_state():
    keras.utils.set_random_seed(5)
    before = np.random.get_state()[1].copy()
    build_model(seed=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_probabilities_are_float32_under_mixed_precision():
    model = build_model(dtype="mixed_bfloat16")
    assert model.get_layer("conv1").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"
    assert all(variable.dtype == "float32" for variable in model.weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "resnet"},
            "name: expected one of cnn, cnn_3x3, dense, attention_cnn; got 'resnet'",
        ),
        ({"input_shape": (28, 28)}, r"input_shape: expected \(height, width, channels\)"),
        ({"input_shape": (28, 0, 1)}, "input_shape: expected"),
        (
            {"input_shape": (15, 28, 1)},
            "'cnn' needs images of at least 16 x 16 pixels; got 15 x 28",
        ),
        ({"name": "cnn_3x3", "input_shape": (9, 9, 1)}, "at least 10 x 10"),
        ({"name": "attention_cnn", "input_shape": (13, 14, 1)}, "at least 14 x 14"),
        ({"classes": 1}, "classes: expected at least 2; got 1"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_model(**arguments)


@pytest.mark.parametrize(
    ("name", "side"), [("cnn", 16), ("cnn_3x3", 10), ("dense", 1), ("attention_cnn", 14)]
)
def test_every_network_can_be_built_for_its_smallest_images(name, side):
    assert build_model(name, input_shape=(side, side, 1)).output.shape == (None, 10)
