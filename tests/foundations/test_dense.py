import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_xai.foundations import activations as act
from mnist_xai.foundations.dense import dense, dense_backward, neuron
from tests.foundations.differences import central_differences

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(6, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)
DELTA = RNG.normal(size=(6, 3))  # ∂L/∂z for the loss L = Σ δ z.


def test_a_layer_is_the_articles_sum_over_k():
    theta = W.T
    for x, z in zip(X, dense(X, W, B), strict=True):
        for j in range(3):
            assert z[j] == pytest.approx(sum(theta[j, k] * x[k] for k in range(4)) + B[j])
        np.testing.assert_allclose(z, theta @ x + B, rtol=1e-12)


def test_a_layer_is_neurons_side_by_side():
    for x, a in zip(X, act.relu(dense(X, W, B)), strict=True):
        assert a.tolist() == pytest.approx([neuron(x, W[:, j], B[j], act.relu) for j in range(3)])


def test_a_layer_matches_keras_dense():
    layer = keras.layers.Dense(3, activation="sigmoid", dtype="float64")
    layer.build(X.shape)
    layer.set_weights([W, B])
    np.testing.assert_allclose(act.sigmoid(dense(X, W, B)), layer(X), rtol=1e-10)


def test_the_gradients_match_tensorflow():
    x, w, b = tf.constant(X), tf.constant(W), tf.constant(B)
    with tf.GradientTape() as tape:
        tape.watch([x, w, b])
        loss = tf.reduce_sum(DELTA * (x @ w + b))
    for ours, theirs in zip(
        dense_backward(DELTA, X, W), tape.gradient(loss, [x, w, b]), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_gradients_match_central_differences():
    ours = dense_backward(DELTA, X, W)
    for gradient, at, loss in [
        (ours[0], X, lambda x: np.sum(DELTA * dense(x, W, B))),
        (ours[1], W, lambda w: np.sum(DELTA * dense(X, w, B))),
        (ours[2], B, lambda b: np.sum(DELTA * dense(X, W, b))),
    ]:
        np.testing.assert_allclose(gradient, central_differences(loss, at), rtol=1e-7, atol=1e-8)


def test_a_bias_gradient_sums_over_the_examples_and_000s_delta_has_the_wrong_shape():
    gradient = dense_backward(DELTA, X, W)[2]
    assert gradient == pytest.approx(sum(DELTA))
    # The article's b2 = b2 - α δ2, taken literally, gives one bias per example.
    assert (B - 0.1 * DELTA).shape == (6, 3) != B.shape
    assert (B - 0.1 * gradient).shape == B.shape


def test_neurons_without_activation_are_one_linear_map_at_any_depth():
    V, c = RNG.normal(size=(3, 2)), RNG.normal(size=2)
    deep = dense(dense(X, W, B), V, c)
    np.testing.assert_allclose(deep, dense(X, W @ V, B @ V + c), rtol=1e-10)
    # A linear map sends the midpoint of two points to the midpoint of their images.
    nonlinear = dense(act.relu(dense(X, W, B)), V, c)
    midpoints = dense(act.relu(dense((X[::2] + X[1::2]) / 2, W, B)), V, c)
    assert np.abs((nonlinear[::2] + nonlinear[1::2]) / 2 - midpoints).max() > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: neuron([1, 2], [1, 2, 3], 0), r"w: expected shape \(2\); got \(3,\)"),
        (lambda: dense([1.0, 2], W, B), r"x: expected shape \(any, any\); got \(2,\)"),
        (lambda: dense(X, W.T, B), r"W: expected shape \(4, any\); got \(3, 4\)"),
        (lambda: dense(X, W, B[:1]), r"b: expected shape \(3\); got \(1,\)"),
        (lambda: dense_backward(DELTA[:1], X, W), r"delta: .*\(6, 3\); got \(1, 3\)"),
        (lambda: dense(X, W * np.inf, B), "W: expected finite numbers"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
