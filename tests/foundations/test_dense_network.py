import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import make_moons

from mnist_xai.foundations import dense_network as net
from mnist_xai.foundations import losses
from mnist_xai.foundations.activations import sigmoid, sigmoid_derivative, softmax
from tests.foundations.differences import central_differences, relative_distance

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(7, 2)), RNG.uniform(size=(7, 1))
WEIGHTS = {
    "hidden": (RNG.normal(size=(2, 3)), RNG.normal(size=3)),
    "output": (RNG.normal(size=(3, 1)), RNG.normal(size=1)),
}
LAM, ALPHA = 0.01, 0.5
XOR = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])


def replaced(name, part, value):
    pair = list(WEIGHTS[name])
    pair[part] = value
    return WEIGHTS | {name: tuple(pair)}


def numeric(name, part, function):
    return central_differences(
        lambda value: function(replaced(name, part, value)), WEIGHTS[name][part]
    )


def parameters(weights):
    return np.concatenate([np.ravel(w) for pair in weights.values() for w in pair])


@pytest.mark.parametrize("lam", [0, LAM])
@pytest.mark.parametrize("name", ["hidden", "output"])
@pytest.mark.parametrize("part", [0, 1], ids=["weights", "biases"])
def test_gradients_match_central_differences_with_and_without_the_penalty(name, part, lam):
    ours = net.backward(WEIGHTS, net.forward(WEIGHTS, X), Y, lam)[name][part]
    theirs = numeric(name, part, lambda weights: net.loss(weights, X, Y, lam))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_loss_and_gradients_match_tensorflow():
    variables = [tf.Variable(w) for pair in WEIGHTS.values() for w in pair]
    with tf.GradientTape() as tape:
        w1, b1, w2, b2 = variables
        a2 = tf.sigmoid(tf.sigmoid(X @ w1 + b1) @ w2 + b2)
        penalty = LAM * (tf.reduce_sum(w1**2) + tf.reduce_sum(w2**2))
        loss = tf.reduce_mean((Y - a2) ** 2) + penalty
    gradients = net.backward(WEIGHTS, net.forward(WEIGHTS, X), Y, LAM)
    assert net.loss(WEIGHTS, X, Y, LAM) == pytest.approx(float(loss), rel=1e-12)
    theirs = np.concatenate([np.ravel(g) for g in tape.gradient(loss, variables)])
    np.testing.assert_allclose(parameters(gradients), theirs, rtol=1e-10, atol=1e-13)


def test_the_penalty_changes_gradients_of_weights_but_not_of_biases():
    arrays = net.forward(WEIGHTS, X)
    without, with_it = (net.backward(WEIGHTS, arrays, Y, lam) for lam in (0, LAM))
    for name, (w, _) in WEIGHTS.items():
        np.testing.assert_allclose(with_it[name][0] - without[name][0], 2 * LAM * w, rtol=1e-9)
        assert (with_it[name][1] == without[name][1]).all()


def test_it_learns_xor():
    weights, history = net.train(net.initialise(2, 3, 1), *XOR, eta=5, epochs=2000)
    assert np.round(net.forward(weights, XOR[0])["a2"]).tolist() == XOR[1].tolist()
    assert history[-1] < 0.01 < 0.2 < history[0]


def test_it_learns_two_moons_and_predicts_unseen_points():
    x, y = make_moons(400, noise=0.15, random_state=0)
    seen, unseen = (x[:200], y[:200, None]), (x[200:], y[200:, None])
    weights, history = net.train(net.initialise(2, 8, 1), *seen, eta=5, lam=1e-5, epochs=1500)
    right = (net.forward(weights, unseen[0])["a2"] > 0.5) == unseen[1]
    assert np.mean(right) > 0.95
    assert len(history) == 1501
    assert history[-1] < history[0] / 5


def test_training_follows_the_update_rule_and_does_not_change_the_initial_weights():
    before = parameters(WEIGHTS)
    weights, history = net.train(WEIGHTS, X, Y, eta=ALPHA, lam=LAM, epochs=1)
    gradients = net.backward(WEIGHTS, net.forward(WEIGHTS, X), Y, LAM)
    np.testing.assert_allclose(
        parameters(weights), before - ALPHA * parameters(gradients), rtol=1e-12
    )
    assert (parameters(WEIGHTS) == before).all()
    assert history == [net.loss(WEIGHTS, X, Y, LAM), net.loss(weights, X, Y, LAM)]


