"""Relevance propagation: each rule as an explicit matrix, conservation, and what is refused."""

from functools import cache

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.relevance.lrp import LRP
from mnist_xai.interpret.methods.relevance.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    WSquare,
    ZBox,
    ZPlus,
)


def pos(v):
    return np.maximum(v, 0)


def neg(v):
    return np.minimum(v, 0)


def stab(z, eps=1e-6):
    return z + np.where(z < 0, -eps, eps)


# Each rule as its paper writes it: inputs (i), weights (i, j), biases (j), to the matrix of shares
# (i, j) that R_j is multiplied with.
def epsilon(x, w, b):
    return x[:, None] * w / stab(x @ w + b)


def alpha_beta(x, w, b, alpha=2, beta=1):
    z = x[:, None] * w
    up, down = pos(z), neg(z)
    raising = up / stab(up.sum(0) + pos(b))
    return alpha * raising - beta * down / stab(down.sum(0) + neg(b))


def gamma(x, w, b, g=0.25):
    z, out = x[:, None] * w, x @ w + b
    up, down = z + g * pos(z), z + g * neg(z)
    for_up = up / stab(up.sum(0) + b + g * pos(b))
    for_down = down / stab(down.sum(0) + b + g * neg(b))
    return np.where(out > 0, for_up, np.where(out < 0, for_down, 0))


def w_square(x, w, b):
    return w**2 / stab((w**2).sum(0) + b**2)


def flat(x, w, b):
    return np.ones_like(w) / stab(float(len(x)))


def z_box(x, w, b):
    z = x[:, None] * w - pos(w) * 0.0 - neg(w) * 1.0
    return z / stab(z.sum(0))


RULES = {
    Epsilon(): epsilon,
    Epsilon(0.3): lambda x, w, b: x[:, None] * w / stab(x @ w + b, 0.3),
    ZPlus(): lambda x, w, b: alpha_beta(x, w, b, 1, 0),
    AlphaBeta(): alpha_beta,
    AlphaBeta(3, 2): lambda x, w, b: alpha_beta(x, w, b, 3, 2),
    Gamma(): gamma,
    Gamma(2.0): lambda x, w, b: gamma(x, w, b, 2.0),
    WSquare(): w_square,
    Flat(): flat,
    ZBox(): z_box,
}


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        low, high = (0.5, 1.5) if "variance" in variable.path else (-1, 1)
        variable.assign(rng.uniform(low, high, variable.shape))
    return model


def sequential(*inner, shape=(3, 4, 1)):
    return drawn(keras.Sequential([keras.Input(shape), *inner]))


@cache
def dense_network(activation):
    return mx.Network(sequential(layers.Flatten(), layers.Dense(7, activation), layers.Dense(3)))


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_rule_is_the_matrix_of_its_paper(rule, activation):
    """Two dense layers, hidden inputs of either sign where the activation is tanh."""
    network = dense_network(activation)
    method = LRP(dense=rule) if not isinstance(rule, ZBox) else LRP(first=rule)
    above = RULES[rule] if not isinstance(rule, ZBox) else epsilon
    x = np.random.default_rng(1).random((4, 3, 4, 1), np.float32)
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in network.model.layers[1:])
    hidden = pos if activation == "relu" else np.tanh
    expected = []
    for row, c in zip(x.reshape(4, 12).astype(float), [0, 1, 2, 0], strict=True):
        a = hidden(row @ w1 + b1)
        z = a @ w2 + b2
        relevance = above(a, w2, b2) @ (z * np.eye(3)[c])
        expected.append(RULES[rule](row, w1, b1) @ relevance)
    found = mx.explain(network, x, [0, 1, 2, 0], method=method).maps
    expected = np.reshape(expected, found.shape)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def matrix_of(layer, shape):
    """The matrix and the bias of a linear layer on images of a shape, from unit images."""
    zero = np.asarray(layer(np.zeros((1, *shape), np.float32))).ravel()
    units = np.eye(np.prod(shape), dtype="f").reshape(-1, *shape)
    return np.asarray(layer(units)).reshape(len(units), -1) - zero, zero


CONVOLUTIONS = {
    "valid": lambda: layers.Conv2D(4, 3),
    "same": lambda: layers.Conv2D(4, 3, padding="same"),
    "strided": lambda: layers.Conv2D(4, 3, strides=2, padding="same"),
    "grouped": lambda: layers.Conv2D(4, 2, groups=2),
    "dilated": lambda: layers.Conv2D(3, 2, dilation_rate=2),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    "transposed": lambda: layers.Conv2DTranspose(3, 3, strides=2),
}


