"""The same function has the same maps: a layer that returns its input changes no explanation."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from mnist_xai.interpret import (
    LRP,
    DeepLIFT,
    Epsilon,
    Flat,
    GradCAM,
    IntegratedGradients,
    Network,
    ZPlus,
    explain,
    project_feature_map,
)
from mnist_xai.interpret.core.steps import fold_normalisation, step_graph
from mnist_xai.quality.axioms.rewriting import reordered
from tests.rounding import assert_equal_to_rounding


class ReturnsItsInput(layers.Layer):
    def call(self, x):
        return x


# Kinds of layers that are the identity in inference mode, for inputs of any rank.
ANYWHERE = {
    "dropout": lambda: layers.Dropout(0.5),
    "alpha_dropout": lambda: layers.AlphaDropout(0.5),
    "gaussian_dropout": lambda: layers.GaussianDropout(0.5),
    "gaussian_noise": lambda: layers.GaussianNoise(0.5),
    "identity": lambda: layers.Identity(),
    "activity_regularization": lambda: layers.ActivityRegularization(0.5),
    "linear_activation": lambda: layers.Activation("linear"),
    "no_activation": lambda: layers.Activation(None),
    "copy": lambda: ops.copy,
    "cast": lambda: lambda x: ops.cast(x, "float32"),
    "own_layer": ReturnsItsInput,
}
# Those for images and feature maps only.
SPATIAL = {
    "spatial_dropout": lambda: layers.SpatialDropout2D(0.5),
    "random_brightness": lambda: layers.RandomBrightness(0.5),
    "random_contrast": lambda: layers.RandomContrast(0.5),
    "random_flip": lambda: layers.RandomFlip(),
    "random_rotation": lambda: layers.RandomRotation(0.5),
    "random_translation": lambda: layers.RandomTranslation(0.5, 0.5),
    "random_zoom": lambda: layers.RandomZoom(0.5),
}
KINDS = ANYWHERE | SPATIAL

METHODS = {
    "gradient": "gradient",
    "integrated_gradients": IntegratedGradients(steps=3),
    "gradcam": GradCAM("conv"),
    "guided_backprop": "guided_backprop",
    "deeplift_rescale": DeepLIFT(),
    "deeplift_reveal_cancel": DeepLIFT("reveal_cancel"),
    "lrp": LRP(ZPlus(), Epsilon(), Flat()),
}
TARGETS = np.array([1, 0, 2])


def build(kinds=(), place=None):
    """A small network with identities of these kinds at one place, or at every place."""
    image = keras.Input((8, 8, 1))
    x = image
    inner = [
        layers.Conv2D(4, 3, padding="same", name="conv"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(2),
        layers.Conv2D(3, 2),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.Flatten(),
        layers.Dense(6),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dense(3),
        layers.Softmax(),
    ]
    assert len(inner) == LAST_PLACE
    for i, layer in enumerate([*inner, lambda x: x]):
        for kind in kinds if place in (None, i) else ():
            x = identity(kind, x)
        x = layer(x)
    return drawn(keras.Model(image, x))


LAST_PLACE = 13


def drawn(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        low, high = (0.5, 1.5) if "variance" in weight.path else (-1, 1)
        weight.assign(rng.uniform(low, high, weight.shape))
    return model


def identity(kind, x):
    return x if kind in SPATIAL and len(x.shape) != 4 else KINDS[kind]()(x)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(1).random((3, 8, 8, 1), np.float32)


@pytest.fixture(scope="module")
def plain():
    return Network(build())


@pytest.fixture(scope="module")
def explanations(plain, points):
    return {name: explain(plain, points, TARGETS, method=m) for name, m in METHODS.items()}


@pytest.fixture(scope="module")
def full_of_identities():
    """Every kind of identity at every place."""
    return Network(build(KINDS))


@pytest.mark.parametrize("name", METHODS)
def test_identities_change_no_map(name, full_of_identities, plain, points, explanations):
    found = explain(full_of_identities, points, TARGETS, method=METHODS[name])
    assert_equal_to_rounding(found.maps, explanations[name].maps, plain)


def test_identities_change_no_certificate_of_relevance(
    full_of_identities, plain, points, explanations
):
    expected = explanations["lrp"]
    found = explain(full_of_identities, points, TARGETS, method=METHODS["lrp"])
    scale = np.abs(expected.differences) + sum(map(np.abs, expected.absorbed.values()))
    assert list(found.absorbed) == list(expected.absorbed)
    for name, amounts in found.absorbed.items():
        assert np.abs((amounts - expected.absorbed[name]) / scale).max() < plain.runner.rounding
    for explanation in (found, expected):
        assert np.abs(explanation.residuals / scale).max() < plain.runner.rounding


@pytest.mark.parametrize(
    ("kind", "place"),
    [*((kind, None) for kind in KINDS), *(("dropout", place) for place in range(LAST_PLACE + 1))],
)
def test_an_identity_leaves_steps_and_shortcuts_as_they_are(kind, place, plain, points):
    network = Network(build([kind], place))

    def kinds(network):
        steps = step_graph(network, tf.constant(points)).to_logits
        return [step.kind for step in fold_normalisation(steps)]

    assert kinds(network) == kinds(plain)
    found, expected = network.runner, plain.runner
    assert len(found.shortcuts.deferred) == len(expected.shortcuts.deferred)
    assert found.stem.name == expected.stem.name
    assert (found.stem.pool is None) == (expected.stem.pool is None)


def test_the_tested_network_has_all_that_an_identity_could_hide(plain, points):
    steps = step_graph(plain, tf.constant(points)).to_logits
    assert len(steps) - len(fold_normalisation(steps)) == 3
    assert plain.runner.stem.name == "conv"


def test_a_stem_and_a_deferred_relu_are_found_through_identities(points):
    def model(kinds):
        def identities(x):
            return functools.reduce(lambda x, kind: identity(kind, x), kinds, x)

        image = keras.Input((8, 8, 1))
        x = layers.Conv2D(4, 3, name="conv")(identities(image))
        x = layers.MaxPooling2D(2)(identities(layers.ReLU()(identities(x))))
        return drawn(keras.Model(image, layers.Dense(3)(layers.Flatten()(x))))

    network, plain = Network(model(KINDS)), Network(model(()))
    assert network.runner.stem.name == "conv"
    assert network.runner.stem.pool is not None
    assert len(network.runner.shortcuts.deferred) == 1
    for method in ("gradient", IntegratedGradients(steps=3)):
        found, expected = (
            explain(n, points, TARGETS, method=method).maps for n in (network, plain)
        )
        assert_equal_to_rounding(found, expected, plain)


def test_the_output_of_an_identity_is_projected_as_its_input(points):
    network = Network(build(["dropout"]))
    names = network.layer_names
    dropout = names[names.index("conv") + 1]
    found, expected = (
        project_feature_map(network, points, layer, 2) for layer in (dropout, "conv")
    )
    np.testing.assert_array_equal(found, expected)


def test_logits_are_found_before_a_cast_after_the_softmax(points):
    image = keras.Input((8, 8, 1))
    z = layers.Dense(3, dtype="mixed_bfloat16")(layers.Flatten()(image))
    p = layers.Activation("softmax", dtype="mixed_bfloat16")(z)
    model = keras.Model(image, layers.Activation("linear", dtype="float32")(p))
    logits = keras.Model(image, z)(points)
    np.testing.assert_array_equal(Network(model).logits(points), tf.cast(logits, tf.float32))


def test_a_cast_in_mixed_precision_is_a_rearrangement(points):
    image = keras.Input((8, 8, 1))
    x = layers.RandomHue(0.5, dtype="bfloat16")(layers.Conv2D(3, 3)(image))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    steps = step_graph(Network(model), tf.constant(points)).steps
    assert [step.kind for step in steps] == ["affine", "rearrange", "rearrange", "affine"]


def test_a_layer_that_returns_its_input_at_one_size_only_is_called_at_every_size():
    class DoublesOtherSizes(layers.Layer):
        def call(self, x):
            return x if x.shape[1] == 32 else 2 * x

    image = keras.Input((None, None, 1))
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same")(image))
    x = layers.MaxPooling2D(2)(DoublesOtherSizes()(x))
    network = Network(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    large = np.random.default_rng(1).random((2, 40, 40, 1), np.float32)
    points = tf.constant(large)
    with tf.GradientTape() as tape:
        tape.watch(points)
        scores = network.model(points, training=False)[:, 1]
    found = network.gradient(large, 1)[0]
    assert_equal_to_rounding(found, np.asarray(tape.gradient(scores, points)), network)


def test_hidden_units_are_reordered_through_identities(points):
    image = keras.Input((8, 8, 1))
    x = identity("dropout", layers.Conv2D(4, 3, activation="relu")(image))
    network = Network(keras.Model(image, layers.Dense(3)(layers.Flatten()(x))))
    with reordered(network, seed=0) as twin:
        assert np.abs(twin.model.get_weights()[0] - network.model.get_weights()[0]).max() > 0
        assert_equal_to_rounding(twin.logits(points), network.logits(points), network)
