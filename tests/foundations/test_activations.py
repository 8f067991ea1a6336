import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from mnist_xai.foundations import activations as act

Z = np.random.default_rng(0).normal(0, 3, (5, 7))

FUNCTIONS = {
    "sigmoid": (act.sigmoid, act.sigmoid_derivative, tf.sigmoid),
    "tanh": (act.tanh, act.tanh_derivative, tf.tanh),
    "relu": (act.relu, act.relu_derivative, tf.nn.relu),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_and_their_derivatives_match_tensorflow(name):
    function, derivative, theirs = FUNCTIONS[name]
    z = tf.constant(Z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        a = theirs(z)
    np.testing.assert_allclose(function(Z), a, rtol=1e-10, atol=0)
    np.testing.assert_allclose(derivative(Z), tape.gradient(a, z), rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_match_central_differences(name):
    function, derivative, _ = FUNCTIONS[name]
    slope = (function(Z + 1e-6) - function(Z - 1e-6)) / 2e-6
    np.testing.assert_allclose(derivative(Z), slope, rtol=1e-7, atol=1e-9)


def test_the_derivative_of_relu_is_zero_at_the_kink():
    assert act.relu_derivative([0.0, -0.0]).tolist() == [0, 0]


def test_the_sigmoid_is_right_where_the_articles_form_overflows():
    with np.errstate(over="raise"):
        with pytest.raises(FloatingPointError):
            1 / (1 + np.exp(-np.array(-710.0)))
        assert act.sigmoid([-710.0, 0, 710]).tolist() == [0, 0.5, 1]


def test_tanh_is_a_scaled_and_shifted_sigmoid():
    np.testing.assert_allclose(act.tanh(Z), 2 * act.sigmoid(2 * Z) - 1, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_matches_scipy_along_any_axis(axis):
    np.testing.assert_allclose(act.softmax(Z, axis), special.softmax(Z, axis), rtol=1e-12)


def test_softmax_does_not_overflow_and_ignores_a_shift_of_all_scores():
    np.testing.assert_allclose(act.softmax([1000.0, 1001]), act.softmax([0.0, 1]), rtol=1e-12)


def test_the_jacobian_of_softmax_matches_tensorflow():
    z = tf.constant(Z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        p = tf.nn.softmax(z)
    np.testing.assert_allclose(act.softmax_jacobian(Z), tape.batch_jacobian(p, z), atol=1e-15)


def test_the_backward_pass_of_softmax_multiplies_by_its_transposed_jacobian():
    g = np.random.default_rng(1).normal(size=Z.shape)
    by_matrix = np.einsum("ni,nij->nj", g, act.softmax_jacobian(Z))
    np.testing.assert_allclose(act.softmax_backward(g, Z), by_matrix, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: act.sigmoid([1, np.nan]), "z: expected finite numbers; got nan"),
        (lambda: act.relu(["a"]), "z: expected real numbers; got an array of <U1"),
        (lambda: act.softmax(3.0), r"z: expected at least one score along axis -1; got shape \(\)"),
        (lambda: act.softmax(np.zeros((2, 0))), r"got shape \(2, 0\)"),
        (lambda: act.softmax_backward([1.0], [1.0, 2]), r"the shape of z, \(2,\); got \(1,\)"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
