import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mnist_xai import Network
from mnist_xai.interpret.methods.gradients.averages import path_gradient
from tests.rounding import assert_equal_to_rounding


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
        (lambda: chain(conv("relu"), layers.GlobalMaxPooling2D()), 1),
        (relu_read_twice, 0),
        (lambda: chain(conv("tanh"), layers.MaxPooling2D(2)), 0),
        (lambda: chain(conv(), layers.ReLU(negative_slope=0.1), layers.MaxPooling2D(2)), 0),
        (lambda: chain(conv("relu"), layers.MaxPooling2D(3, strides=2)), 1),
        (lambda: chain(conv("relu"), layers.MaxPooling2D(2, padding="same")), 1),
        (lambda: chain(layers.MaxPooling2D(2), conv("relu")), 0),
    ],
)  # fmt: skip
def test_gradients_by_shortcuts_equal_those_of_the_model(build, deferred):
    keras.utils.set_random_seed(0)
    model = build()
    for variable in model.trainable_variables:  # Biases that are not zero.
        variable.assign_add(np.random.default_rng(2).normal(0, 0.1, variable.shape))
    network = Network(model)
    assert len(network.runner.shortcuts.deferred) == deferred
    x = np.random.default_rng(1).random((4, 13, 13, 1), np.float32)
    x[:, :, :6] = 0  # A background, on which all windows tie.
    targets = np.array([0, 1, 2, 0])
    points = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        scores = tf.gather(model(points, training=False), targets, batch_dims=1)
    expected = tape.gradient(scores, points)
    found, found_scores = network.gradient(x, targets)
    assert_equal_to_rounding(found, expected, network)
    assert_equal_to_rounding(found_scores, scores, network)


@pytest.mark.parametrize(
    ("build", "pooled"),
    [
        (lambda: chain(conv("relu"), layers.MaxPooling2D(2)), True),
        (lambda: chain(conv("relu", padding="same"), layers.MaxPooling2D(3, 2, "same")), True),
        (lambda: chain(conv(), layers.ReLU(), layers.MaxPooling2D(2)), True),
        (lambda: chain(conv(), layers.Rescaling(2), layers.ReLU(), layers.MaxPooling2D(2)), False),
        (lambda: chain(conv("tanh"), layers.MaxPooling2D(2)), False),
        (relu_read_twice, False),
        (relu_operation, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("even", [True, False])
def test_a_path_behind_the_pooling_equals_the_sum_over_its_points(build, pooled, even):
    keras.utils.set_random_seed(0)
    network = Network(build())
    assert (network.runner.stem.pool is not None) == pooled
    rng = np.random.default_rng(1)
    x, targets = rng.random((4, 13, 13, 1), np.float32), np.array([0, 1, 2, 0])
    baseline = np.full((13, 13, 1), 0.25, np.float32) if even else x[0]
    scales, weights = [0.1, 0.6, 1.0], [0.2, 0.3, 0.5]
    points = [baseline + np.float32(s) * (x - baseline) for s in scales]
    each = [w * network.gradient(p, targets)[0] for p, w in zip(points, weights, strict=True)]
    found = path_gradient(network, x, targets, baseline, weights=weights, scales=scales)
    assert_equal_to_rounding(found, np.sum(each, axis=0), network)
