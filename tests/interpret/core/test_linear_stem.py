import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mnist_xai import Network
from mnist_xai.interpret.core.linear_stem import overlap_add
from mnist_xai.interpret.methods.gradients.averages import noisy_gradient, path_gradient
from tests.rounding import assert_equal_to_rounding


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("rows", "columns", "channels"), [(5, 5, 1), (3, 4, 3), (1, 2, 2), (6, 1, 1)]
)
def test_overlap_add_is_the_transpose_of_the_convolution(padding, rows, columns, channels):
    rng = np.random.default_rng(0)
    kernel = tf.constant(rng.normal(size=(rows, columns, channels, 7)), tf.float32)
    x = tf.constant(rng.random((2, 9, 11, channels)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        h = tf.nn.conv2d(x, kernel, 1, padding.upper())
        gradient = tf.constant(rng.normal(size=h.shape), tf.float32)
        value = tf.reduce_sum(h * gradient)
    expected = tape.gradient(value, x).numpy()
    terms = rows * columns * 7
    limit = terms * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(overlap_add(gradient, kernel, padding), expected, rtol=0, atol=limit)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("rows", "columns", "strides"),
    [
        (7, 7, (2, 2)),
        (3, 3, (2, 2)),
        (4, 4, (4, 4)),
        (3, 5, (3, 2)),
        (1, 2, (2, 3)),
        (2, 2, (5, 1)),
    ],
)
@pytest.mark.parametrize("size", [(12, 12), (13, 15)])
def test_overlap_add_is_the_transpose_of_a_convolution_with_strides(
    padding, rows, columns, strides, size
):
    rng = np.random.default_rng(0)
    kernel = tf.constant(rng.normal(size=(rows, columns, 3, 7)), tf.float32)
    x = tf.constant(rng.random((2, *size, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        # Keras's convolution, because TensorFlow's own takes equal strides only on a CPU.
        h = keras.ops.conv(x, kernel, strides=strides, padding=padding)
        gradient = tf.constant(rng.normal(size=h.shape), tf.float32)
        value = tf.reduce_sum(h * gradient)
    expected = tape.gradient(value, x).numpy()
    limit = rows * columns * 7 * np.finfo(np.float32).eps * np.abs(expected).max()
    found = overlap_add(gradient, kernel, padding, strides, size=size)
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


def conv(**options):
    return layers.Conv2D(4, 3, activation="tanh", **options)


def chain(*first, shape=(12, 12, 1)):
    return keras.Sequential([keras.Input(shape), *first, layers.Flatten(), layers.Dense(3)])


def forked():
    """The image is read twice, so no stem can be split off."""
    image = keras.Input((12, 12, 1))
    x = layers.Concatenate()([conv(padding="same")(image), image])
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))


@pytest.mark.parametrize(
    ("build", "splits"),
    [
        (lambda: chain(conv()), True),
        (lambda: chain(conv(padding="same"), conv()), True),
        (lambda: chain(conv(use_bias=False)), True),
        (lambda: keras.Sequential([keras.Input((12, 12, 1)), chain(conv())]), True),
        (lambda: chain(conv(), shape=(12, 12, 3)), True),
        (lambda: chain(conv(strides=2)), True),
        (lambda: chain(conv(strides=2, padding="same"), shape=(13, 12, 3)), True),
        (lambda: chain(conv(strides=3), shape=(14, 12, 3)), True),
        (lambda: chain(layers.ZeroPadding2D(((2, 1), (0, 3))), conv(strides=2)), True),
        (
            lambda: chain(
                layers.Rescaling(2.0, 0.5), layers.ZeroPadding2D(1), conv(strides=2, padding="same")
            ),
            True,
        ),
        (lambda: chain(conv(dilation_rate=2)), False),
        (lambda: chain(conv(padding="same", groups=2), shape=(12, 12, 2)), False),
        (lambda: chain(layers.DepthwiseConv2D(3)), False),
        (lambda: chain(layers.Rescaling(2.0, -0.5), conv()), True),
        (lambda: chain(layers.Rescaling([0.5, 2.0]), conv(), shape=(12, 12, 2)), True),
        (lambda: chain(layers.ReLU(), conv()), False),
        (lambda: chain(conv(), shape=(12, 12, 8)), False),
        (lambda: chain(), False),
        (forked, False),
    ],
)  # fmt: skip
def test_gradients_with_a_stem_equal_those_of_the_whole_model(build, splits):
    model = build()
    network = Network(model)
    assert (network.runner.stem.name is not None) == splits
    shape = model.input_shape[1:]
    rng = np.random.default_rng(1)
    x, noise = rng.random((4, *shape), np.float32), rng.normal(size=(3, *shape)).astype("f")
    targets, weights, scales = np.array([0, 1, 2, 0]), [0.2, 0.3, 0.5], [0.1, 0.6, 1.0]

    def plain(points):
        with tf.GradientTape() as tape:
            tape.watch(points)
            scores = tf.gather(model(points, training=False), targets, batch_dims=1)
        return np.asarray(tape.gradient(scores, points))

    assert_equal_to_rounding(network.gradient(x, targets)[0], plain(tf.constant(x)), model)
    other = rng.random(shape, np.float32)
    points = [tf.constant(s * x + (1 - s) * other) for s in scales]
    line = [w * plain(p) for w, p in zip(weights, points, strict=True)]
    found = path_gradient(network, x, targets, other, weights=weights, scales=scales)
    assert_equal_to_rounding(found, np.sum(line, axis=0), model)
    copies = [plain(tf.constant(x + e)) for e in noise]
    found = noisy_gradient(network, x, targets, noise)
    assert_equal_to_rounding(found, np.mean(copies, axis=0), model)
