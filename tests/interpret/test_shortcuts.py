import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mnist_xai import Network
from mnist_xai.interpret.shortcuts import max_pool


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 3), (1, 2), (4, 1)])
@pytest.mark.parametrize("side", [12, 13])
def test_max_pooling_has_the_librarys_values_and_gradient_also_where_numbers_tie(
    rows, columns, side
):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.integers(0, 3, (2, side, side, 5)), tf.float32)  # Few values, many ties.
    found, expected = [], []
    for pool, results in (
        (max_pool, found),
        (lambda x, r, c: tf.nn.max_pool2d(x, (r, c), (r, c), "VALID"), expected),
    ):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = pool(x, rows, columns)
        weights = np.random.default_rng(1).normal(size=y.shape).astype("f")
        results += [y, tape.gradient(y, x, weights)]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def chain(*inner):
    return keras.Sequential([keras.Input((13, 13, 1)), *inner, layers.Flatten(), layers.Dense(3)])


def conv(activation=None, **options):
    return layers.Conv2D(6, 3, activation=activation, name="conv", **options)


def relu_read_twice():
    image = keras.Input((13, 13, 1))
    a = conv("relu")(image)
    x = layers.Concatenate()([layers.MaxPooling2D(2)(a), layers.AveragePooling2D(2)(a)])
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))


def relu_operation():
    image = keras.Input((13, 13, 1))
    x = layers.MaxPooling2D(2)(keras.ops.relu(conv()(image)))
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))


@pytest.mark.parametrize(
    ("build", "deferred"),
    [
        (lambda: chain(conv("relu"), layers.MaxPooling2D(2)), 1),
        (lambda: chain(conv(), layers.ReLU(), layers.MaxPooling2D(3)), 1),
        (lambda: chain(conv(), layers.Activation("relu"), layers.MaxPooling2D(2)), 1),
        (lambda: chain(layers.Dense(4, "relu"), layers.MaxPooling2D((1, 2)), conv("relu")), 1),
        (relu_operation, 1),
        (relu_read_twice, 0),
        (lambda: chain(conv("tanh"), layers.MaxPooling2D(2)), 0),
        (lambda: chain(conv(), layers.ReLU(negative_slope=0.1), layers.MaxPooling2D(2)), 0),
        (lambda: chain(conv("relu"), layers.MaxPooling2D(3, strides=2)), 0),
        (lambda: chain(conv("relu"), layers.MaxPooling2D(2, padding="same")), 0),
        (lambda: chain(layers.MaxPooling2D(2), conv("relu")), 0),
    ],
)  # fmt: skip
def test_gradients_by_shortcuts_equal_those_of_the_model(build, deferred):
    keras.utils.set_random_seed(0)
    model = build()
    for variable in model.trainable_variables:  # Biases that are not zero.
        variable.assign_add(np.random.default_rng(2).normal(0, 0.1, variable.shape))
    network = Network(model)
    assert len(network._shortcuts.deferred) == deferred
    x = np.random.default_rng(1).random((4, 13, 13, 1), np.float32)
    x[:, :, :6] = 0  # A background, on which all windows tie.
    targets = np.array([0, 1, 2, 0])
    points = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        scores = tf.gather(model(points, training=False), targets, batch_dims=1)
    expected = tape.gradient(scores, points)
    found, found_scores = network.gradient(x, targets)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found_scores, scores, atol=1e-6)
