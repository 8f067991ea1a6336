import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import make_moons

from mnist_xai.foundations import dense_network as net
from mnist_xai.foundations import losses
from mnist_xai.foundations.activations import sigmoid, sigmoid_derivative
from mnist_xai.foundations.activations import softmax as softmax_of
from tests.foundations.differences import slopes

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
    return slopes(lambda value: function(replaced(name, part, value)), WEIGHTS[name][part])


def parameters(weights):
    return np.concatenate([np.ravel(w) for pair in weights.values() for w in pair])


@pytest.mark.parametrize("lam", [0, LAM])
@pytest.mark.parametrize("name", ["hidden", "output"])
@pytest.mark.parametrize("part", [0, 1], ids=["weights", "biases"])
def test_gradients_are_central_differences_with_the_penalty_and_without(name, part, lam):
    ours = net.backward(WEIGHTS, net.forward(WEIGHTS, X), Y, lam)[name][part]
    theirs = numeric(name, part, lambda weights: net.loss(weights, X, Y, lam))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_loss_and_gradients_are_tensorflows():
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


def test_the_penalty_pulls_at_weights_and_not_at_biases():
    arrays = net.forward(WEIGHTS, X)
    without, with_it = (net.backward(WEIGHTS, arrays, Y, lam) for lam in (0, LAM))
    for name, (w, _) in WEIGHTS.items():
        np.testing.assert_allclose(with_it[name][0] - without[name][0], 2 * LAM * w, rtol=1e-9)
        assert (with_it[name][1] == without[name][1]).all()


def test_it_learns_xor():
    weights, history = net.train(net.initialise(2, 3, 1), *XOR, eta=5, epochs=2000)
    assert np.round(net.forward(weights, XOR[0])["a2"]).tolist() == XOR[1].tolist()
    assert history[-1] < 0.01 < 0.2 < history[0]


def test_it_learns_two_moons_and_its_predictions_are_of_use_beyond_them():
    x, y = make_moons(400, noise=0.15, random_state=0)
    seen, unseen = (x[:200], y[:200, None]), (x[200:], y[200:, None])
    weights, history = net.train(net.initialise(2, 8, 1), *seen, eta=5, lam=1e-5, epochs=1500)
    right = (net.forward(weights, unseen[0])["a2"] > 0.5) == unseen[1]
    assert np.mean(right) > 0.95
    assert len(history) == 1501
    assert history[-1] < history[0] / 5


def test_training_does_what_its_steps_say_and_leaves_the_first_weights_alone():
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


# What 003 §4 and 000 §6 say, and why it does not hold.


def step_of_003(x, y, arrays, weights, eta=0.5, lam=0.0):
    """Line for line what 003's backward pass computes, but for `y`, which it has no way to know."""
    (W1, b1), (W2, b2) = weights.values()
    error = arrays["a2"] - y
    back = error @ W2.T
    W2_gradient = error.T @ W2 + 2 * lam * W2
    W1_gradient = back @ W2.T + 2 * lam * W1
    W2 = W2 - eta * W2_gradient
    b2 = b2 - eta * np.mean(W2_gradient, axis=0)
    W1 = W1 - eta * W1_gradient
    b1 = b1 - eta * np.mean(W1_gradient, axis=0)
    return error, back  # The new weights are lost here.


def batch(examples, inputs, hidden, outputs):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(examples, inputs)), rng.uniform(size=(examples, outputs))
    return x, y, net.initialise(inputs, hidden, outputs)


def test_003s_shapes_raise_unless_examples_hidden_units_and_outputs_are_equally_many():
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
def test_003s_gradient_without_the_sigmoids_slope_is_wrong(name):
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

    assert relative_distance(article, slopes(binary_cross_entropy, z2)) < 1e-7
    assert relative_distance(article, slopes(lambda z2: losses.mse(Y, sigmoid(z2)), z2)) > 1


