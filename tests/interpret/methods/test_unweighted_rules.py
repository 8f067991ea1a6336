"""Rules of gates, normalisation and products against slow replicas in NumPy."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import mnist_xai as mx
from mnist_xai.interpret import LRP, DeepLIFT
from tests.rounding import assert_complete_to_rounding

SHAPE, TARGETS = (3, 4, 1), [0, 1, 2]


def points():
    return np.random.default_rng(1).random((3, *SHAPE), np.float32)


def drawn(model):
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(-1, 1, variable.shape))
    return model


def stab(z, eps=1e-6):
    return z + np.where(z < 0, -eps, eps)


def epsilon(x, w, b, relevance):
    """The epsilon rule of one dense layer: relevance of its outputs to relevance of its inputs."""
    return x * (w @ (relevance / stab(x @ w + b)))


def assert_close(found, expected, share=2e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=share * np.abs(expected).max())


# --- Products ----------------------------------------------------------------------------


def squeezed():
    """`S = U (a ⊙ sigmoid(V relu(W a + b) + c)) + d` with `a = relu(A x + e)`."""
    image = keras.Input(SHAPE)
    a = layers.Dense(6, activation="relu", name="A")(layers.Flatten()(image))
    s = layers.Dense(6, activation="sigmoid", name="V")(layers.Dense(2, "relu", name="W")(a))
    return drawn(keras.Model(image, layers.Dense(3, name="U")(layers.Multiply()([a, s]))))


@pytest.mark.parametrize("products", ["uniform", "signal"])
def test_squeeze_and_excitation_is_the_slow_replica(products):
    model, x = squeezed(), points()
    weights = {name: model.get_layer(name).get_weights() for name in "AVWU"}
    found = mx.explain(model, x, TARGETS, method=LRP(products=products))
    for k, c in enumerate(TARGETS):
        v = x[k].ravel().astype(float)
        a = np.maximum(v @ weights["A"][0] + weights["A"][1], 0)
        h = np.maximum(a @ weights["W"][0] + weights["W"][1], 0)
        s = 1 / (1 + np.exp(-(h @ weights["V"][0] + weights["V"][1])))
        y = a * s
        score = (y @ weights["U"][0] + weights["U"][1]) * np.eye(3)[c]
        whole = epsilon(y, *weights["U"], score)
        if products == "uniform":
            of_gate = whole / 2 * (s - 0.5) / s  # A sigmoid's value at zero counts as a bias.
            of_gate = epsilon(a, *weights["W"], epsilon(h, *weights["V"], of_gate))
            whole = whole / 2 + of_gate
        assert_close(found.maps[k].ravel(), epsilon(v, *weights["A"], whole))
    assert_complete_to_rounding(found, model)


def test_a_gate_that_takes_nothing_is_a_constant():
    """The signal rule on one image is the epsilon rule on the network with this image's gate."""
    model, x = squeezed(), points()[:1]
    gate = mx.layer_outputs(model, x, ["V"])["V"]
    image = keras.Input(SHAPE)
    a = model.get_layer("A")(layers.Flatten()(image))
    constant = keras.Model(image, model.get_layer("U")(a * gate))
    found = mx.explain(model, x, [1], method=LRP(products="signal")).maps
    assert_close(found, mx.explain(constant, x, [1], method=LRP()).maps)


def cubed(x):
    return layers.Multiply()([x, x + 0.5, layers.Dense(5)(x)])


def divided(x):
    return x / (1 + ops.square(layers.Dense(5)(x)))


def written_out(x):
    return x * ops.rsqrt(0.1 + ops.mean(ops.square(x), axis=-1, keepdims=True))


@pytest.mark.parametrize("between", [cubed, divided, written_out])
@pytest.mark.parametrize("method", [LRP(), LRP(products="signal"), DeepLIFT(baseline=0.3)])
def test_products_of_several_factors_and_quotients_are_complete(between, method):
    image = keras.Input(SHAPE)
    x = between(layers.Dense(5)(layers.Flatten()(image)))
    model = drawn(keras.Model(image, layers.Dense(3)(x)))
    assert_complete_to_rounding(mx.explain(model, points(), TARGETS, method=method), model)


# --- Normalisation -----------------------------------------------------------------------

