"""DeepLIFT: closed forms of its paper, slow replicas of both rules, and completeness."""

from functools import cache

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.relevance.deeplift import DeepLIFT, contributions
from mnist_xai.interpret.methods.relevance.deeplift_rules import Rescale, RevealCancel

RULES = ["rescale", "reveal_cancel"]


def points(*shape, seed=1):
    return np.random.default_rng(seed).random(shape, np.float32)


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        low, high = (0.5, 1.5) if "variance" in variable.path else (-1, 1)
        variable.assign(rng.uniform(low, high, variable.shape))
    return model


def sequential(*inner, shape=(3, 4, 1)):
    return drawn(keras.Sequential([keras.Input(shape), *inner]))


# --- The paper's own examples ------------------------------------------------------------


def two_pixels(hidden, out):
    """`S_0 = out · relu(W x + b)` of two pixels."""
    (w, b), u = hidden, out
    image = keras.Input((1, 2, 1))
    x = layers.Dense(len(b), activation="relu")(layers.Flatten()(image))
    model = keras.Model(image, layers.Dense(2)(x))
    last = np.stack([u, np.zeros(len(u))], axis=1)
    model.set_weights([np.float32(v) for v in (w, b, last, np.zeros(2))])
    return model


def explained(model, values, method):
    x = np.float32(values).reshape(1, 1, 2, 1)
    return mx.explain(model, x, [0], method=method).maps.ravel()


def test_saturation_does_not_hide_the_inputs():
    """`y = 1 - relu(1 - i_1 - i_2)` at (1, 1): the gradient is zero, both inputs matter."""
    model = two_pixels((np.array([[-1.0], [-1.0]]), np.array([1.0])), np.array([-1.0]))
    assert explained(model, [1, 1], "gradient").tolist() == [0, 0]
    for rule in RULES:
        np.testing.assert_allclose(explained(model, [1, 1], DeepLIFT(rule)), [0.5, 0.5])


def test_reveal_cancel_gives_both_inputs_of_a_minimum_their_half():
    """`min(i_1, i_2) = i_1 - relu(i_1 - i_2)`: rescale gives all of it to the smaller one."""
    hidden = (np.array([[1.0, 1.0], [0.0, -1.0]]), np.zeros(2))
    model = two_pixels(hidden, np.array([1.0, -1.0]))
    for values in ([0.75, 0.25], [1.0, 0.5]):
        half = min(values) / 2
        found = explained(model, values, DeepLIFT("reveal_cancel"))
        np.testing.assert_allclose(found, [half, half], atol=1e-6)
        np.testing.assert_allclose(
            explained(model, values, DeepLIFT()), [0, min(values)], atol=1e-6
        )


# --- Slow replicas -----------------------------------------------------------------------


SMALLEST = 0.01
"""No difference that is divided by is smaller: a quotient of small differences is rounding."""


def slow_rescale(weights, x, base, c, f):
    """Dense layers by hand: `m_x = W (m_a Δa / Δz)`."""
    inner, (a, r) = [], (x, base)
    for w, b in weights[:-1]:
        z, t = a @ w + b, r @ w + b
        inner.append((z, t))
        a, r = f(z), f(t)
    m = weights[-1][0][:, c]
    for (w, _), (z, t) in zip(weights[-2::-1], inner[::-1], strict=True):
        assert np.abs(z - t).min() > SMALLEST
        m = w @ (m * (f(z) - f(t)) / (z - t))
    return m * (x - base)


def slow_reveal_cancel(weights, x, base, c, f):
    inner, (a, r) = [], (x, base)
    for w, b in weights[:-1]:
        z, t, parts = a @ w + b, r @ w + b, (a - r)[:, None] * w
        inner.append((a - r, t, np.maximum(parts, 0).sum(0), np.minimum(parts, 0).sum(0)))
        a, r = f(z), f(t)
    m = weights[-1][0][:, c]
    for (w, _), (d, t, up, down) in zip(weights[-2::-1], inner[::-1], strict=True):
        assert min(up.min(), -down.max()) > SMALLEST
        by_up = (f(t + up) - f(t) + f(t + down + up) - f(t + down)) / 2
        by_down = (f(t + down) - f(t) + f(t + up + down) - f(t + up)) / 2
        m_up, m_down = m * by_up / up, m * by_down / down
        sign = np.sign(d[:, None] * w)
        # The difference of a ReLU that is closed for both images has no sign: take the mean.
        m = (w * ((1 + sign) * m_up + (1 - sign) * m_down) / 2).sum(axis=1)
    return m * (x - base)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "elu", "gelu"])