def test_equal_hidden_units_stay_equal():
    same = {
        "hidden": (np.full((2, 3), 0.3), np.zeros(3)),
        "output": (np.full((3, 1), 0.2), np.zeros(1)),
    }
    (W1, _), _ = net.train(same, *XOR, eta=1, epochs=50)[0].values()
    assert np.ptp(W1, axis=1).max() == 0


# The errors of 003 §4 and 000 §6.


def step_of_003(x, y, arrays, weights, eta=0.5, lam=0.0):
    """Run 003's backward pass line by line; `y` is an argument here, which 003 forgets."""
    (W1, b1), (W2, b2) = weights.values()
    error = arrays["a2"] - y
    back = error @ W2.T
    W2_gradient = error.T @ W2 + 2 * lam * W2
    W1_gradient = back @ W2.T + 2 * lam * W1
    W2 = W2 - eta * W2_gradient
    b2 = b2 - eta * np.mean(W2_gradient, axis=0)
    W1 = W1 - eta * W1_gradient
    b1 = b1 - eta * np.mean(W1_gradient, axis=0)
    return error, back  # As in 003, the new weights are lost here.


def batch(examples, inputs, hidden, outputs):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(examples, inputs)), rng.uniform(size=(examples, outputs))
    return x, y, net.initialise(inputs, hidden, outputs)


def test_003s_shapes_fit_only_if_examples_hidden_units_and_outputs_are_equal_in_number():
    runs = set()
    for sizes in np.ndindex(3, 3, 3, 3):
        examples, inputs, hidden, outputs = (size + 1 for size in sizes)
        x, y, weights = batch(examples, inputs, hidden, outputs)
        arrays = net.forward(weights, x)
        try:
            step_of_003(x, y, arrays, weights)
        except ValueError:
            net.backward(weights, arrays, y)
        else:
            runs.add((examples, hidden, outputs))
    assert runs == {(1, 1, 1), (2, 2, 2), (3, 3, 3)}


@pytest.mark.parametrize("name", ["hidden", "output"])
def test_003s_gradients_without_the_slope_of_the_sigmoid_are_wrong_for_its_mse(name):
    arrays = net.forward(WEIGHTS, X)
    delta2 = losses.mse_gradient(Y, arrays["a2"])
    delta1 = delta2 @ WEIGHTS["output"][0].T
    article = {"hidden": X.T @ delta1, "output": arrays["a1"].T @ delta2}[name]
    right = numeric(name, 0, lambda weights: net.loss(weights, X, Y))
    assert relative_distance(article, right) > 1
    ours = net.backward(WEIGHTS, arrays, Y)[name][0]
    assert relative_distance(ours, right) < 1e-7


def test_003s_output_gradient_is_exact_for_binary_cross_entropy_but_not_for_its_mse():
    z2 = net.forward(WEIGHTS, X)["z2"]
    article = sigmoid(z2) - Y

    def binary_cross_entropy(z2):
        a2 = sigmoid(z2)
        return -np.sum(Y * np.log(a2) + (1 - Y) * np.log(1 - a2))

    assert relative_distance(article, central_differences(binary_cross_entropy, z2)) < 1e-7
    assert (
        relative_distance(article, central_differences(lambda z2: losses.mse(Y, sigmoid(z2)), z2))
        > 1
    )


def test_003s_error_times_the_slope_is_the_gradient_of_its_loss_times_half_the_number_of_entries():
    """So 003's λ has 2/N times the effect that its formula `L + R` states."""
    arrays = net.forward(WEIGHTS, X)
    delta2 = (arrays["a2"] - Y) * sigmoid_derivative(arrays["z2"])
    article = arrays["a1"].T @ delta2
    right = numeric("output", 0, lambda weights: net.loss(weights, X, Y))
    np.testing.assert_allclose(article, Y.size / 2 * right, rtol=1e-6)
    assert relative_distance(article, right) > 1


def test_003s_chain_rule_lacks_the_sum_over_the_units_of_the_next_layer():
    x, y, weights = batch(5, 2, 3, 2)
    arrays, W2 = net.forward(weights, x), weights["output"][0]
    delta2 = losses.mse_gradient(y, arrays["a2"]) * sigmoid_derivative(arrays["z2"])

    def loss(a1):
        return losses.mse(y, sigmoid(a1 @ W2))

    right = central_differences(loss, arrays["a1"])
    assert relative_distance(delta2[:, :1] @ W2[:, :1].T, right) > 0.1
    assert relative_distance(sum(delta2[:, [k]] * W2[:, k] for k in range(2)), right) < 1e-7


