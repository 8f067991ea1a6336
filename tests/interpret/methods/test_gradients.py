import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
from tf_keras_vis.utils.scores import CategoricalScore

from mnist_xai import gradient_map


def _float64_twin(model):
    """Return the same network in float64: central differences need more digits than float32."""
    config = model.get_config()
    for layer in config["layers"]:
        layer["config"]["dtype"] = "float64"
    twin = type(model).from_config(config)
    twin.set_weights(model.get_weights())
    return twin


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_gradient_equals_central_differences(cnn, images, score):
    target, h = 3, 1e-6
    twin = _float64_twin(cnn)
    before = keras.Model(twin.input, twin.get_layer("dense").output)
    kernel, bias = twin.get_layer("probabilities").get_weights()

    def value(x):
        z = np.asarray(before(x)) @ kernel + bias
        return z[:, target] if score == "logit" else np.asarray(tf.nn.softmax(z))[:, target]

    found = gradient_map(cnn, images, [target] * 5, score=score)
    pixels = np.random.default_rng(0).integers(2, 26, (40, 2))
    for row, column in pixels:
        step = np.zeros((1, 28, 28, 1))
        step[0, row, column] = h
        difference = (value(images + step) - value(images - step)) / (2 * h)
        scale = np.abs(found).max()
        np.testing.assert_allclose(found[:, row, column, 0], difference, atol=1e-4 * scale)


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # Raised by tf-keras-vis.
def test_gradient_equals_tf_keras_vis(cnn, images):
    targets = [0, 3, 5, 7, 9]
    oracle = Saliency(cnn, model_modifier=ReplaceToLinear(), clone=True)
    expected = oracle(
        CategoricalScore(targets), images, keepdims=True, normalize_map=False,
        gradient_modifier=lambda gradients: gradients,
    )  # fmt: skip
    found = gradient_map(cnn, images, targets)
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5 * np.abs(found).max())


def test_gradient_of_a_linear_network_is_its_weights(images):
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
    kernel = model.layers[-1].get_weights()[0]
    found = gradient_map(model, images, np.arange(5))
    expected = kernel.T[:5].reshape(5, 28, 28, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_gradient_of_every_model_is_finite_and_not_zero(model, images):
    found = gradient_map(model, images)
    assert found.shape == images.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert all(np.abs(m).max() > 0 for m in found)


def test_the_target_defaults_to_the_predicted_class(network, images):
    predicted = network.logits(images).argmax(axis=1)
    np.testing.assert_array_equal(
        gradient_map(network, images), gradient_map(network, images, predicted)
    )


def test_the_gradient_of_the_probability_follows_the_chain_rule(network, images):
    """∂p_c/∂x = p_c (∂z_c/∂x - Σ_k p_k ∂z_k/∂x)."""
    p = network.probabilities(images)
    slopes = np.stack([gradient_map(network, images, [k] * 5) for k in range(10)], axis=1)
    mean = np.einsum("nk,nkhwc->nhwc", p, slopes)
    expected = p[:, 3, None, None, None] * (slopes[:, 3] - mean)
    found = gradient_map(network, images, [3] * 5, score="probability")
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_map_of_the_articles_code_is_zero_and_ours_is_not(cnn, images):
    """Erratum of document 000, section 8.3: the sum of a softmax is 1 for every image."""
    with pytest.raises((AttributeError, RuntimeError)):
        # Keras has removed it, or refuses it outside graph mode.
        keras.backend.gradients(cnn.output, cnn.input)
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        everything = cnn(x)  # K.gradients differentiates the sum of its argument.
    article = np.asarray(tape.gradient(everything, x))
    ours = gradient_map(cnn, images)
    assert np.abs(article).max() < 1e-6 * np.abs(ours).max()
    assert np.abs(ours).max() > 1e-3
