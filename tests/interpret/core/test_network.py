import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mnist_xai import Network, UnsupportedLayerError, explain, load_model, normalise
from tests.rounding import assert_equal_to_rounding


def test_softmax_of_logits_is_the_model(model, images):
    network = Network(model)
    expected = np.asarray(model(images, training=False))
    assert_equal_to_rounding(network.probabilities(images), expected, network)
    logits = network.logits(images)
    assert np.abs(logits.sum(axis=1) - 1).max() > 1e-3, "probabilities passed off as logits"


def test_softmax_of_logits_is_the_model_after_reloading(model, images, tmp_path):
    model.save(tmp_path / "model.keras")
    reloaded = load_model(tmp_path / "model.keras")
    expected = np.asarray(model(images, training=False))
    assert_equal_to_rounding(Network(reloaded).probabilities(images), expected, reloaded)


def test_logits_of_a_model_without_softmax_are_its_outputs(images):
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
    assert_equal_to_rounding(Network(model).logits(images), model(images), model)


def test_logits_keep_what_the_softmax_rounds_away(cnn, images):
    weights = cnn.get_layer("probabilities").get_weights()
    cnn.get_layer("probabilities").set_weights([1000 * weights[0], weights[1]])
    logits = Network(cnn).logits(images)
    assert np.asarray(cnn(images)).min() == 0  # Underflow: log-probabilities would be -inf.
    assert np.isfinite(logits).all()
    hidden = np.asarray(keras.Model(cnn.input, cnn.get_layer("dense").output)(images))
    assert_equal_to_rounding(logits, hidden @ (1000 * weights[0]) + weights[1], cnn)


def test_the_model_is_not_changed(model, images):
    before = model.get_weights()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    config = model.to_json()
    network = Network(model)
    network.gradient(images, [0] * len(images))
    network.activations(images, network.layer_names)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    assert model.to_json() == config


def test_weights_are_shared_not_copied(cnn, images):
    network = Network(cnn)
    before = network.logits(images)
    cnn.get_layer("probabilities").bias.assign_add(np.arange(10.0))
    assert_equal_to_rounding(network.logits(images), before + np.arange(10), network)


def test_results_do_not_depend_on_the_batch(cnn, images):
    whole = Network(cnn, batch_size=256).gradient(images, np.arange(5))
    split = Network(cnn, batch_size=2).gradient(images, np.arange(5))
    for a, b in zip(whole, split, strict=True):
        assert_equal_to_rounding(a, b, cnn)


def test_a_pass_is_traced_once(cnn, images):
    network = Network(cnn, batch_size=2)
    network.gradient(images, [1] * 5)
    network.gradient(images[:3], [2] * 3)
    network.logits(images[:1])
    network.logits(images)
    counts = list(network.passes.traces().values())
    assert counts == [1, 1]


def test_many_passes_of_one_builder_raise_no_retracing_warning(cnn, images, caplog):
    network = Network(cnn)
    logger = tf.get_logger()  # It does not propagate to where caplog listens.
    logger.addHandler(caplog.handler)
    try:
        for power in range(8):
            network.in_chunks(lambda _, power: lambda x: x**power, (power,), images)
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records


@pytest.mark.parametrize("again", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_a_deep_copy_has_its_own_model_passes_and_twin(images, again):
    image = keras.Input((28, 28, 1))
    x = layers.Flatten()(image)
    model = keras.Model(image, {name: layers.Dense(3, "softmax", name=name)(x) for name in "ab"})
    network = Network(model, batch_size=2, output="b")
    # Compile passes first, because a compiled pass cannot be copied.
    z, twin = network.logits(images), network.experiments.twin()
    made = again(network)
    np.testing.assert_array_equal(made.logits(images), z)
    assert made.batch_size == 2
    assert not {id(made.model), id(made.experiments.twin())} & {id(model), id(twin)}
    assert made.experiments is not network.experiments
    for weight in model.weights:
        weight.assign(weight + 1)
    np.testing.assert_array_equal(made.gradient(images, [0] * len(images))[1], z[:, 0])


def test_a_network_and_its_model_copied_together_stay_together(cnn):
    network, model = copy.deepcopy((Network(cnn), cnn))
    assert network.model is model


@pytest.mark.parametrize("batch_size", [0, 2.5, np.nan, True])
def test_a_batch_size_must_be_a_whole_number_from_one(cnn, batch_size):
    with pytest.raises(ValueError, match=r"batch_size: expected .*; got"):
        Network(cnn, batch_size=batch_size)


def test_several_outputs_need_a_name(images):
    image = keras.Input((28, 28, 1))
    x = layers.Flatten()(image)
    first = layers.Dense(3, activation="softmax", name="first")(x)
    second = layers.Dense(4, activation="softmax", name="second")(x)
    model = keras.Model(image, {"first": first, "second": second})
    with pytest.raises(ValueError, match="output: expected one of first, second, or an index"):
        Network(model)
    for output in ("second", 1):
        network = Network(model, output=output)
        assert network.classes == 4
        assert_equal_to_rounding(network.probabilities(images), model(images)["second"], network)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_softmax_that_cannot_be_undone_gives_log_probabilities_and_says_so(images, dtype):
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", dtype=dtype),
            layers.Reshape((10,), name="last_reshape", dtype=dtype),
        ]
    )
    network = Network(model)
    p = np.asarray(keras.ops.cast(model(images), "float32"))
    np.testing.assert_allclose(network.logits(images), np.log(p), rtol=1e-6)
    np.testing.assert_allclose(network.probabilities(images), p / p.sum(axis=1)[:, None], rtol=1e-5)
    assert "log-probabilities" in str(explain(network, images, method="gradient"))


