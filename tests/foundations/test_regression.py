import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LinearRegression

from mnist_xai.foundations import calculus, regression

X, Y = regression.noisy_line()
BEST = regression.least_squares(X, Y)
RNG = np.random.default_rng(0)
WIDE, WIDE_Y = RNG.normal(size=(40, 3)), RNG.normal(size=40)


def test_the_data_match_the_article():
    np.random.seed(0)
    x = np.random.rand(100, 1)
    y = 2 * x + 1 + np.random.rand(100, 1)
    assert (x == X).all()
    np.testing.assert_allclose(Y, y[:, 0], rtol=1e-15)


@pytest.mark.parametrize(("x", "y"), [(X, Y), (WIDE, WIDE_Y)], ids=["one", "three"])
def test_least_squares_matches_scikit_learn_and_has_zero_gradient(x, y):
    theirs = LinearRegression().fit(x, y)
    theta = regression.least_squares(x, y)
    np.testing.assert_allclose(theta, [theirs.intercept_, *theirs.coef_], rtol=1e-10)
    np.testing.assert_allclose(regression.predict(x, theta), theirs.predict(x), rtol=1e-10)
    np.testing.assert_allclose(regression.gradient(x, y, theta), 0, atol=1e-14)


def test_loss_gradient_and_hessian_match_tensorflow_and_central_differences():
    theta = RNG.normal(size=4)
    t = tf.constant(theta)
    with tf.GradientTape() as outer:
        outer.watch(t)
        with tf.GradientTape() as tape:
            tape.watch(t)
            loss = tf.reduce_mean((WIDE_Y - t[0] - tf.linalg.matvec(WIDE, t[1:])) ** 2)
        slope = tape.gradient(loss, t)
    gradient = regression.gradient(WIDE, WIDE_Y, theta)
    assert regression.loss(WIDE, WIDE_Y, theta) == pytest.approx(float(loss), rel=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-10)
    np.testing.assert_allclose(regression.hessian(WIDE), outer.jacobian(slope, t), rtol=1e-10)

    def by_theta(theta):
        return regression.loss(WIDE, WIDE_Y, theta)

    np.testing.assert_allclose(gradient, calculus.gradient(by_theta, theta), atol=1e-8)


def test_the_path_of_gradient_descent_matches_tensorflow():
    theta = tf.Variable(np.zeros(2))
    path = [theta.numpy()]
    for _ in range(20):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((Y - theta[0] - X[:, 0] * theta[1]) ** 2)
        theta.assign_sub(0.5 * tape.gradient(loss, theta))
        path.append(theta.numpy())
    np.testing.assert_allclose(regression.fit(X, Y, alpha=0.5, steps=20), path, rtol=1e-10)


def test_gradient_descent_finds_the_least_squares_line_and_its_loss_decreases():
    path = regression.fit(X, Y, alpha=0.5, steps=1000)
    np.testing.assert_allclose(path[-1], BEST, rtol=1e-10)
    losses = [regression.loss(X, Y, theta) for theta in path[:200]]
    assert (np.diff(losses) < 0).all()


def test_the_fitted_line_tends_to_the_true_line():
    x, y = regression.noisy_line(100_000, seed=1)
    np.testing.assert_allclose(regression.least_squares(x, y), [1.5, 2], atol=0.01)


@pytest.mark.parametrize(("factor", "converges"), [(0.99, True), (1.01, False)])
def test_gradient_descent_converges_for_rates_below_two_over_the_largest_curvature(
    factor, converges
):
    limit = 2 / np.linalg.eigvalsh(regression.hessian(X)).max()
    path = regression.fit(X, Y, alpha=factor * limit, steps=1000)
    assert (np.abs(path[-1] - BEST).max() < 1e-6) == converges


def test_every_direction_converges_at_its_own_rate():
    values, directions = np.linalg.eigh(regression.hessian(X))
    path = regression.fit(X, Y, alpha=0.01, steps=1000)
    left = (path - BEST) @ directions
    np.testing.assert_allclose(left[-1], left[0] * (1 - 0.01 * values) ** 1000, atol=1e-12)


def test_erratum_the_articles_program_fails_in_its_first_step():
    y, theta = Y[:, None], np.zeros(1)
    difference = y - X.dot(theta)
    assert difference.shape == (100, 100)
    with pytest.raises(ValueError, match="non-broadcastable"):
        theta -= 0.01 * 2 * difference
    with pytest.raises(ValueError, match=r"y: expected shape \(100\); got \(100, 1\)"):
        regression.fit(X, y, alpha=0.01, steps=1)


def descend(gradient, size, steps=1000):
    theta = np.zeros(size)
    for _ in range(steps):
        theta = theta - 0.01 * gradient(theta)
    return theta


def test_erratum_with_the_articles_sign_the_loss_rises():
    away = descend(lambda theta: -regression.gradient(X, Y, theta), 2, steps=100)
    assert regression.loss(X, Y, away) > 10 * regression.loss(X, Y, np.zeros(2))
    there = descend(lambda theta: regression.gradient(X, Y, theta), 2, steps=100)
    assert regression.loss(X, Y, there) < 0.1 * regression.loss(X, Y, np.zeros(2))


def test_erratum_without_x_in_the_gradient_the_slope_is_not_the_best():
    x = X[:, 0]
    best = (x @ Y) / (x @ x)  # The best slope of a line through the origin.
    with_x = descend(lambda slope: np.mean(2 * x * (slope * x - Y)), 1, steps=10_000)
    without = descend(lambda slope: np.mean(2 * (slope * x - Y)), 1, steps=10_000)
    assert with_x == pytest.approx(best, rel=1e-10)
    assert without == pytest.approx(Y.mean() / x.mean(), rel=1e-10)
    assert abs(without - best) > 0.5


def test_erratum_without_the_mean_the_articles_learning_rate_diverges():
    theta = descend(lambda theta: 100 * regression.gradient(X, Y, theta), 2)
    assert np.abs(theta).min() > 1e100


def test_erratum_without_an_intercept_the_best_line_has_nine_times_the_loss():
    x = X[:, 0]
    through_origin = np.array([0, (x @ Y) / (x @ x)])
    ratio = regression.loss(X, Y, through_origin) / regression.loss(X, Y, BEST)
    assert ratio > 9


def test_erratum_a_thousand_steps_of_the_articles_size_do_not_converge():
    theta = regression.fit(X, Y, alpha=0.01, steps=1000)[-1]
    assert theta[1] < BEST[1] - 0.2
    np.testing.assert_allclose(regression.fit(X, Y, alpha=0.5, steps=400)[-1], BEST, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regression.predict(X[:, 0], BEST), r"X: expected shape \(any, any\)"),
        (lambda: regression.predict(X, [1.0]), r"theta: expected shape \(2\); got \(1,\)"),
        (lambda: regression.loss(X, Y[:-1], BEST), r"y: expected shape \(100\); got \(99,\)"),
        (lambda: regression.fit(X, Y, alpha=0, steps=1), r"alpha: .*\(0, inf\]; got 0"),
        (
            lambda: regression.fit(X, Y, alpha=9, steps=999),
            "alpha: .* smaller learning rate; got 9",
        ),
        (lambda: regression.least_squares(X, Y[:-1]), r"y: expected shape \(100\); got \(99,\)"),
        (lambda: regression.least_squares(0 * X + 3, Y), "X: expected examples that determine one"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
