import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate

from mnist_xai.foundations import activations, calculus

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3))
M = RNG.normal(size=(6, 6))


def bumpy(x):
    """Map a 2 x 3 matrix to a number; no derivative vanishes."""
    v = x.reshape(6)
    return np.sin(v @ M @ v / 9) + np.exp(v[0] * v[4])


def bumpy_tf(x):
    v = tf.reshape(x, [6])
    return tf.sin(tf.tensordot(v, tf.linalg.matvec(M, v), 1) / 9) + tf.exp(v[0] * v[4])


@pytest.fixture(scope="module")
def theirs():
    """Return value, gradient and Hessian of `bumpy` at X, computed by TensorFlow."""
    x = tf.constant(X)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = bumpy_tf(x)
        gradient = inner.gradient(value, x)
    return float(value), gradient.numpy(), outer.jacobian(gradient, x).numpy()


def test_the_quotients_tend_to_the_derivative_with_h_and_with_h_squared():
    x = np.array([0.3, 1, 2.5])
    for central, order in ((False, 1), (True, 2)):
        errors = [
            np.abs(calculus.derivative(np.sin, x, h, central=central) - np.cos(x))
            for h in (1e-2, 1e-3)
        ]
        np.testing.assert_allclose(errors[0] / errors[1], 10**order, rtol=0.02)
    np.testing.assert_allclose(calculus.derivative(np.sin, x), np.cos(x), rtol=1e-9)


def test_at_a_kink_the_quotients_from_left_and_right_differ():
    right, left = (
        calculus.derivative(activations.relu, 0, h, central=False) for h in (1e-6, -1e-6)
    )
    assert (right, left, calculus.derivative(activations.relu, 0)) == (1, 0, 0.5)


def test_riemann_sums_tend_to_scipys_integral():
    def f(x):
        return np.exp(-x) * np.sin(3 * x)

    exact, _ = integrate.quad(f, 0, 2)
    errors = [abs(calculus.riemann_sum(f, 0, 2, n) - exact) for n in (10, 100, 1000)]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.05)  # Midpoints: order 1/n².
    assert errors[2] < 1e-6
    assert calculus.riemann_sum(f, 2, 0, 1000) == pytest.approx(-exact, abs=1e-6)


def test_erratum_many_intervals_give_the_integral_only_if_the_widest_shrinks():
    def square(x):
        return x**2

    # The first interval has the width 1 while all others shrink.
    uneven = [
        calculus.partition_sum(square, np.concatenate([[0], np.linspace(1, 2, n)]))
        for n in (10, 1000, 100_000)
    ]
    assert uneven[-1] == pytest.approx(1 / 4 + 7 / 3)
    assert calculus.riemann_sum(square, 0, 2, 100_000) == pytest.approx(8 / 3)


def test_the_integral_inverts_the_derivative():
    def slope(x):
        return calculus.derivative(np.sin, x)

    assert calculus.riemann_sum(slope, 0, 1, 2000) == pytest.approx(np.sin(1), abs=1e-7)


def test_gradient_and_hessian_match_tensorflow(theirs):
    _, gradient, hessian = theirs
    np.testing.assert_allclose(calculus.gradient(bumpy, X), gradient, atol=1e-9)
    ours = calculus.hessian(bumpy, X)
    assert ours.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(ours, hessian, atol=1e-6)
    np.testing.assert_allclose(ours, ours.transpose(2, 3, 0, 1), atol=1e-6)


def test_the_numerical_jacobian_of_softmax_matches_its_formula():
    z = RNG.normal(size=5)
    ours = calculus.jacobian(activations.softmax, z)
    np.testing.assert_allclose(ours, activations.softmax_jacobian(z), atol=1e-10)


def test_the_step_grows_with_large_entries():
    assert calculus.gradient(lambda x: x**2, 1e8) == pytest.approx(2e8, rel=1e-9)


def test_no_unit_direction_increases_the_function_faster_than_the_gradient(theirs):
    gradient = theirs[1].ravel()
    directions = RNG.normal(size=(1000, 6))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rises = directions @ gradient
    steepest = np.linalg.norm(gradient)
    assert rises.max() < steepest
    up = bumpy(X + 1e-6 * theirs[1] / steepest) - bumpy(X)
    assert up / 1e-6 == pytest.approx(steepest, rel=1e-4)


def test_the_chain_rule_is_the_derivative_of_the_composed_function():
    x = np.array([-1, 0.2, 2])
    ours = calculus.chain_rule(np.cos, activations.sigmoid, activations.sigmoid_derivative, x)
    z = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(z)
        y = tf.sin(tf.sigmoid(z))
    np.testing.assert_allclose(ours, tape.gradient(y, z), rtol=1e-10)
    composed = calculus.derivative(lambda x: np.sin(activations.sigmoid(x)), x)
    np.testing.assert_allclose(ours, composed, rtol=1e-8)


