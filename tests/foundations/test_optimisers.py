from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from mnist_xai.foundations import optimisers as opt

START = np.array([-1.2, 1.0, 0.3, 2.0])


def gradient(theta):
    """Return the gradient of Rosenbrock's function, which is ill-conditioned and not convex."""
    return optimize.rosen_der(theta)


def keras_trajectory(optimizer, steps=100):
    theta = tf.Variable(START, dtype=tf.float64)
    path = [theta.numpy()]
    for _ in range(steps):
        optimizer.apply([tf.constant(gradient(theta.numpy()))], [theta])
        path.append(theta.numpy())
    return np.array(path)


def float32(rate):
    """Round as Keras does: it rounds learning rates, momentum and powers of β to float32."""
    return float(np.float32(rate))


def keras_adam(theta, g, state):
    """Make a step of Keras's default Adam: it corrects the bias in `α`, with rounded β."""
    t = state[2] + 1 if state else 1
    correction = np.sqrt(1 - float32(0.999) ** t) / (1 - float32(0.9) ** t)
    alpha = float32(0.05) * correction
    return opt.adam(theta, g, state, alpha=alpha, epsilon=1e-7, bias_correction=False)


def quadratic(eigenvalues):
    return lambda theta: np.asarray(eigenvalues) * theta


# Trajectories that match Keras to float64 precision.

EXACT = {"beta1": 0.875, "beta2": 1 - 2.0**-10}  # float32 represents these numbers exactly.
KERAS_COUNTERPARTS = {
    "gradient_descent": (
        partial(opt.gradient_descent, alpha=float32(1e-4)),
        (),
        lambda: keras.optimizers.SGD(1e-4),
    ),
    "momentum": (
        partial(opt.momentum, alpha=float32(1e-4) / (1 - float32(0.9)), beta=float32(0.9)),
        (),
        lambda: keras.optimizers.SGD(1e-4, momentum=0.9),
    ),
    "adagrad": (
        partial(opt.adagrad, eta=float32(0.1), epsilon=1e-7),
        (),
        lambda: keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.0, epsilon=1e-7),
    ),
    "adagrad from 0.1": (
        partial(opt.adagrad, eta=float32(0.1), epsilon=1e-7),
        (np.full(4, 0.1),),
        lambda: keras.optimizers.Adagrad(0.1),
    ),
    "adam": (
        partial(opt.adam, alpha=float32(0.05), **EXACT, epsilon=1e-7, epsilon_hat=True),
        (),
        lambda: keras.optimizers.Adam(0.05, beta_1=EXACT["beta1"], beta_2=EXACT["beta2"]),
    ),
    "adam, large epsilon": (
        partial(opt.adam, alpha=float32(0.05), **EXACT, epsilon=10, epsilon_hat=True),
        (),
        lambda: keras.optimizers.Adam(
            0.05, beta_1=EXACT["beta1"], beta_2=EXACT["beta2"], epsilon=10
        ),
    ),
    "adam, default betas": (keras_adam, (), lambda: keras.optimizers.Adam(0.05)),
}


@pytest.mark.parametrize("name", KERAS_COUNTERPARTS)
def test_a_hundred_steps_match_keras(name):
    step, state, make = KERAS_COUNTERPARTS[name]
    path = opt.trajectory(step, gradient, START, 100, state)
    np.testing.assert_allclose(path, keras_trajectory(make()), rtol=1e-10, atol=0)
    assert np.abs(path[-1] - path[0]).max() > 0.1


def test_the_articles_momentum_starts_ten_times_as_slowly_as_keras_at_the_same_rate():
    article = opt.trajectory(partial(opt.momentum, alpha=float32(1e-4)), gradient, START, 1)
    theirs = keras_trajectory(keras.optimizers.SGD(1e-4, momentum=0.9), 1)
    np.testing.assert_allclose(np.diff(theirs, axis=0), 10 * np.diff(article, axis=0), rtol=1e-10)


def test_adam_with_default_betas_matches_keras_except_for_the_rounding_of_beta():
    step = partial(opt.adam, alpha=float32(0.05), epsilon=1e-7, epsilon_hat=True)
    path = opt.trajectory(step, gradient, START, 100)
    np.testing.assert_allclose(path, keras_trajectory(keras.optimizers.Adam(0.05)), rtol=1e-5)


