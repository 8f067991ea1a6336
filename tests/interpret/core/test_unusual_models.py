"""Models that a shortcut, the folding of BatchNorm or a rule could silently misread."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from mnist_xai.interpret import (
    LRP,
    DeepLIFT,
    Flat,
    Gradient,
    IntegratedGradients,
    Network,
    UnsupportedLayerError,
    ZBox,
    explain,
    gradient_map,
    neuron_gradient,
)
from mnist_xai.interpret.core.steps import step_graph
from tests.rounding import assert_complete_to_rounding, assert_equal_to_rounding

TARGETS = np.array([1, 0, 2])


@pytest.fixture
def small():
    return np.random.default_rng(3).random((3, 8, 8, 1), np.float32)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


def head(x):
    return layers.Dense(5)(layers.Flatten()(x))


def model_of(between):
    image = keras.Input((8, 8, 1))
    return keras.Model(image, head(between(layers.Conv2D(4, 3, padding="same")(image))))


class Residual(layers.Layer):
    """A layer whose attribute `activation` is not applied last."""

    def __init__(self, **more):
        super().__init__(**more)
        self.conv = layers.Conv2D(4, 3, padding="same")
        self.activation = keras.activations.relu

    def build(self, shape):
        self.conv.build(shape)

    def call(self, x):
        return self.activation(self.conv(x)) - 0.5 + x


def test_an_activation_inside_a_layer_is_not_deferred_until_after_the_pooling(small):
    model = model_of(lambda x: layers.MaxPooling2D()(Residual()(x)))
    with tf.GradientTape() as tape:
        x = tf.constant(small)
        tape.watch(x)
        scores = tf.gather(model(x), TARGETS, batch_dims=1)
    expected = tape.gradient(scores, x)
    assert_equal_to_rounding(Gradient()(Network(model), small, TARGETS), expected, model)


@pytest.mark.parametrize("layer", [layers.LSTM, layers.SimpleRNN])
def test_the_activation_of_a_recurrent_layer_is_applied_once(small, layer):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, layers.Dense(5)(layer(6)(layers.Reshape((8, 8))(image))))
    graph = step_graph(Network(model), tf.constant(small))
    assert_equal_to_rounding(graph.logits, model(small), model)


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x * x,
        lambda x: layers.Multiply()([x, x]),
        lambda x: ops.maximum(x, 0.3),
        lambda x: ops.maximum(ops.relu(x), 0.3),
        lambda x: ops.relu(x / 2),
        layers.Conv2D(4, 3, activation=layers.LeakyReLU()),
    ],
)
@pytest.mark.parametrize("method", [DeepLIFT(), DeepLIFT("reveal_cancel")])
def test_deeplift_is_complete(small, between, method):
    model = model_of(between)
    assert_complete_to_rounding(explain(model, small, TARGETS, method=method), model)


@pytest.mark.parametrize(
    "between",
    [
        lambda x: ops.maximum(x, 0.3),
        lambda x: ops.relu(x / 2),
        layers.Conv2D(4, 3, activation=layers.LeakyReLU()),
    ],
)
def test_relevance_sums_to_the_score_with_what_was_absorbed(small, between):
    model = model_of(between)
    assert_complete_to_rounding(explain(model, small, TARGETS, method=LRP()), model)


@pytest.mark.parametrize("between", [lambda x: x * x, lambda x: layers.Multiply()([x, x])])
def test_relevance_passes_through_a_square_unchanged(small, between):
    """Both factors of a square are the same tensor: their halves are the whole."""
    squared, activated = model_of(between), model_of(ops.square)
    activated.set_weights(squared.get_weights())
    found, expected = (explain(m, small, TARGETS, method=LRP()) for m in (squared, activated))
    assert_complete_to_rounding(found, squared)
    np.testing.assert_allclose(
        found.maps, expected.maps, rtol=0, atol=2e-3 * np.abs(expected.maps).max()
    )


def test_maps_are_finite_for_a_pixel_that_never_varied(small):
    small[:, 0] = 0.25
    normalise = layers.Normalization(axis=(1, 2, 3))
    normalise.adapt(small)
    model = keras.Sequential([keras.Input((8, 8, 1)), normalise, layers.Flatten(), layers.Dense(5)])
    assert np.isfinite(explain(model, small, TARGETS, method=LRP()).maps).all()
    # From the black baseline the pixel's scaled value goes up by millions.
    assert_complete_to_rounding(explain(model, small, TARGETS, method=DeepLIFT()), model)


def test_a_normalisation_that_only_another_output_reads_is_not_folded(small):
    image = keras.Input((8, 8, 1))
    z = layers.Dense(5, name="z")(layers.Flatten()(image))
    model = keras.Model(image, [z, layers.BatchNormalization(name="other")(z)])
    for method in (LRP(), DeepLIFT("reveal_cancel")):
        network = Network(model, output="z")
        assert_complete_to_rounding(explain(network, small, TARGETS, method=method), network)


def test_the_first_rule_applies_behind_arithmetic_on_the_pixels(small):
    image = keras.Input((8, 8, 1))
    scaled = layers.Rescaling(2.0, -1.0)
    convolution, dense = layers.Conv2D(4, 3, activation="relu"), layers.Dense(5)

    def on(x):
        return keras.Model(image, dense(layers.Flatten()(convolution(x))))

    by_arithmetic, by_layer = on(image * 2 - 1), on(scaled(image))
    maps = [
        explain(m, small, TARGETS, method=LRP(first=Flat())).maps for m in (by_arithmetic, by_layer)
    ]
    np.testing.assert_allclose(*maps, rtol=1e-3, atol=1e-5)


def test_the_first_rule_is_refused_where_no_layer_reads_the_pixels(small):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(5)]
    )
    with pytest.raises(UnsupportedLayerError, match="no layer with weights"):
        explain(model, small, TARGETS, method=LRP(first=Flat()))


def test_the_box_rule_accepts_a_normalisation_behind_the_first_layer(small):
    model = model_of(lambda x: layers.BatchNormalization()(layers.ReLU()(x)))
    assert_complete_to_rounding(explain(model, small, TARGETS, method=LRP(first=ZBox())), model)


def test_the_users_next_layers_keep_their_names(small):
    model = model_of(layers.Conv2D(4, 3, activation="relu"))
    before = layers.Activation("relu").name
    explain(model, small, TARGETS, method=LRP())
    number = int(before.partition("_")[2] or 0) + 1
    assert layers.Activation("relu").name == f"activation_{number}"


def test_a_functional_model_with_its_own_call_is_opened(small):
    class Scaled(keras.Model):
        def call(self, x, training=None):
            return super().call(2 * x, training=training)

    image = keras.Input((8, 8, 1))
    network = Network(Scaled(image, head(image)))
    assert len(network.layer_names) == 4
    assert network.layer_names[0] == "multiply"
    assert_equal_to_rounding(network.logits(small), network.model(small), network)


def test_the_outputs_of_a_split_are_steps_of_their_own(small):
    def halves(x):
        a, b = ops.split(x, 2, axis=-1)
        return ops.concatenate([b, 2 * a], axis=-1)

    network = Network(model_of(halves))
    assert_equal_to_rounding(network.logits(small), network.model(small), network)
    for method in (LRP(), DeepLIFT(), DeepLIFT("reveal_cancel")):
        assert_complete_to_rounding(explain(network, small, TARGETS, method=method), network)


def test_layers_with_several_outputs_and_no_rule_have_gradients_but_no_relevance(small):
    def moments(x):
        mean, variance = ops.moments(x, axes=[1, 2])
        return ops.concatenate([mean, variance], axis=-1)

    network = Network(model_of(moments))
    assert explain(network, small, TARGETS, method=Gradient()).maps.any()
    with pytest.raises(UnsupportedLayerError, match="moments.*no rule is known"):
        explain(network, small, TARGETS, method=LRP())


def any_size(sides):
    return keras.Sequential(
        [
            keras.Input((*sides, 1)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.MaxPooling2D(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


@pytest.mark.parametrize("method", [IntegratedGradients(4), LRP(), LRP(first=Flat()), DeepLIFT()])
def test_a_model_of_any_size_is_explained_as_one_of_this_size(small, method):
    free, fixed = any_size((None, None)), any_size((8, 8))
    fixed.set_weights(free.get_weights())
    maps = [explain(model, small, TARGETS, method=method).maps for model in (free, fixed)]
    assert_equal_to_rounding(*maps, fixed)


def test_units_of_a_model_of_any_size_are_refused(small):
    with pytest.raises(ValueError, match="images of one size"):
        neuron_gradient(any_size((None, None)), small, "conv", (5, 5, 1))


@pytest.mark.parametrize("word", ["logits", "prob", "Logit"])
def test_a_misspelt_score_is_refused(small, word):
    network = Network(model_of(layers.ReLU()))
    with pytest.raises(ValueError, match="score: expected logit, probability or output"):
        gradient_map(network, small, TARGETS, score=word)
    with pytest.raises(ValueError, match="score: expected logit, probability or output"):
        network.scores(small, TARGETS, score=word)
    for method in (DeepLIFT(), LRP(), IntegratedGradients(2)):
        with pytest.raises(ValueError, match="score: expected logit, probability or output"):
            method(network, small, TARGETS, score=word)


def test_deeplift_refuses_a_class_out_of_range(small):
    with pytest.raises(ValueError, match="targets: expected classes"):
        DeepLIFT()(Network(model_of(layers.ReLU())), small, np.array([0, 1, 5]))


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_an_unknown_layer_that_may_contain_an_activation_is_refused(small, method):
    inner = layers.TimeDistributed(layers.Dense(4, activation="relu"), name="hidden")
    model = model_of(lambda x: layers.ReLU()(inner(layers.Reshape((64, 4))(x))))
    with pytest.raises(UnsupportedLayerError, match="hidden: .* it may contain an activation"):
        explain(model, small, TARGETS, method=method)


@pytest.mark.parametrize("pad", [layers.ZeroPadding2D(2), lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])])  # fmt: skip  # noqa: E501
def test_relevance_absorbed_by_padding_is_reported(small, pad):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, head(layers.Conv2D(4, 3)(pad(image))))
    found = explain(model, small, TARGETS, method=LRP(first=Flat()))
    assert_complete_to_rounding(found, model)
    assert np.abs(found.absorbed["padding"]).min() > 0


def test_a_relu_called_as_a_function_is_treated_as_a_layer(small):
    called = model_of(lambda x: layers.MaxPooling2D()(keras.activations.relu(x)))
    as_layer = model_of(lambda x: layers.MaxPooling2D()(layers.ReLU()(x)))
    as_layer.set_weights(called.get_weights())
    for method in ("lrp_epsilon", "deeplift_rescale", "guided_backprop", "gradient"):
        maps = [explain(m, small, TARGETS, method=method).maps for m in (called, as_layer)]
        assert_equal_to_rounding(*maps, called)
