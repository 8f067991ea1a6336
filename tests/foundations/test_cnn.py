from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import mnist_xai as mx
from mnist_xai.foundations import cnn as net
from mnist_xai.foundations import losses
from mnist_xai.foundations.optimisers import adam
from tests.foundations.differences import relative_distance

RNG = np.random.default_rng(0)
X = RNG.random((3, 28, 28, 1), np.float32)
Y = np.eye(10)[[3, 1, 4]]
ARRAY_OF_LAYER = {
    "conv1": "a1",
    "pool1": "pool1",
    "conv2": "a2",
    "pool2": "pool2",
    "flatten": "flat",
    "dense": "a3",
    "probabilities": "a4",
}


def weights_of(model):
    return {layer.name: layer.get_weights() for layer in model.layers}


def small_weights(seed=0):
    """Return weights for the case study's layers, for images of 16 × 16 with two channels."""
    rng = np.random.default_rng(seed)
    shapes = {
        "conv1": (5, 5, 2, 3),
        "conv2": (5, 5, 3, 4),
        "dense": (4, 6),
        "probabilities": (6, 5),
    }
    return {
        name: (
            rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape),
            rng.normal(0, 0.1, shape[-1]),
        )
        for name, shape in shapes.items()
    }


SMALL = small_weights()
SMALL_X, SMALL_Y = RNG.random((4, 16, 16, 2)), np.eye(5)[[0, 1, 4, 1]]


def tensorflow_logits(x, variables):
    """Compute the logits of the network in TensorFlow, float64."""
    w1, b1, w2, b2, w3, b3, w4, b4 = variables
    x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, w1, 1, "VALID") + b1), 2, 2, "VALID")
    x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, w2, 1, "VALID") + b2), 2, 2, "VALID")
    x = tf.nn.relu(tf.reshape(x, (len(x), -1)) @ w3 + b3)
    return x @ w4 + b4


def test_every_array_matches_the_output_of_the_keras_layer(cnn):
    arrays = net.forward(weights_of(cnn), X)
    theirs = keras.Model(cnn.input, [cnn.get_layer(name).output for name in ARRAY_OF_LAYER])(X)
    for name, value in zip(ARRAY_OF_LAYER.values(), theirs, strict=True):
        assert arrays[name].shape == value.shape
        assert relative_distance(arrays[name], value) < 1e-6, name
    logits = mx.Network(cnn).logits(X)
    assert relative_distance(arrays["z4"], logits) < 1e-6


def test_the_gradients_by_all_weights_match_the_keras_model(cnn):
    weights = weights_of(cnn)
    gradients = net.backward(weights, net.forward(weights, X), Y)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.categorical_crossentropy(Y, cnn(X)))
    theirs = tape.gradient(loss, [v.value for v in cnn.trainable_variables])
    ours = [g for name in net.LAYERS for g in gradients[name]]
    for gradient, value in zip(ours, theirs, strict=True):
        assert relative_distance(gradient, value) < 1e-4
    assert net.loss(weights, X, Y) == pytest.approx(float(loss), rel=1e-5)