def test_003s_difference_is_the_gradient_of_its_loss_times_half_the_number_of_entries():
    """So that its λ counts 2/N times as much as its formula `L + R` says."""
    arrays = net.forward(WEIGHTS, X)
    delta2 = (arrays["a2"] - Y) * sigmoid_derivative(arrays["z2"])
    article = arrays["a1"].T @ delta2
    right = numeric("output", 0, lambda weights: net.loss(weights, X, Y))
    np.testing.assert_allclose(article, Y.size / 2 * right, rtol=1e-6)
    assert relative_distance(article, right) > 1


def test_003s_chain_rule_lacks_the_sum_over_all_units_that_a_unit_feeds():
    x, y, weights = batch(5, 2, 3, 2)
    arrays, W2 = net.forward(weights, x), weights["output"][0]
    delta2 = losses.mse_gradient(y, arrays["a2"]) * sigmoid_derivative(arrays["z2"])

    def loss(a1):
        return losses.mse(y, sigmoid(a1 @ W2))

    right = slopes(loss, arrays["a1"])
    assert relative_distance(delta2[:, :1] @ W2[:, :1].T, right) > 0.1
    assert relative_distance(sum(delta2[:, [k]] * W2[:, k] for k in range(2)), right) < 1e-7


def test_003s_weights_where_activations_belong_know_nothing_of_the_input():
    """With shapes made to fit: `∂L/∂W2 = W2 Σ δ2` does not change when the examples do."""
    article = [WEIGHTS["output"][0] * np.sum(d) for d in (Y - 0.5, (Y - 0.5)[::-1])]
    assert article[0] == pytest.approx(article[1])
    arrays = net.forward(WEIGHTS, X)
    ours, shuffled = (net.backward(WEIGHTS, arrays, y)["output"][0] for y in (Y, Y[::-1]))
    assert relative_distance(ours, shuffled) > 0.1


def test_003s_bias_gradient_is_a_mean_of_weight_gradients_and_wrong():
    right = numeric("hidden", 1, lambda weights: net.loss(weights, X, Y))
    gradients = net.backward(WEIGHTS, net.forward(WEIGHTS, X), Y)
    assert relative_distance(np.mean(gradients["hidden"][0], axis=0), right) > 0.1
    assert relative_distance(gradients["hidden"][1], right) < 1e-7


@pytest.mark.parametrize("size", [1, 3])
def test_003s_training_changes_nothing_as_its_new_weights_are_local(size):
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
    held_back, _ = net.train(start, *XOR, eta=5, lam=0.01, epochs=2000)
    predictions = net.forward(held_back, XOR[0])["a2"]
    np.testing.assert_allclose(predictions, 0.5, atol=0.02)


def test_003s_learning_rate_hardly_moves_its_network():
    _, history = net.train(net.initialise(2, 3, 1), *XOR, eta=0.01, epochs=2000)
    assert history[-1] > 0.2


def test_003s_loss_as_a_function_of_the_difference_is_no_cross_entropy():
    """Equal differences y - p, unequal cross-entropies."""
    y, p = np.array([[1.0, 0, 0]]), np.array([[0.5, 0.25, 0.25]])
    other_y, other_p = np.array([[0.6, 0.4, 0]]), np.array([[0.1, 0.65, 0.25]])
    np.testing.assert_allclose(y - p, other_y - other_p)
    assert abs(losses.cross_entropy(y, p) - losses.cross_entropy(other_y, other_p)) > 0.5
    assert losses.mse(y, p) == pytest.approx(losses.mse(other_y, other_p))


def half_squared_error(weights):
    return np.sum((net.forward(weights, X)["a2"] - Y) ** 2) / 2


def deltas_of_000(arrays, W2):
    """Row by row what 000 §6.5 means, with the θ2 that is given."""
    delta2 = (arrays["a2"] - Y) * sigmoid_derivative(arrays["z2"])
    return delta2, (delta2 @ W2.T) * sigmoid_derivative(arrays["z1"])