@cache
def convolution(kind):
    """A network that begins with a convolution, its matrix, its bias, and who reaches whom."""
    layer = CONVOLUTIONS[kind]()
    model = sequential(layer, layers.Flatten(), layers.Dense(3, use_bias=False), shape=(5, 6, 2))
    ones = layer.__class__.from_config(layer.get_config())
    ones.build((None, 5, 6, 2))
    ones.set_weights([np.ones_like(v) if v.ndim > 1 else 0 * v for v in layer.get_weights()])
    return mx.Network(model), *matrix_of(layer, (5, 6, 2)), matrix_of(ones, (5, 6, 2))[0]


# Every rule with its default parameters meets every kind of convolution, and other parameters one.
TREATED = [
    (kind, rule)
    for kind in CONVOLUTIONS
    for rule in RULES
    if kind == "same" or rule == type(rule)()
]


@pytest.mark.parametrize(("kind", "rule"), TREATED)
def test_convolutions_are_treated_as_their_matrices(kind, rule):
    network, w1, b1, reach = convolution(kind)
    x = np.random.default_rng(1).random((2, 5, 6, 2), np.float32)
    w2 = network.model.layers[-1].get_weights()[0]
    expected = []
    for row, c in zip(x.reshape(2, -1).astype(float), [0, 2], strict=True):
        z = row @ w1 + b1
        relevance = z * w2[:, c] / stab(z @ w2[:, c]) * (z @ w2[:, c])
        # For the flat rule, a zero padding and a hole are no inputs.
        share = reach / stab(reach.sum(0)) if isinstance(rule, Flat) else RULES[rule](row, w1, b1)
        expected.append(share @ relevance)
    method = LRP(rule, Epsilon()) if not isinstance(rule, ZBox) else LRP(first=rule)
    found = mx.explain(network, x, [0, 2], method=method).maps
    expected = np.reshape(expected, found.shape)
    np.testing.assert_allclose(found, expected, atol=5e-5 * np.abs(expected).max())


def test_a_separable_convolution_is_its_two_convolutions():
    whole = sequential(
        layers.SeparableConv2D(5, 3), layers.Flatten(), layers.Dense(3), shape=(5, 6, 2)
    )
    deep, point, bias = whole.layers[0].get_weights()
    parts = sequential(
        layers.DepthwiseConv2D(3, use_bias=False),
        layers.Conv2D(5, 1),
        layers.Flatten(),
        layers.Dense(3),
        shape=(5, 6, 2),
    )
    parts.set_weights([deep, point, bias, *whole.layers[-1].get_weights()])
    x = np.random.default_rng(1).random((2, 5, 6, 2), np.float32)
    for method in ("lrp_alpha_beta", "epsilon_gamma_box"):
        found, expected = (mx.explain(m, x, [0, 2], method=method).maps for m in (whole, parts))
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Conv2D(4, 3, use_bias=False),
        lambda: layers.Conv2D(4, 3),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
        lambda: layers.SeparableConv2D(4, 3),
        lambda: layers.Conv2DTranspose(4, 3),
    ],
)
def test_normalisation_is_folded_into_the_layer_before(layer):
    """The same network with the folded weights written down has the same relevance."""
    keras.utils.set_random_seed(0)
    inner = layer()
    norm = layers.BatchNormalization()
    rest = [layers.ReLU(), layers.Flatten(), layers.Dense(3)]
    model = sequential(inner, norm, *rest, shape=(5, 6, 2))
    g, beta, mean, variance = norm.get_weights()
    scale = g / np.sqrt(variance + norm.epsilon)
    config = inner.get_config() | {"use_bias": True}
    plain = inner.__class__.from_config(config)
    twin = sequential(plain, *[type(r).from_config(r.get_config()) for r in rest], shape=(5, 6, 2))
    twin.layers[-1].set_weights(rest[-1].get_weights())
    *kernels, last = inner.get_weights() if inner.use_bias else [*inner.get_weights(), 0.0]
    spread = scale
    if isinstance(inner, layers.DepthwiseConv2D):
        spread = scale.reshape(2, 2)
    elif isinstance(inner, layers.Conv2DTranspose):
        spread = scale[:, None]
    kernels[-1] = kernels[-1] * spread
    plain.set_weights([*kernels, (last - mean) * scale + beta])
    x = np.random.default_rng(1).random((2, 5, 6, 2), np.float32)
    np.testing.assert_allclose(model(x), twin(x), atol=1e-5)
    networks = mx.Network(model), mx.Network(twin)
    for method in ("lrp_epsilon", "lrp_gamma", "epsilon_plus_flat"):
        found, expected = (mx.explain(n, x, [0, 2], method=method).maps for n in networks)
        np.testing.assert_allclose(
            found, expected, atol=2e-5 * np.abs(expected).max(), err_msg=method
        )