@pytest.mark.parametrize(("rule", "slow"), [("rescale", slow_rescale), ("reveal_cancel", slow_reveal_cancel)])  # fmt: skip  # noqa: E501
def test_dense_layers_by_hand(activation, rule, slow):
    model = sequential(
        layers.Flatten(),
        layers.Dense(7, activation),
        layers.Dense(6, activation),
        layers.Dense(3),
    )
    weights = [layer.get_weights() for layer in model.layers[1:]]
    x = points(4, 3, 4, 1, seed=61)
    classes = [0, 1, 2, 0]
    f = lambda z: np.asarray(getattr(keras.activations, activation)(z.astype("f")), float)  # noqa: E731
    expected = [
        slow(weights, row.ravel().astype(float), np.full(12, 0.1), c, f).reshape(3, 4, 1)
        for row, c in zip(x, classes, strict=True)
    ]
    found = mx.explain(model, x, classes, method=DeepLIFT(rule, baseline=0.1)).maps
    # Sums of 12 terms of size 2, divided by the smallest difference.
    limit = 12 * 2 * np.finfo(np.float32).eps / SMALLEST * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


# --- Completeness ------------------------------------------------------------------------


def gated():
    """Products, softmax over positions, a maximum of branches, global poolings."""
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    gate = layers.Conv2D(4, 1, activation="sigmoid")(image)
    x = layers.Maximum()([layers.Multiply()([x, gate]), layers.Conv2D(4, 1)(image)])
    rows = layers.Reshape((36, 4))(x)
    alpha = layers.Softmax(axis=1)(layers.Dense(1)(rows))
    pooled = layers.Flatten()(layers.Dot(axes=1)([alpha, rows]))
    x = layers.Concatenate()([pooled, layers.GlobalMaxPooling2D()(x)])
    return drawn(keras.Model(image, layers.Dense(3, activation="softmax")(x)))


def overlapping():
    return sequential(
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(3, strides=2),
        layers.Conv2D(3, 2, activation="relu"),
        layers.Dropout(0.5),
        layers.AveragePooling2D(2, padding="same"),
        layers.Flatten(),
        layers.Dense(3),
        shape=(12, 12, 2),
    )


@cache
def network_of(build):
    return mx.Network(build())


@pytest.mark.parametrize("build", [gated, overlapping])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_contributions_sum_to_the_difference(build, rule, score):
    network = network_of(build)
    x = points(5, *network.image_shape)
    found = mx.explain(network, x, [0, 1, 2, 0, 1], method=DeepLIFT(rule, 0.3), score=score)
    scale = np.abs(found.maps).sum(axis=(1, 2, 3))
    assert np.max(np.abs(found.residuals) / scale) < 2e-6


@pytest.mark.parametrize("rule", RULES)
def test_without_a_nonlinearity_it_is_input_times_gradient(rule):
    model = sequential(
        layers.Conv2D(4, 2, padding="same"), layers.AveragePooling2D((1, 2)), layers.Flatten(),
        layers.Dense(3),
    )  # fmt: skip
    x = points(4, 3, 4, 1)
    found = mx.explain(model, x, [0, 1, 2, 0], method=DeepLIFT(rule)).maps
    expected = mx.explain(model, x, [0, 1, 2, 0], method="input_x_gradient").maps
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("rule", RULES)
def test_the_map_of_an_image_equal_to_the_baseline_is_zero(rule, network):
    found = mx.explain(
        network, np.full((2, 28, 28, 1), 0.4, np.float32), method=DeepLIFT(rule, 0.4)
    )
    assert not found.maps.any()
    assert found.warnings == ["The maps of images 0, 1 are zero everywhere."]


@pytest.mark.parametrize("rule", [Rescale(), RevealCancel()])
def test_several_baselines_are_the_mean_over_each(rule, images):
    model = mx.build_model("cnn", seed=0)
    network, targets = mx.Network(model, batch_size=4), np.int32([1, 2, 3, 4, 5])
    others = points(6, 28, 28, 1, seed=5)
    found = contributions(network, images, others, targets, "logit", rule)
    each = [contributions(network, images, o[np.newaxis], targets, "logit", rule) for o in others]
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-5 * np.abs(found).max())


def test_a_layer_without_a_rule_is_refused_by_its_name():
    model = sequential(layers.Reshape((3, 4)), layers.SimpleRNN(3, name="loop"), layers.Dense(3))
    with pytest.raises(mx.UnsupportedLayerError, match="loop: DeepLIFT cannot treat this SimpleRN"):
        mx.explain(model, points(1, 3, 4, 1), method=DeepLIFT())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepLIFT("gradient"), "rule: expected one of rescale, reveal_cancel"),
        (lambda: DeepLIFT(baseline=1.5), r"baseline: expected a pixel in \[0, 1\]; got 1.5"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
