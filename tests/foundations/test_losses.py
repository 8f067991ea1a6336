import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from mnist_xai.foundations import losses
from tests.foundations.differences import central_differences

RNG = np.random.default_rng(0)
Z = RNG.normal(0, 2, (6, 4))
P = softmax(Z, axis=1)
Y = np.eye(4)[RNG.integers(4, size=6)]
SOFT = softmax(RNG.normal(size=(6, 4)), axis=1)


def tape_gradient(function, at):
    at = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return value, tape.gradient(value, at)


@pytest.mark.parametrize("y", [Y, SOFT], ids=["one-hot", "soft"])
def test_losses_and_gradients_match_tensorflow(y):
    value, gradient = tape_gradient(lambda p: tf.reduce_mean((y - p) ** 2), P)
    assert losses.mse(y, P) == pytest.approx(float(value), rel=1e-12)
    np.testing.assert_allclose(losses.mse_gradient(y, P), gradient, rtol=1e-12)

    value, gradient = tape_gradient(
        lambda p: -tf.reduce_mean(tf.reduce_sum(y * tf.math.log(p), 1)), P
    )
    assert losses.cross_entropy(y, P) == pytest.approx(float(value), rel=1e-12)
    np.testing.assert_allclose(losses.cross_entropy_gradient(y, P), gradient, rtol=1e-12)

    value, gradient = tape_gradient(
        lambda z: tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, z)), Z
    )
    assert losses.softmax_cross_entropy(y, Z) == pytest.approx(float(value), rel=1e-12)
    np.testing.assert_allclose(
        losses.softmax_cross_entropy_gradient(y, Z), gradient, rtol=1e-10, atol=1e-16
    )


def test_the_losses_match_keras():
    assert losses.mse(Y, P) == pytest.approx(float(keras.losses.MeanSquaredError()(Y, P)), rel=1e-6)
    theirs = float(keras.losses.CategoricalCrossentropy()(Y, P))
    assert losses.cross_entropy(Y, P) == pytest.approx(theirs, rel=1e-6)
    theirs = float(keras.regularizers.L2(0.3)(tf.constant(Z)))
    assert losses.l2_penalty(Z, 0.3) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "gradient", "at"),
    [
        (lambda x: losses.mse(Y, x), lambda x: losses.mse_gradient(Y, x), P),
        (
            lambda x: losses.softmax_cross_entropy(Y, x),
            lambda x: losses.softmax_cross_entropy_gradient(Y, x),
            Z,
        ),
        (lambda x: losses.l2_penalty(x, 0.3), lambda x: losses.l2_penalty_gradient(x, 0.3), Z),
    ],
    ids=["mse", "softmax_cross_entropy", "l2"],
)
def test_gradients_match_central_differences(loss, gradient, at):
    np.testing.assert_allclose(gradient(at), central_differences(loss, at), rtol=1e-6, atol=1e-9)


def test_cross_entropy_from_logits_and_from_probabilities_agree():
    assert losses.softmax_cross_entropy(Y, Z) == pytest.approx(losses.cross_entropy(Y, P))


def test_a_certain_mistake_has_infinite_loss_from_probabilities_and_finite_loss_from_logits():
    assert losses.cross_entropy([[1, 0]], [[0, 1]]) == np.inf
    assert losses.cross_entropy([[1, 0]], [[1, 0]]) == 0
    assert losses.softmax_cross_entropy([[1, 0]], [[0.0, 2000]]) == 2000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.mse(np.ones((3, 1)), np.ones(3)), r"y_hat: .*\(3, 1\); got \(3,\)"),
        (lambda: losses.mse([], []), "y: expected at least one example"),
        (lambda: losses.cross_entropy([1.0, 0], [1.0, 0]), r"y: expected \(examples, classes\)"),
        (lambda: losses.cross_entropy([[1, 1]], [[0.5, 0.5]]), "y: .* sum to 1; got a sum of 2"),
        (lambda: losses.cross_entropy([[1, 0]], [[-0.5, 1.5]]), "p: .* at least 0; got -0.5"),
        (lambda: losses.cross_entropy_gradient([[1, 0]], [[0, 1]]), "p: expected a positive"),
        (lambda: losses.l2_penalty([1.0], -1), r"lam: expected a number in \[0, inf\]; got -1"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