@pytest.mark.parametrize("blocks", [keras.ops.floor, tf.stop_gradient])
def test_a_network_without_gradient_is_refused(images, blocks):
    class Blocking(layers.Layer):
        def call(self, x):
            return blocks(x)

    model = keras.Sequential(
        [keras.Input((28, 28, 1)), Blocking(), layers.Flatten(), layers.Dense(10)]
    )
    with pytest.raises(UnsupportedLayerError, match="no gradient reaches the image"):
        Network(model).gradient(images, [0] * 5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: (255 * x).astype(np.uint8), TypeError, r"uint8.*normalise"),
        (lambda x: (255 * x).astype(int), TypeError, "expected floats in"),
        (lambda x: x[0], ValueError, r"got one image \(28, 28, 1\): pass images\[None\]"),
        (lambda x: x[..., 0], ValueError, r"expected \(N, 28, 28, 1\); got \(5, 28, 28\)"),
        (lambda x: x[:, :14], ValueError, r"got \(5, 14, 28, 1\)"),
        (lambda x: np.repeat(x, 3, axis=-1), ValueError, r"got \(5, 28, 28, 3\)"),
        (lambda x: x[:0], ValueError, "at least one"),
        (lambda x: x * np.nan, ValueError, "NaN"),
    ],
)
def test_bad_images_are_refused(network, images, change, error, message):
    with pytest.raises(error, match=message):
        network.logits(change(images))


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.bool_])
def test_targets_may_be_one_integer_or_one_hot_rows(network, images, kind):
    classes = [3, 1, 4, 1, 5]
    found = network.inputs.check_targets(np.eye(10, dtype=kind)[classes], 5)
    assert found.tolist() == classes
    assert network.inputs.check_targets(np.int64(7), 5).tolist() == [7] * 5


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 1], r"expected 5 integers, one for each.*got int64 \(2,\)"),
        ([0.0] * 5, "expected 5 integers.*float64"),
        (0.0, "expected 5 integers.*float64"),
        (np.ones((5, 10)), "expected one-hot rows, a single 1 among zeros"),
        (np.full((5, 10), 0.1), "expected one-hot rows, a single 1 among zeros"),
        (np.eye(5, 9), r"one-hot rows \(5, 10\); got float64 \(5, 9\)"),
        ([0, 1, 2, 3, 10], "classes from 0 to 9; got 0 to 10"),
        ([0, 1, 2, 3, -1], "got -1 to 3"),
    ],
)
def test_bad_targets_are_refused(network, images, targets, message):
    with pytest.raises(ValueError, match=message):
        network.gradient(images, targets)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: "cnn.keras", TypeError, "expected a Keras 3 model or a callable.*; got str"),
        (lambda: keras.Sequential([layers.Dense(3)]), ValueError, "does not say which images"),
        (
            lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3)]),
            ValueError,
            r"takes \(4,\)",
        ),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(3, 3)]),
            ValueError,
            r"one row of scores for each image; .* gives \(None, 6, 6, 3\)",
        ),
    ],
)
def test_models_other_than_image_classifiers_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        Network(build())


def test_uint8_images_are_accepted_once_normalised(network, digits):
    assert network.logits(normalise(digits.test_images[:2])).shape == (2, 10)
