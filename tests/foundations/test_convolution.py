import numpy as np
import pytest
import tensorflow as tf
from scipy import signal

from mnist_xai.foundations.convolution import (
    conv2d,
    conv2d_backward,
    flatten,
    flatten_backward,
    max_pool,
    max_pool_backward,
)
from tests.foundations.differences import central_differences

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(3, 8, 9, 2)), RNG.normal(size=(3, 4, 2, 5)), RNG.normal(size=5)
DELTA = RNG.normal(size=(3, 6, 6, 5))


def test_a_convolution_is_the_articles_sum_over_every_index():
    z = conv2d(X, W, B)
    n, i, j, d = 1, 2, 5, 3
    assert z[n, i, j, d] == pytest.approx(
        sum(X[n, i + u, j + v, c] * W[u, v, c, d] for u, v, c, _ in np.ndindex(3, 4, 2, 1)) + B[d]
    )


def test_a_convolution_is_scipys_correlation():
    z = conv2d(X, W, np.zeros(5))
    for n, d in np.ndindex(3, 5):
        theirs = sum(signal.correlate2d(X[n, :, :, c], W[:, :, c, d], "valid") for c in range(2))
        np.testing.assert_allclose(z[n, :, :, d], theirs, rtol=1e-10, atol=1e-12)


def test_convolution_and_its_gradients_match_tensorflow():
    x, w, b = tf.constant(X), tf.constant(W), tf.constant(B)
    with tf.GradientTape() as tape:
        tape.watch([x, w, b])
        z = tf.nn.conv2d(x, w, 1, "VALID") + b
    np.testing.assert_allclose(conv2d(X, W, B), z, rtol=1e-10, atol=1e-12)
    theirs = tape.gradient(z, [x, w, b], output_gradients=tf.constant(DELTA))
    for ours, gradient in zip(conv2d_backward(DELTA, X, W), theirs, strict=True):
        np.testing.assert_allclose(ours, gradient, rtol=1e-10, atol=1e-12)


def test_the_gradients_match_central_differences():
    x, w, delta = X[:1, :5, :6], W[..., :2], DELTA[:1, :3, :3, :2]
    ours = conv2d_backward(delta, x, w)
    for gradient, at, loss in [
        (ours[0], x, lambda x: np.sum(delta * conv2d(x, w, B[:2]))),
        (ours[1], w, lambda w: np.sum(delta * conv2d(x, w, B[:2]))),
        (ours[2], B[:2], lambda b: np.sum(delta * conv2d(x, w, b))),
    ]:
        np.testing.assert_allclose(gradient, central_differences(loss, at), rtol=1e-7, atol=1e-8)


def test_the_gradient_by_the_image_is_a_full_convolution_with_the_flipped_kernel():
    ours = conv2d_backward(DELTA, X, W)[0]
    for n, c in np.ndindex(3, 2):
        theirs = sum(signal.convolve2d(DELTA[n, :, :, d], W[:, :, c, d]) for d in range(5))
        np.testing.assert_allclose(ours[n, :, :, c], theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_max_pooling_and_its_gradient_match_tensorflow(size):
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.nn.max_pool2d(x, size, size, "VALID")
    delta = RNG.normal(size=y.shape)
    assert (max_pool(X, size) == y.numpy()).all()
    theirs = tape.gradient(y, x, output_gradients=tf.constant(delta))
    assert (max_pool_backward(delta, X, size) == theirs.numpy()).all()


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
def test_the_first_of_several_maxima_gets_the_gradient_as_in_tensorflow(compiled):
    ties = RNG.integers(0, 2, (2, 6, 6, 3)).astype(float)
    ties[0] = 0  # As after ReLU in a dark region: all entries are equal.
    delta = RNG.normal(size=(2, 3, 3, 3))

    @tf.function(jit_compile=compiled)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.nn.max_pool2d(x, 2, 2, "VALID")
        return tape.gradient(y, x, output_gradients=tf.constant(delta))

    ours = max_pool_backward(delta, ties)
    assert (ours == gradient(tf.constant(ties)).numpy()).all()
    assert (ours[0, ::2, ::2] == delta[0]).all()
    assert np.count_nonzero(ours) == delta.size


def test_a_row_that_fills_no_window_is_dropped_and_gets_no_gradient():
    x = np.zeros((1, 5, 5, 1))
    x[0, 4, 4] = 9
    assert max_pool(x).max() == 0
    assert max_pool_backward(np.ones((1, 2, 2, 1)), x)[0, 4].tolist() == [[0]] * 5


def test_flatten_matches_tensorflow_and_flatten_backward_inverts_it():
    rows = flatten(X)
    assert (rows == tf.keras.layers.Flatten(dtype="float64")(X).numpy()).all()
    assert (flatten_backward(rows, X) == X).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv2d(X[0], W, B), r"x: expected shape \(any, any, any, any\)"),
        (lambda: conv2d(X, W[:, :, :1], B), r"W: .*\(any, any, 2, any\); got \(3, 4, 1, 5\)"),
        (lambda: conv2d(X, W, B[:2]), r"b: expected shape \(5\); got \(2,\)"),
        (lambda: conv2d(X[:, :2], W, B), "W: expected a kernel of 1 x 1 to 2 x 9.*got 3 x 4"),
        (lambda: conv2d_backward(DELTA[:, :5], X, W), r"delta: .*\(3, 6, 6, 5\)"),
        (lambda: max_pool(X, 9), "size: expected a whole number from 1 to 8.*got 9"),
        (lambda: max_pool(X, 0), "size: .*got 0"),
        (lambda: max_pool_backward(X, X), r"delta: expected shape \(3, 4, 4, 2\)"),
        (lambda: flatten_backward(np.ones((3, 4)), X), r"delta: .*\(3, 144\); got \(3, 4\)"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