def test_000s_delta2_is_right_for_half_the_squared_error():
    arrays = net.forward(WEIGHTS, X)
    delta2, delta1 = deltas_of_000(arrays, WEIGHTS["output"][0])
    for name, gradient in [("output", arrays["a1"].T @ delta2), ("hidden", X.T @ delta1)]:
        right = numeric(name, 0, half_squared_error)
        np.testing.assert_allclose(gradient, right, rtol=1e-6, atol=1e-9)


def test_000s_delta2_is_wrong_for_cross_entropy_where_it_is_the_difference_alone():
    z = RNG.normal(size=(5, 3))
    y = np.eye(3)[[0, 1, 2, 1, 0]]
    right = slopes(lambda z: losses.softmax_cross_entropy(y, z), z) * len(z)
    p = softmax_of(z)
    article = (p - y) * p * (1 - p)  # With softmax for σ, slope by slope.
    assert relative_distance(article, right) > 0.5
    assert relative_distance(p - y, right) < 1e-7

    one, target = z[:, :1], y[:, :1]  # The same for one sigmoid and the binary loss.
    right = slopes(
        lambda z: -np.sum(target * np.log(sigmoid(z)) + (1 - target) * np.log(1 - sigmoid(z))),
        one,
    )
    article = (sigmoid(one) - target) * sigmoid_derivative(one)
    assert relative_distance(article, right) > 0.5
    assert relative_distance(sigmoid(one) - target, right) < 1e-7


def test_000s_delta1_is_wrong_and_has_the_wrong_shape_but_for_layers_of_one_size():
    arrays = net.forward(WEIGHTS, X)
    theta2 = WEIGHTS["output"][0].T  # (1, 3), the article's columns.
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

    right = slopes(loss, arrays["z1"])
    delta2 = (arrays["a2"] - y) * sigmoid_derivative(arrays["z2"])
    ours = (delta2 @ square["output"][0].T) * sigmoid_derivative(arrays["z1"])
    assert relative_distance(article, right) > 1
    assert relative_distance(ours, right) < 1e-7


def test_000s_delta1_with_theta2_already_updated_is_another_gradient():
    """So are the lists of §6.3 and §6.5 read, line after line: θ_L changes before δ_{L-1}."""
    arrays = net.forward(WEIGHTS, X)
    W2 = WEIGHTS["output"][0]
    delta2, delta1 = deltas_of_000(arrays, W2)
    updated = W2 - ALPHA * arrays["a1"].T @ delta2
    article = X.T @ deltas_of_000(arrays, updated)[1]
    right = numeric("hidden", 0, half_squared_error)
    assert relative_distance(article, right) > 0.05
    assert relative_distance(X.T @ delta1, right) < 1e-7


def test_000s_network_with_one_pair_of_weights_has_no_output_layer():
    """§6.1 writes σ(g(θ x + b)): with sigmoids all it can ever say lies between 0.5 and 0.731."""
    x, y = XOR
    said = [sigmoid(sigmoid(x @ RNG.normal(0, 50, (2, 1)) + RNG.normal(0, 50))) for _ in range(100)]
    assert np.min(said) >= 0.5
    assert np.max(said) <= sigmoid(1.0)
    weights, _ = net.train(net.initialise(2, 3, 1), x, y, eta=5, epochs=2000)
    assert net.forward(weights, x)["a2"].min() < 0.1


def test_000s_products_with_a_star_are_matrix_products():
    """`θ1 * x` entry by entry is no layer, and `δ2 * a1.T` only by luck an outer product."""
    theta1, x = WEIGHTS["hidden"][0].T, X[0]
    with pytest.raises(ValueError, match="broadcast"):
        theta1 * x[:, None]
    assert (theta1 * x).shape != (theta1 @ x).shape == (3,)
    delta, a = RNG.normal(size=(3, 5)), RNG.normal(size=(2, 5))  # Columns are examples.
    with pytest.raises(ValueError, match="broadcast"):
        delta * a.T
    assert (delta @ a.T).shape == (3, 2)


def relative_distance(ours, right):
    return np.linalg.norm(ours - right) / np.linalg.norm(right)


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
def test_what_cannot_be_meant_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