def test_keras_epsilon_differs_from_that_of_algorithm_1():
    step = partial(opt.adam, alpha=float32(0.05), **EXACT, epsilon=10)
    theirs = keras_trajectory(
        keras.optimizers.Adam(0.05, beta_1=0.875, beta_2=EXACT["beta2"], epsilon=10), 1
    )
    g = gradient(START)
    # After one step m̂ = g and √v̂ = |g|. Algorithm 1 adds 10, Keras adds 10 / √(1 - β2) = 320.
    ours = opt.minimise(step, gradient, START, 1)
    np.testing.assert_allclose(ours, START - float32(0.05) * g / (np.abs(g) + 10), rtol=1e-12)
    np.testing.assert_allclose(
        theirs[-1], START - float32(0.05) * g / (np.abs(g) + 320), rtol=1e-12
    )


def test_keras_initial_accumulator_acts_as_a_larger_epsilon():
    path = opt.trajectory(partial(opt.adagrad, eta=0.1, epsilon=0.1 + 1e-7), gradient, START, 50)
    state = (np.full(4, 0.1),)
    begun = opt.trajectory(partial(opt.adagrad, eta=0.1), gradient, START, 50, state)
    np.testing.assert_allclose(path, begun, rtol=1e-10)


# Closed forms.


def test_gradient_descent_multiplies_each_distance_by_one_minus_rate_times_curvature():
    step = partial(opt.gradient_descent, alpha=0.15)
    path = opt.trajectory(step, quadratic([1, 10, 14]), [1, 1, 1], 40)
    # 1 - 0.15 x 14 = -1.1: for rates above 2 / 14 the steepest direction diverges.
    expected = np.array([0.85, -0.5, -1.1]) ** np.arange(41)[:, None]
    np.testing.assert_allclose(path, expected, rtol=1e-10)


def test_momentum_on_a_parabola_is_a_matrix_power():
    alpha, beta, curvature = 0.3, 0.9, 2.0
    path = opt.trajectory(
        partial(opt.momentum, alpha=alpha, beta=beta), quadratic([curvature]), [1], 30
    )
    one = np.array([[1 - alpha * (1 - beta) * curvature, -alpha * beta], [(1 - beta) * 2, beta]])
    expected = [(np.linalg.matrix_power(one, t) @ [1, 0])[0] for t in range(31)]
    np.testing.assert_allclose(path[:, 0], expected, rtol=1e-10)


def test_momentum_with_beta_zero_is_gradient_descent():
    beta_zero = opt.trajectory(partial(opt.momentum, alpha=1e-4, beta=0), gradient, START, 20)
    plain = opt.trajectory(partial(opt.gradient_descent, alpha=1e-4), gradient, START, 20)
    np.testing.assert_array_equal(beta_zero, plain)


def test_under_a_constant_gradient_adagrad_slows_down_and_adam_does_not():
    def constant(theta):
        return np.array([3.0, -0.01])

    adagrad = opt.trajectory(partial(opt.adagrad, eta=0.5, epsilon=0), constant, [0, 0], 100)
    root = np.sqrt(np.arange(1, 101))[:, None]
    np.testing.assert_allclose(np.diff(adagrad, axis=0), [-0.5, 0.5] / root, rtol=1e-10)
    adam = opt.trajectory(partial(opt.adam, alpha=0.5, epsilon=0), constant, [0, 0], 100)
    np.testing.assert_allclose(np.diff(adam, axis=0), np.tile([-0.5, 0.5], (100, 1)), rtol=1e-10)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_rules_accept_parameters_of_any_shape_and_do_not_change_them(shape):
    theta, g = np.full(shape, 2.0), np.full(shape, 0.5)
    steps = [
        partial(opt.gradient_descent, alpha=0.1),
        partial(opt.momentum, alpha=0.1),
        partial(opt.adagrad, eta=0.1),
        partial(opt.adam, alpha=0.1),
    ]
    for step, length in zip(steps, [0.05, 0.005, 0.1, 0.1], strict=True):
        moved, state = step(theta, g)
        before = [part.copy() for part in state]
        step(moved, g, state)
        assert moved.shape == shape
        np.testing.assert_allclose(theta - moved, np.full(shape, length), rtol=1e-6)
        assert (theta == 2).all()
        assert all((a == b).all() for a, b in zip(state, before, strict=True))