NORMS = {
    "layer": lambda: layers.LayerNormalization(epsilon=1e-3, name="norm"),
    "group": lambda: layers.GroupNormalization(3, epsilon=1e-3, name="norm"),
    "rms": lambda: layers.RMSNormalization(name="norm"),
    "unit": lambda: layers.UnitNormalization(name="norm"),
}


def normed(norm):
    image = keras.Input(SHAPE)
    x = NORMS[norm]()(layers.Dense(6, name="W")(layers.Flatten()(image)))
    return drawn(keras.Model(image, layers.Dense(3, name="U")(x)))


def described(norm, model):
    """Gain, offset, `ε`, the centring matrix, and the matrix of means of a group's squares."""
    layer, blocks = model.get_layer("norm"), np.kron(np.eye(3), np.ones((2, 2)))
    weights = layer.get_weights()
    gain = weights[0] if weights else 1.0
    offset = weights[1] if len(weights) > 1 else 0.0
    group = blocks if norm == "group" else np.ones((6, 6))
    centred = norm in ("layer", "group")
    means = group / group[0].sum()
    return (
        gain,
        offset,
        1e-24 if norm == "unit" else layer.epsilon,
        np.eye(6) - means if centred else np.eye(6),
        group if norm == "unit" else means,
    )


@pytest.mark.parametrize("norm", NORMS)
def test_relevance_passes_a_normalisation_with_a_constant_deviation(norm):
    model, x = normed(norm), points()
    gain, offset, eps, centring, means = described(norm, model)
    first, last = (model.get_layer(name).get_weights() for name in "WU")
    found = mx.explain(model, x, TARGETS, method="lrp_epsilon")
    for k, c in enumerate(TARGETS):
        v = x[k].ravel().astype(float)
        z = v @ first[0] + first[1]
        s = np.sqrt(means @ (centring @ z) ** 2 + eps)
        y = gain * (centring @ z) / s + offset
        score = (y @ last[0] + last[1]) * np.eye(3)[c]
        relevance = epsilon(y, *last, score)
        of_z = z * (centring.T @ (gain / s * relevance / stab(y)))
        assert_close(found.maps[k].ravel(), epsilon(v, *first, of_z), 1e-4)
    assert_complete_to_rounding(found, model)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_deeplift_takes_the_mean_jacobian_of_a_normalisation(norm, baseline):
    """The mean over 20,000 points of the line, of a Jacobian that is written out as a matrix."""
    model, x = normed(norm), points()
    gain, _, eps, centring, means = described(norm, model)
    first, last = (model.get_layer(name).get_weights() for name in "WU")
    found = mx.explain(model, x, TARGETS, method=DeepLIFT(baseline=baseline))
    alphas = (np.arange(20_000) + 0.5) / 20_000
    for k, c in enumerate(TARGETS):
        v = x[k].ravel().astype(float)
        z, base = v @ first[0] + first[1], np.full(12, baseline) @ first[0] + first[1]
        points_on_line = (base + alphas[:, None] * (z - base)) @ centring.T
        s = np.sqrt(points_on_line**2 @ means.T + eps)
        g = gain * last[0][:, c]
        # Jᵀ g = Pᵀ (g / s - c ⊙ M (g ⊙ c / s³)), with M the means of a group.
        inner = (g * points_on_line / s**3) @ means.T
        slopes = (g / s - points_on_line * inner) @ centring
        expected = (v - baseline) * (first[0] @ slopes.mean(axis=0))
        assert_close(found.maps[k].ravel(), expected, 1e-4)
    assert_complete_to_rounding(found, model)


def test_deeplift_is_exact_behind_a_baseline_that_a_normalisation_makes_of_nothing():
    """A black image gives `s = sqrt(ε)`, a million times less than the image does."""
    image = keras.Input(SHAPE)
    x = layers.Dense(6, use_bias=False)(layers.Flatten()(image))
    x = layers.LayerNormalization(epsilon=1e-12)(1000.0 * x)
    model = drawn(keras.Model(image, layers.Dense(3)(x)))
    found = mx.explain(model, points(), TARGETS, method="deeplift_rescale")
    assert np.isfinite(found.maps).all()
    assert_complete_to_rounding(found, model)