def test_003s_weights_where_activations_belong_ignore_the_inputs():
    """With matching shapes, 003's `∂L/∂W2 = W2 Σ δ2` is the same for targets in another order."""
    article = [WEIGHTS["output"][0] * np.sum(d) for d in (Y - 0.5, (Y - 0.5)[::-1])]
    assert article[0] == pytest.approx(article[1])
    arrays = net.forward(WEIGHTS, X)
    ours, shuffled = (net.backward(WEIGHTS, arrays, y)["output"][0] for y in (Y, Y[::-1]))
    assert relative_distance(ours, shuffled) > 0.1


def test_003s_bias_gradient_the_mean_of_weight_gradients_is_wrong():
    right = numeric("hidden", 1, lambda weights: net.loss(weights, X, Y))
    gradients = net.backward(WEIGHTS, net.forward(WEIGHTS, X), Y)
    assert relative_distance(np.mean(gradients["hidden"][0], axis=0), right) > 0.1
    assert relative_distance(gradients["hidden"][1], right) < 1e-7


@pytest.mark.parametrize("size", [1, 3])
def test_003s_training_changes_no_weights_because_the_new_ones_are_local(size):
    x, y, weights = batch(size, size, size, size)
    before = parameters(weights)
    for _ in range(10):
        step_of_003(x, y, net.forward(weights, x), weights)
    assert (parameters(weights) == before).all()
    ours, history = net.train(weights, x, y, eta=0.5, epochs=10)
    assert (parameters(ours) != before).all()
    assert history[-1] < history[0]


def test_003s_lambda_of_one_hundredth_is_too_large_for_its_network_to_learn_xor():
    start = net.initialise(2, 3, 1)
    penalised, _ = net.train(start, *XOR, eta=5, lam=0.01, epochs=2000)
    predictions = net.forward(penalised, XOR[0])["a2"]
    np.testing.assert_allclose(predictions, 0.5, atol=0.02)


def test_003s_learning_rate_hardly_moves_its_network():
    _, history = net.train(net.initialise(2, 3, 1), *XOR, eta=0.01, epochs=2000)
    assert history[-1] > 0.2


def test_003s_loss_as_a_function_of_the_difference_cannot_be_cross_entropy():
    """Two predictions have equal differences y - p and different cross-entropies."""
    y, p = np.array([[1.0, 0, 0]]), np.array([[0.5, 0.25, 0.25]])
    other_y, other_p = np.array([[0.6, 0.4, 0]]), np.array([[0.1, 0.65, 0.25]])
    np.testing.assert_allclose(y - p, other_y - other_p)
    assert abs(losses.cross_entropy(y, p) - losses.cross_entropy(other_y, other_p)) > 0.5
    assert losses.mse(y, p) == pytest.approx(losses.mse(other_y, other_p))


def half_squared_error(weights):
    return np.sum((net.forward(weights, X)["a2"] - Y) ** 2) / 2


def deltas_of_000(arrays, W2):
    """Compute δ2 and δ1 as 000 §6.5 intends, with the given θ2 and examples as rows."""
    delta2 = (arrays["a2"] - Y) * sigmoid_derivative(arrays["z2"])
    return delta2, (delta2 @ W2.T) * sigmoid_derivative(arrays["z1"])


def test_000s_delta2_is_right_for_half_the_squared_error():
    arrays = net.forward(WEIGHTS, X)
    delta2, delta1 = deltas_of_000(arrays, WEIGHTS["output"][0])
    for name, gradient in [("output", arrays["a1"].T @ delta2), ("hidden", X.T @ delta1)]:
        right = numeric(name, 0, half_squared_error)
        np.testing.assert_allclose(gradient, right, rtol=1e-6, atol=1e-9)


def test_000s_delta2_is_wrong_for_cross_entropy_whose_gradient_is_the_difference():
    z = RNG.normal(size=(5, 3))
    y = np.eye(3)[[0, 1, 2, 1, 0]]
    right = central_differences(lambda z: losses.softmax_cross_entropy(y, z), z) * len(z)
    p = softmax(z)
    article = (p - y) * p * (1 - p)  # The article's formula with softmax for σ, entry by entry.
    assert relative_distance(article, right) > 0.5
    assert relative_distance(p - y, right) < 1e-7

    one, target = z[:, :1], y[:, :1]  # The same for one sigmoid and binary cross-entropy.
    right = central_differences(
        lambda z: -np.sum(target * np.log(sigmoid(z)) + (1 - target) * np.log(1 - sigmoid(z))),
        one,
    )
    article = (sigmoid(one) - target) * sigmoid_derivative(one)
    assert relative_distance(article, right) > 0.5
    assert relative_distance(sigmoid(one) - target, right) < 1e-7


