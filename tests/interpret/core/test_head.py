"""What a network ends in: its logits, probabilities and outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy.special import expit, softmax

from mnist_xai import Network, explain
from tests.rounding import assert_complete_to_rounding, assert_equal_to_rounding


@pytest.fixture
def small():
    return np.random.default_rng(3).random((3, 8, 8, 1), np.float32)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


def body():
    image = keras.Input((8, 8, 1))
    x = layers.MaxPooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    return image, layers.Flatten()(x)


def ending(*steps):
    image, x = body()
    for step in steps:
        x = step(x)
    return keras.Model(image, x)


def raw_of(model, images):
    return keras.Model(model.input, model.get_layer("last").output)(images).numpy()


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("after", [[layers.Activation("sigmoid")], [keras.ops.sigmoid], []])
def test_sigmoids_are_undone(small, units, after):
    model = ending(layers.Dense(units, None if after else "sigmoid", name="last"), *after)
    network, p = Network(model), model(small).numpy()
    logit = np.log(p / (1 - p))
    if units == 1:
        logit, p = np.hstack([-logit, logit]), np.hstack([1 - p, p])
    np.testing.assert_allclose(network.logits(small), logit, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(network.probabilities(small), p, rtol=1e-5)
    assert network.classes == p.shape[1]


@pytest.mark.parametrize("score", ["logit", "probability", "output"])
@pytest.mark.parametrize(
    "method", ["gradient", "lrp_epsilon", "deeplift_rescale", "deeplift_reveal_cancel", "occlusion"]
)
@pytest.mark.parametrize("units", [1, 3])
def test_methods_explain_a_sigmoid(small, method, score, units):
    model = ending(layers.Dense(units, "sigmoid", name="last"))
    network = Network(model)
    outputs = model(small).numpy()
    for target in range(1 if units == 1 and score == "output" else max(units, 2)):
        found = explain(network, small, target, method=method, score=score)
        p = outputs[:, 0] if units == 1 else outputs[:, target]
        if units == 1 and target == 0 and score != "output":
            p = 1 - p
        expected = np.log(p / (1 - p)) if score == "logit" else p
        np.testing.assert_allclose(found.scores, expected, rtol=1e-4, atol=1e-5)
        if found.residuals is not None:
            assert_complete_to_rounding(found, network)
        if method == "gradient":
            with tf.GradientTape() as tape:
                x = tf.constant(small)
                tape.watch(x)
                y = model(x)[:, 0 if units == 1 else target]
                y = 1 - y if units == 1 and target == 0 and score != "output" else y
                s = tf.math.log(y / (1 - y)) if score == "logit" else y
            slope = tape.gradient(s, x).numpy()
            np.testing.assert_allclose(found.maps, slope, rtol=0, atol=1e-4 * np.abs(slope).max())


def test_the_two_classes_of_one_unit_have_opposite_maps(small):
    network = Network(ending(layers.Dense(1, "sigmoid")))
    for method in ("gradient", "integrated_gradients", "lrp_epsilon", "deeplift_rescale"):
        zero, one = (explain(network, small, c, method=method).maps for c in (0, 1))
        assert_equal_to_rounding(zero, -one, network)


def test_one_linear_unit_is_a_logit_and_says_so(small):
    model = ending(layers.Dense(1))
    network, z = Network(model), model(small).numpy()
    np.testing.assert_allclose(network.logits(small), np.hstack([-z, z]), rtol=1e-6)
    np.testing.assert_allclose(network.probabilities(small)[:, 1:], expit(z), rtol=1e-5)
    assert "For a regression, pass score='output'" in str(explain(network, small))
    found = explain(network, small, score="output", method="lrp_epsilon")
    np.testing.assert_allclose(found.scores, z[:, 0], rtol=1e-6)
    assert_complete_to_rounding(found, network)


def test_a_unit_of_an_embedding_is_explained_by_its_index(small):
    model = ending(layers.Dense(6))
    found = explain(model, small, 4, score="output", method="integrated_gradients")
    np.testing.assert_allclose(found.scores, model(small).numpy()[:, 4], rtol=1e-6)
    with pytest.raises(ValueError, match="targets: expected the output to explain, from 0 to 5"):
        explain(model, small, score="output")


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_a_hidden_softmax_gives_log_probabilities(small, score):
    model = ending(layers.Dense(3), layers.Lambda(lambda z: tf.nn.softmax(z)))
    network, p = Network(model), model(small).numpy()
    np.testing.assert_allclose(network.logits(small), np.log(p), rtol=1e-5)
    found = explain(network, small, 1, method="gradient", score=score)
    with tf.GradientTape() as tape:
        x = tf.constant(small)
        tape.watch(x)
        y = model(x)[:, 1]
        y = tf.math.log(y) if score == "logit" else y
    slope = tape.gradient(y, x)
    np.testing.assert_allclose(found.maps, slope, rtol=0, atol=1e-5 * np.abs(slope).max())


def test_a_hidden_sigmoid_is_explained_as_it_is(small):
    model = ending(layers.Dense(3), layers.Lambda(lambda z: tf.sigmoid(z)))
    network = Network(model)
    assert_equal_to_rounding(network.logits(small), model(small), network)
    assert_equal_to_rounding(network.probabilities(small), model(small), network)
    assert "explained as they are" in str(explain(network, small))


def test_small_logits_are_not_taken_for_probabilities(small):
    model = ending(layers.Dense(2, kernel_initializer="zeros", name="last"))
    model.get_layer("last").bias.assign([0.2, 0.7])
    expected = softmax([[0.2, 0.7]] * 3, axis=1)
    np.testing.assert_allclose(Network(model).probabilities(small), expected, rtol=1e-5)


@pytest.mark.parametrize("output", ["first", "second", 0, 1])
def test_outputs_of_a_list_are_named_by_layer_or_index(small, output):
    image, x = body()
    outputs = [layers.Dense(3, name="first")(x), layers.Dense(1, name="second")(x)]
    model = keras.Model(image, outputs)
    which = {"first": 0, "second": 1}.get(output, output)
    found = explain(model, small, 0, score="output", output=output, method="gradient")
    np.testing.assert_allclose(found.scores, model(small)[which].numpy()[:, 0], rtol=1e-5)


def test_a_target_that_the_head_does_not_have_is_refused(small):
    network = Network(ending(layers.Dense(1, "sigmoid")))
    for target, score, message in [
        (2, "logit", "classes from 0 to 1; got 2"),
        (1, "output", "outputs from 0 to 0; got 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            explain(network, small, target, score=score)