def test_in_float64_logits_and_gradients_match_tensorflow_to_ten_digits():
    variables = [tf.constant(w) for pair in SMALL.values() for w in pair]
    x = tf.constant(SMALL_X)
    with tf.GradientTape() as tape:
        tape.watch([x, *variables])
        z4 = tensorflow_logits(x, variables)
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(SMALL_Y, z4))
    arrays = net.forward(SMALL, SMALL_X)
    np.testing.assert_allclose(arrays["z4"], z4, rtol=1e-10, atol=1e-13)
    assert net.loss(SMALL, SMALL_X, SMALL_Y) == pytest.approx(float(loss), rel=1e-12)
    delta4 = losses.softmax_cross_entropy_gradient(SMALL_Y, arrays["z4"])
    gradients, deltas = net.propagate(SMALL, arrays, delta4)
    ours = [deltas["x"], *(g for name in net.LAYERS for g in gradients[name])]
    for gradient, value in zip(ours, tape.gradient(loss, [x, *variables]), strict=True):
        np.testing.assert_allclose(gradient, value, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", net.LAYERS)
def test_gradients_match_central_differences(name):
    gradients = net.backward(SMALL, net.forward(SMALL, SMALL_X), SMALL_Y)[name]
    for part, gradient in enumerate(gradients):
        for i in RNG.choice(gradient.size, min(gradient.size, 12), replace=False):
            place = np.unravel_index(i, gradient.shape)

            def loss(step, part=part, place=place):
                pair = [w.copy() for w in SMALL[name]]
                pair[part][place] += step
                return net.loss(SMALL | {name: pair}, SMALL_X, SMALL_Y)

            slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
            assert gradient[place] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_the_gradient_by_the_image_matches_the_gradient_map(cnn):
    """The gradients by all other arrays have the shapes of these arrays."""
    weights = weights_of(cnn)
    one_hot = np.eye(10)[[7, 7, 2]]
    deltas = net.propagate(weights, net.forward(weights, X), one_hot)[1]
    theirs = mx.gradient_map(mx.Network(cnn), X, [7, 7, 2])
    assert relative_distance(deltas["x"], theirs) < 1e-5
    arrays = net.forward(weights, X)
    assert {name: d.shape for name, d in deltas.items()} == {
        name: a.shape for name, a in arrays.items() if name != "a4"
    }


def small_digits(digits, steps=50, size=8):
    """Return batches of the central 16 × 16 pixels of the digits."""
    x = mx.normalise(digits.train_images[: steps * size, 6:22, 6:22])
    y = np.eye(10)[digits.train_labels[: steps * size]]
    return list(zip(np.split(x, steps), np.split(y, steps), strict=True))


def in_precision(model, dtype):
    """Return a copy of a model in which every layer computes in another precision."""

    def clone(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": dtype})

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def keras_path(model, batches):
    """Return all weights before the first and after each of Keras's steps."""
    path = [flat(weights_of(model))]
    for x, y in batches:
        model.train_on_batch(x, y)
        path.append(flat(weights_of(model)))
    return path


def largest_deviation(weights, path, batches, step):
    """Return the largest distance from Keras's weights to ours, relative to the path length."""
    states, length, result = None, 0.0, 0.0
    for (x, y), theirs in zip(batches, path[1:], strict=False):
        before = flat(weights)
        weights, states, _ = net.train_step(weights, states, x, y, step=step)
        length += np.linalg.norm(flat(weights) - before)
        result = max(result, np.linalg.norm(flat(weights) - theirs) / length)
    return result


def flat(weights):
    return np.concatenate([np.ravel(w) for name in net.LAYERS for w in weights[name]])


@pytest.fixture(scope="module")
def fifty_steps(digits):
    """Run fifty steps of Keras's Adam in float32, as in `model.fit`."""
    model = mx.build_model("cnn", input_shape=(16, 16, 1), seed=0)
    model.compile("adam", "categorical_crossentropy")
    weights, batches = weights_of(model), small_digits(digits)
    return weights, keras_path(model, batches), batches


def test_fifty_steps_of_adam_stay_on_the_path_of_keras(fifty_steps):
    """The measured deviation is 1e-5. Nearly all of it comes from the rounding of Keras's β2.

    Keras's bias correction rounds β2 to float32. A path too close to a kink of the loss can
    deviate by 1e-2. The test in float64 below has none of this rounding.
    """
    weights, path, batches = fifty_steps
    assert len(path) == 51
    assert relative_distance(path[-1], path[0]) > 0.1
    assert largest_deviation(weights, path, batches, net.KERAS_ADAM) < 1e-3


@pytest.mark.parametrize(
    "change",
    [{"bias_correction": False}, {"epsilon_hat": False}, {"beta2": 0.99}],
    ids=["000 without bias correction", "epsilon elsewhere", "beta2"],
)
def test_a_different_adam_leaves_the_path_of_keras(fifty_steps, change):
    weights, path, batches = fifty_steps
    ours = partial(net.KERAS_ADAM, **change)
    assert largest_deviation(weights, path, batches[:5], ours) > 1e-2


def test_in_float64_fifty_steps_of_adam_match_keras(digits):
    """The rates are binary fractions, because Keras rounds them to float32."""
    rates = {"alpha": 2**-10, "beta1": 7 / 8, "beta2": 1 - 2**-10, "epsilon": 2**-23}
    model = in_precision(mx.build_model("cnn", input_shape=(16, 16, 1), seed=0), "float64")
    loss = keras.losses.CategoricalCrossentropy(dtype="float64")
    model.compile(keras.optimizers.Adam(*rates.values()), loss)
    weights, batches = weights_of(model), small_digits(digits)
    step = partial(adam, epsilon_hat=True, **rates)
    assert largest_deviation(weights, keras_path(model, batches), batches, step) < 1e-11


def test_training_reduces_the_loss_and_does_not_change_its_arguments():
    before, weights, states, history = flat(SMALL), SMALL, None, []
    for _ in range(150):
        weights, states, loss = net.train_step(
            weights, states, SMALL_X, SMALL_Y, step=partial(net.KERAS_ADAM, alpha=0.01)
        )
        history.append(loss)
    assert history[0] == net.loss(SMALL, SMALL_X, SMALL_Y)
    assert history[-1] < 0.2 * history[0]
    assert (flat(SMALL) == before).all()


def test_it_classifies_mnist_as_the_saved_model_does(mnist):
    model = mx.load_model("saved_models/cnn.keras")
    weights = weights_of(model)
    x, y = mx.normalise(mnist.test_images[:20]), np.eye(10)[mnist.test_labels[:20]]
    arrays = net.forward(weights, x)
    assert relative_distance(arrays["z4"], mx.Network(model).logits(x)) < 1e-4
    assert (arrays["a4"].argmax(axis=1) == mnist.test_labels[:20]).all()
    assert y.shape == arrays["a4"].shape


def test_the_network_follows_the_articles_code_and_not_its_text(cnn):
    """The code has 1,024 numbers after flattening (not 784), ReLU layers, 184,586 parameters."""
    weights = weights_of(cnn)
    arrays = net.forward(weights, X)
    assert arrays["flat"].shape == (3, 1024)
    assert sum(w.size for name in net.LAYERS for w in weights[name]) == 184_586
    assert arrays["a3"].min() == 0 > arrays["z3"].min()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: net.forward({}, X), "weights: expected .*conv1.* got 'conv1' with 0 arrays"),
        (
            lambda: net.forward(SMALL, X),
            r"W: expected shape \(any, any, 1, any\); got \(5, 5, 2, 3",
        ),
        (lambda: net.forward(SMALL, SMALL_X[0]), r"x: expected shape .*; got \(16, 16, 2\)"),
        (lambda: net.loss(SMALL, SMALL_X, SMALL_Y[:2]), r"z: expected the shape of y, \(2, 5\)"),
        (lambda: net.loss(SMALL, SMALL_X, 2 * SMALL_Y), "y: expected probabilities that sum to 1"),
        (
            lambda: net.propagate(SMALL, net.forward(SMALL, SMALL_X), SMALL_Y[:2]),
            r"delta: expected shape \(4, 5\); got \(2, 5\)",
        ),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