# Omissions of the article.


def test_article_adagrad_divides_zero_by_zero_where_the_gradient_was_always_zero():
    g = np.array([0.0, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        article = 7 - 0.5 / np.sqrt(g**2) * g
    assert np.isnan(article).tolist() == [True, False]
    theta, _ = opt.adagrad([7.0, 7], g, eta=0.5)
    np.testing.assert_allclose(theta, [7, 6.5], rtol=1e-7)
    with pytest.raises(ValueError, match="epsilon: expected more than 0.*got 0"):
        opt.adagrad([7.0, 7], g, eta=0.5, epsilon=0)


def test_article_adam_takes_a_first_step_of_3_16_alpha_and_a_twelfth_of_6_57_alpha():
    def constant(theta):
        return np.array([5.0, -1e-3])

    step = partial(opt.adam, alpha=0.01, epsilon=0)
    article = opt.trajectory(partial(step, bias_correction=False), constant, [0, 0], 5000)
    t = np.arange(1, 5001)
    lengths = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
    expected = 0.01 * lengths[:, None] * [-1, 1]
    np.testing.assert_allclose(np.diff(article, axis=0), expected, rtol=1e-9)
    assert lengths[0] == pytest.approx(0.1 / np.sqrt(0.001)) == pytest.approx(3.1623, abs=1e-4)
    assert (t[np.argmax(lengths)], lengths.max()) == (12, pytest.approx(6.568, abs=1e-3))
    assert lengths[999] == pytest.approx(1.2576, abs=1e-4)  # Still 26 % too long at step 1000.
    np.testing.assert_allclose(opt.minimise(step, constant, [0, 0], 1), [-0.01, 0.01], rtol=1e-12)


def test_article_adam_is_not_keras_adam():
    article = partial(opt.adam, alpha=float32(0.05), epsilon=1e-7, bias_correction=False)
    path = opt.trajectory(article, gradient, START, 1)
    theirs = keras_trajectory(keras.optimizers.Adam(0.05), 1)
    ratio = np.diff(path, axis=0) / np.diff(theirs, axis=0)
    np.testing.assert_allclose(ratio, 0.1 / np.sqrt(0.001), rtol=1e-5)  # Keras rounds β to float32.


def test_updating_one_weight_after_the_other_is_not_gradient_descent():
    # 004 §4.3 writes the rule for one w_i; 000 §6.3 updates each layer before the next one.
    def coupled(w):
        return np.array([w[0] + 0.5 * w[1], 0.5 * w[0] + w[1]])

    w = np.array([1.0, 2.0])
    for i in range(2):
        w[i] -= 0.4 * coupled(w)[i]
    together = opt.minimise(partial(opt.gradient_descent, alpha=0.4), coupled, [1, 2], 1)
    np.testing.assert_allclose(together, [0.2, 1.0], rtol=1e-12)
    assert w[1] == pytest.approx(1.16)


# Newton's method.


def test_newton_solves_a_quadratic_in_one_step():
    root = np.random.default_rng(0).normal(size=(5, 5))
    hessian, at = root @ root.T + np.eye(5), np.arange(5.0)
    theta = np.full(5, 9.0)
    np.testing.assert_allclose(opt.newton(theta, hessian @ (theta - at), hessian), at, atol=1e-11)


def test_newton_finds_scipys_minimum():
    theta = START
    for _ in range(30):
        theta = opt.newton(theta, gradient(theta), optimize.rosen_hess(theta))
    theirs = optimize.minimize(
        optimize.rosen, START, method="Newton-CG", jac=gradient, hess=optimize.rosen_hess, tol=1e-14
    )
    assert theirs.success
    np.testing.assert_allclose(gradient(theta), 0, atol=1e-10)
    np.testing.assert_allclose(theta, theirs.x, rtol=1e-6)
    assert (np.linalg.eigvalsh(optimize.rosen_hess(theta)) > 0).all()


def test_newton_accepts_parameters_of_any_shape():
    hessian = np.diag([1.0, 2, 4, 8]).reshape(2, 2, 2, 2)
    moved = opt.newton(np.ones((2, 2)), np.ones((2, 2)), hessian)
    np.testing.assert_allclose(moved, [[0, 0.5], [0.75, 0.875]], rtol=1e-12)
    assert opt.newton(3.0, 4.0, 2.0) == pytest.approx(1)


def test_newton_converges_to_a_saddle_that_gradient_descent_leaves():
    # J = x² - y² + y⁴/2: a saddle at 0, minima at y = ±1.
    theta = np.array([0.5, 0.3])
    for _ in range(10):
        g = np.array([2 * theta[0], -2 * theta[1] + 2 * theta[1] ** 3])
        theta = opt.newton(theta, g, np.diag([2, -2 + 6 * theta[1] ** 2]))
    np.testing.assert_allclose(theta, 0, atol=1e-12)

    def slope(theta):
        return np.array([2 * theta[0], -2 * theta[1] + 2 * theta[1] ** 3])

    down = opt.minimise(partial(opt.gradient_descent, alpha=0.1), slope, [0.5, 0.3], 200)
    np.testing.assert_allclose(down, [0, 1], atol=1e-10)


def test_newton_root_matches_scipy():
    theta = 1.0
    for _ in range(8):
        theta = opt.newton_root(theta, theta**3 - 5, 3 * theta**2)
    theirs = optimize.newton(lambda x: x**3 - 5, 1.0, fprime=lambda x: 3 * x**2, tol=1e-14)
    assert float(theta) == pytest.approx(theirs, rel=1e-12) == pytest.approx(5 ** (1 / 3))


def test_article_newton_finds_a_root_that_is_not_the_minimum():
    # J = θ² - 1 has its minimum at 0. The article's rule converges to 1, where J = 0; Newton's
    # method for a minimum reaches 0 in one step.
    theta = 3.0
    for _ in range(8):
        theta = opt.newton_root(theta, theta**2 - 1, 2 * theta)
    assert float(theta) == pytest.approx(1, rel=1e-12)
    assert opt.newton(3.0, 6.0, 2.0) == pytest.approx(0, abs=1e-15)
    # The root of the derivative is the minimum.
    assert opt.newton_root(3.0, 6.0, 2.0) == pytest.approx(0, abs=1e-15)


def test_article_newton_does_not_converge_if_the_loss_has_no_root():
    # J = θ² + 1 > 0. With θ = cot x the rule is x -> 2x, which never converges.
    path = [np.float64(np.tan(0.5))]
    for _ in range(25):
        path.append(opt.newton_root(path[-1], path[-1] ** 2 + 1, 2 * path[-1]))
    doubled = 1 / np.tan((np.pi / 2 - 0.5) * 2.0 ** np.arange(20))
    np.testing.assert_allclose(path[:20], doubled, rtol=1e-6)
    assert np.ptp(path[-10:]) > 1
    with pytest.raises(ValueError, match="f_prime: expected slopes other than 0"):
        opt.newton_root(opt.newton_root(1.0, 2.0, 2.0), 1.0, 0.0)


def test_article_newton_is_not_quadratic_even_if_the_minimum_is_zero():
    # J = θ² has its minimum at its root. The slope vanishes there too: each step halves the error.
    theta = np.float64(1.0)
    for _ in range(10):
        theta = opt.newton_root(theta, theta**2, 2 * theta)
    assert theta == 2.0**-10
    assert opt.newton(1.0, 2.0, 2.0) == 0


def test_newton_doubles_the_digits_of_a_minimum():
    # J = θ - ln θ has its minimum at 1. A step squares the error exactly: e -> -e².
    theta = np.float64(0.9)
    for t in range(1, 4):
        theta = opt.newton(theta, 1 - 1 / theta, theta**-2)
        assert float(theta) - 1 == pytest.approx(-(0.1 ** (2**t)), rel=1e-6)


# Batches.


@pytest.mark.parametrize(("size", "count"), [(10, 1), (4, 3), (1, 10)])
def test_a_pass_contains_every_example_once(size, count):
    batches = opt.mini_batches(10, size, seed=3)
    assert [len(b) for b in batches] == [size] * (10 // size) + [10 % size] * (10 % size > 0)
    assert len(batches) == count
    assert sorted(np.concatenate(batches)) == list(range(10))


def test_batches_depend_only_on_the_seed_and_a_generator_continues():
    first = np.concatenate(opt.mini_batches(50, 8, 0))
    np.testing.assert_array_equal(first, np.concatenate(opt.mini_batches(50, 8, 0)))
    generator = np.random.default_rng(0)
    np.testing.assert_array_equal(first, np.concatenate(opt.mini_batches(50, 8, generator)))
    assert (first != np.concatenate(opt.mini_batches(50, 8, generator))).any()


def regression(n=500):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)) * [1, 2, 4]
    y = x @ [1.0, -2, 3] + 0.1 * rng.normal(size=n)
    return x, y, lambda w, i: 2 * x[i].T @ (x[i] @ w - y[i]) / len(i)


def test_the_mean_of_the_mini_batch_gradients_is_the_batch_gradient():
    _, _, slope = regression()
    w = np.array([0.5, 0, 1])
    batches = opt.mini_batches(500, 50, 0)
    mean = np.mean([slope(w, i) for i in batches], axis=0)
    np.testing.assert_allclose(mean, slope(w, np.arange(500)), rtol=1e-12)


def test_article_batch_descent_is_slower_for_an_equal_number_of_examples():
    # 000 §5.3 says that batch descent converges quickly. That may hold per step, but not per
    # example.
    x, y, slope = regression()
    curvatures = np.linalg.eigvalsh(2 * x.T @ x / 500)
    best = 2 / (curvatures[0] + curvatures[-1])  # The best constant rate for batch descent.
    losses = {}
    for size, alpha in [(500, best), (50, best / 2), (1, best / 20)]:
        generator, w = np.random.default_rng(0), np.zeros(3)
        for batch in [b for _ in range(5) for b in opt.mini_batches(500, size, generator)]:
            w, _ = opt.gradient_descent(w, slope(w, batch), alpha=alpha)
        losses[size] = np.mean((x @ w - y) ** 2)
    assert losses[50] < losses[500] / 10
    assert losses[1] < losses[500] / 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: opt.gradient_descent([1.0, 2], [1.0], alpha=1), r"gradient: .*\(2,\); got \(1,\)"),
        (lambda: opt.gradient_descent([1.0], [np.inf], alpha=1), "gradient: .*finite.*; got inf"),
        (lambda: opt.gradient_descent([1.0], [1.0], alpha=0), r"alpha: .*\(0, inf\]; got 0"),
        (
            lambda: opt.gradient_descent([1.0], [1.0], (np.ones(1),), alpha=1),
            r"state: expected \(\) or 0 arrays; got 1",
        ),
        (
            lambda: opt.momentum([1.0], [1.0], (np.ones(2),), alpha=1),
            r"state\[0\]: expected shape \(1\); got \(2,\)",
        ),
        (lambda: opt.momentum([1.0], [1.0], alpha=1, beta=1), r"beta: .*\[0, 1\); got 1"),
        (lambda: opt.adagrad([1.0], [1.0], eta=-1), r"eta: .*\(0, inf\]; got -1"),
        (lambda: opt.adagrad([1.0], [1.0], eta=1, epsilon=-1), r"epsilon: .*\[0, inf\]; got -1"),
        (lambda: opt.adam([1.0], [1.0], (np.ones(1),)), "state: expected .* 3 arrays; got 1"),
        (lambda: opt.adam([1.0], [1.0], beta2=1.0), r"beta2: .*\[0, 1\); got 1.0"),
        (lambda: opt.adam([1.0], [0.0], epsilon=0), "epsilon: expected more than 0"),
        (
            lambda: opt.newton([1.0, 1], [1.0, 1], np.ones((2, 2))),
            "hessian: expected an invertible matrix of rank 2; got rank 1",
        ),
        (lambda: opt.newton([1.0, 1], [1.0, 1], np.eye(3)), r"hessian: .*\(2, 2\); got \(3, 3\)"),
        (lambda: opt.newton_root(1.0, 1.0, 0.0), "f_prime: expected slopes other than 0"),
        (lambda: opt.mini_batches(0, 1, 0), "n: expected"),
        (lambda: opt.mini_batches(5, 6, 0), r"size: expected a number in \[1, 5\]; got 6"),
        (
            lambda: opt.trajectory(
                partial(opt.gradient_descent, alpha=1), lambda _: [1.0], [1.0, 2], 1
            ),
            r"gradient: expected the shape of theta, \(2,\); got \(1,\)",
        ),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