def test_epsilon_zero_without_biases_is_input_times_gradient():
    model = sequential(
        layers.Conv2D(4, 3, use_bias=False, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(4, 2, use_bias=False),
        layers.ReLU(),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(3, use_bias=False),
        shape=(12, 12, 1),
    )
    x = np.random.default_rng(1).random((4, 12, 12, 1), np.float32)
    tiny = Epsilon(1e-12)
    found = mx.explain(model, x, [0, 1, 2, 0], method=LRP(tiny, tiny))
    expected = mx.explain(model, x, [0, 1, 2, 0], method="input_x_gradient").maps
    np.testing.assert_allclose(found.maps, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(found.absorbed["biases"]).max() == 0


def test_relevance_absorbed_by_biases_and_by_stabilisers_is_separate():
    """One layer: `R_c (1 - b / (z + ε) - ε / (z + ε))` reaches the pixels."""
    model = sequential(layers.Flatten(), layers.Dense(3))
    x = np.random.default_rng(1).random((4, 3, 4, 1), np.float32)
    z, b = np.asarray(model(x))[:, 1], model.layers[-1].get_weights()[1][1]
    explanation = mx.explain(model, x, [1] * 4, method=LRP(dense=Epsilon(0.5)))
    full = z + np.sign(z) * 0.5
    np.testing.assert_allclose(explanation.absorbed["biases"], z * b / full, atol=1e-5)
    np.testing.assert_allclose(explanation.absorbed["stabilisers"], z * (1 - z / full), atol=1e-5)
    assert "the biases account for" in str(explanation)


def test_an_addition_splits_relevance_and_does_not_double_it():
    image = keras.Input((3, 4, 1))
    x = layers.Flatten()(image)
    model = keras.Model(image, layers.Dense(3, use_bias=False)(layers.Add()([x, x, 2 * x])))
    once = sequential(layers.Flatten(), layers.Dense(3, use_bias=False))
    once.set_weights(model.get_weights())
    points = np.random.default_rng(1).random((2, 3, 4, 1), np.float32)
    found = mx.explain(model, points, [0, 1], method="lrp_epsilon").maps
    expected = 4 * mx.explain(once, points, [0, 1], method="lrp_epsilon").maps
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_constant_that_is_added_counts_as_a_bias():
    image = keras.Input((3, 4, 1))
    hidden = layers.Dense(5, use_bias=False)(layers.Flatten()(image))
    model = drawn(keras.Model(image, layers.Dense(3, use_bias=False)(hidden + 0.5)))
    points = np.random.default_rng(1).random((2, 3, 4, 1), np.float32)
    explanation = mx.explain(model, points, [0, 1], method="lrp_epsilon")
    w = model.layers[-1].get_weights()[0][:, [0, 1]]
    np.testing.assert_allclose(explanation.absorbed["biases"], 0.5 * w.sum(axis=0), atol=1e-4)


def test_a_layer_without_a_rule_is_refused_by_its_name():
    model = sequential(
        layers.Reshape((4, 8)), layers.SimpleRNN(3, name="loop"), layers.Dense(3), shape=(4, 4, 2)
    )
    with pytest.raises(mx.UnsupportedLayerError, match="loop: relevance propagation cannot treat"):
        mx.explain(model, np.full((1, 4, 4, 2), 0.5, np.float32), method="lrp_epsilon")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AlphaBeta(2, 2), "alpha, beta: expected alpha - beta = 1"),
        (lambda: AlphaBeta(0, -1), "alpha, beta: expected"),
        (lambda: ZBox(1, 0), "low, high: expected low < high, .*; got 1 and 0"),
        (lambda: Epsilon(-1.0), "epsilon: expected at least 0; got -1"),
        (lambda: Gamma(-1.0), "gamma: expected at least 0; got -1"),
        (lambda: LRP(products="half"), "products: expected uniform or signal; got 'half'"),
    ],
)
def test_bad_rules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