def test_000s_delta1_is_wrong_and_its_shape_fits_only_layers_of_equal_size():
    arrays = net.forward(WEIGHTS, X)
    theta2 = WEIGHTS["output"][0].T  # (1, 3); the article writes examples as columns.
    with pytest.raises(ValueError, match="matmul"):
        (arrays["z1"].T - theta2 @ arrays["a2"].T) * sigmoid_derivative(arrays["z1"]).T

    square = {
        "hidden": WEIGHTS["hidden"],
        "output": (RNG.normal(size=(3, 3)), np.zeros(3)),
    }
    y = RNG.uniform(size=(7, 3))
    arrays = net.forward(square, X)
    article = (arrays["z1"] - arrays["a2"] @ square["output"][0]) * sigmoid_derivative(arrays["z1"])

    def loss(z1):
        a2 = sigmoid(sigmoid(z1) @ square["output"][0])
        return np.sum((a2 - y) ** 2) / 2

    right = central_differences(loss, arrays["z1"])
    delta2 = (arrays["a2"] - y) * sigmoid_derivative(arrays["z2"])
    ours = (delta2 @ square["output"][0].T) * sigmoid_derivative(arrays["z1"])
    assert relative_distance(article, right) > 1
    assert relative_distance(ours, right) < 1e-7


def test_000s_delta1_from_an_updated_theta2_is_not_the_gradient():
    """The lists of §6.3 and §6.5, run in order, update θ_L before they compute δ_{L-1}."""
    arrays = net.forward(WEIGHTS, X)
    W2 = WEIGHTS["output"][0]
    delta2, delta1 = deltas_of_000(arrays, W2)
    updated = W2 - ALPHA * arrays["a1"].T @ delta2
    article = X.T @ deltas_of_000(arrays, updated)[1]
    right = numeric("hidden", 0, half_squared_error)
    assert relative_distance(article, right) > 0.05
    assert relative_distance(X.T @ delta1, right) < 1e-7


def test_000s_network_without_output_weights_cannot_predict_below_one_half():
    """§6.1 writes σ(g(θ x + b)): with sigmoids, every output lies between 0.5 and 0.731."""
    x, y = XOR
    outputs = [
        sigmoid(sigmoid(x @ RNG.normal(0, 50, (2, 1)) + RNG.normal(0, 50))) for _ in range(100)
    ]
    assert np.min(outputs) >= 0.5
    assert np.max(outputs) <= sigmoid(1.0)
    weights, _ = net.train(net.initialise(2, 3, 1), x, y, eta=5, epochs=2000)
    assert net.forward(weights, x)["a2"].min() < 0.1


def test_000s_products_with_a_star_must_be_matrix_products():
    """`θ1 * x` entry by entry is not a layer; `δ2 * a1.T` is an outer product by luck only."""
    theta1, x = WEIGHTS["hidden"][0].T, X[0]
    with pytest.raises(ValueError, match="broadcast"):
        theta1 * x[:, None]
    assert (theta1 * x).shape != (theta1 @ x).shape == (3,)
    delta, a = RNG.normal(size=(3, 5)), RNG.normal(size=(2, 5))  # The columns are examples.
    with pytest.raises(ValueError, match="broadcast"):
        delta * a.T
    assert (delta @ a.T).shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: net.forward(WEIGHTS, X[:, :1]), r"W: expected shape \(1, any\); got \(2, 3\)"),
        (lambda: net.loss(WEIGHTS, X, Y[:, 0]), r"y_hat: expected the shape of y, \(7,\)"),
        (lambda: net.train(WEIGHTS, X, Y, eta=0, epochs=1), "got 0"),
        (lambda: net.train(WEIGHTS, X, Y, lam=-1), r"lam: .* got -1"),
        (lambda: net.train(WEIGHTS, X, Y, epochs=-1), "epochs: .* got -1"),
        (lambda: net.initialise(0, 3, 1), "inputs: .* got 0"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