def test_the_differential_is_gradient_times_change(theirs):
    dx = RNG.normal(size=(2, 3))
    expected = np.sum(theirs[1] * dx)
    assert calculus.differential(bumpy, X, dx) == pytest.approx(expected, rel=1e-8)


def test_erratum_the_differential_is_the_linear_part_of_the_change():
    for dx in (1, 0.1, 0.01):
        change = (3 + dx) ** 2 - 3**2
        df = calculus.differential(lambda x: x**2, 3, dx)
        assert df == pytest.approx(6 * dx)
        assert change - df == pytest.approx(dx**2, rel=1e-6)


def test_the_error_of_taylor_decreases_with_the_second_and_third_power(theirs):
    f, gradient, hessian = theirs
    d = RNG.normal(size=(2, 3))
    for args, power in (((), 2), ((hessian,), 3)):
        errors = [
            bumpy(X + t * d) - calculus.taylor(X + t * d, X, f, gradient, *args)
            for t in (0.01, 0.001)
        ]
        assert errors[0] / errors[1] == pytest.approx(10**power, rel=0.1)


def test_second_order_taylor_is_exact_for_quadratics_of_numbers_and_vectors():
    x = np.linspace(-3, 3, 7)
    f = 2 - x + 4 * x**2
    np.testing.assert_allclose(calculus.taylor(x, 1, 5, 7, 8), f, rtol=1e-12)
    np.testing.assert_allclose(calculus.taylor(x, 1, 5, 7), 5 + 7 * (x - 1), rtol=1e-12)

    H = M[:3, :3] + M[:3, :3].T
    points, a, b = RNG.normal(size=(4, 5, 3)), RNG.normal(size=3), RNG.normal(size=3)
    values = np.einsum("...i,ij,...j->...", points, H, points) / 2 + points @ b
    ours = calculus.taylor(points, a, a @ H @ a / 2 + a @ b, H @ a + b, H)
    np.testing.assert_allclose(ours, values, rtol=1e-10, atol=1e-12)


def piecewise_linear(biased):
    """Return a TensorFlow function of a vector of 6 numbers: two dense layers, ReLU, maximum."""
    rng = np.random.default_rng(1)
    W1, W2 = rng.normal(size=(6, 8)), rng.normal(size=(8, 3))
    b1, b2 = biased * rng.normal(size=8), biased * rng.normal(size=3)
    return lambda x: tf.reduce_max(
        tf.linalg.matvec(W2.T, tf.nn.relu(tf.linalg.matvec(W1.T, x) + b1)) + b2
    )


@pytest.mark.parametrize("biased", [False, True], ids=["bias-free", "biased"])
def test_gradient_times_input_sums_to_the_score_if_there_are_no_biases(biased):
    f, x = piecewise_linear(biased), tf.constant(RNG.normal(size=6))
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = f(x)
    gradient = tape.gradient(score, x)
    total = calculus.gradient_times_input(gradient, x).sum()
    rise = float(score - f(tf.zeros(6, tf.float64)))
    # Gradient × input is the Taylor expansion at x, evaluated at 0.
    at_zero = calculus.taylor(np.zeros(6), x, score, gradient)
    assert total == pytest.approx(float(score) - at_zero, rel=1e-12)
    if biased:
        assert abs(total - rise) > 0.1
    else:
        assert total == pytest.approx(rise, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calculus.derivative(np.sin, 1, 0), "h: expected a step other than 0; got 0"),
        (lambda: calculus.jacobian(np.sin, [1.0], 0), "h: expected a step other than 0; got 0"),
        (lambda: calculus.riemann_sum(np.sin, 0, 1, 0), "n: expected at least 1 interval; got 0"),
        (lambda: calculus.riemann_sum(np.sin, 0, np.inf, 9), "b: expected finite numbers"),
        (lambda: calculus.partition_sum(np.sin, [0.0]), "edges: expected at least 2 ends"),
        (lambda: calculus.gradient(np.sin, [1.0, 2]), r"f: .* a single number; got shape \(2,\)"),
        (lambda: calculus.differential(np.sum, [1.0, 2], [1.0]), r"dx: .*\(2,\); got \(1,\)"),
        (lambda: calculus.taylor([1.0], [1.0, 2], 0, [1, 2]), r"x: expected shape \(2\)"),
        (lambda: calculus.taylor([1.0, 2], [1.0, 2], 0, [1]), r"gradient: expected shape \(2\)"),
        (lambda: calculus.taylor(1, 0, 0, 1, [1, 2]), r"hessian: expected shape \(\)"),
        (lambda: calculus.gradient_times_input([1.0], [1.0, 2]), r"x: .*\(1,\); got \(2,\)"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
