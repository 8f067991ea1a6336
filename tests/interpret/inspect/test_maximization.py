import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import Network, UnsupportedLayerError, activation_maximization
from tests.conftest import softmax_layer


@pytest.fixture(scope="module")
def trained():
    return Network(mx.load_model("saved_models/cnn.keras"))


def test_the_images_of_the_classes_are_taken_for_the_classes(trained):
    made = activation_maximization(trained, targets=range(10), steps=100)
    assert made.shape == (10, 28, 28, 1)
    assert made.dtype == np.float32
    assert 0 <= made.min() < made.max() <= 1
    np.testing.assert_array_equal(trained.logits(made).argmax(axis=1), range(10))
    noise = np.random.default_rng(0).random((64, 28, 28, 1), np.float32)
    assert (trained.logits(made).diagonal() > trained.logits(noise).max(axis=0)).all()
    # Most of an image stays black, as in a digit.
    assert (np.median(made, axis=(1, 2, 3)) < 0.1).all()


@pytest.mark.parametrize("layer", ["conv1", "pool1", "conv2"])
def test_the_image_of_a_channel_excites_it_more_than_noise_does(trained, layer):
    made = activation_maximization(trained, layer=layer, channel=[2, 3], steps=60)
    noise = np.random.default_rng(0).random((64, 28, 28, 1), np.float32)
    a, b = (trained.activations(x, [layer])[layer].mean(axis=(1, 2)) for x in (made, noise))
    assert a[0, 2] > b[:, 2].max()
    assert a[1, 3] > b[:, 3].max()


def test_the_image_of_a_neuron_is_black_where_the_neuron_sees_nothing(trained):
    made = activation_maximization(trained, layer="conv2", neuron=(4, 3, 4), steps=100, jitter=0)[0]
    seen = mx.interpret.receptive_field(trained, "conv2", (4, 3, 4)).mask
    assert made[seen].max() > 0.5
    np.testing.assert_array_equal(made[~seen], 0)
    a, b = (
        trained.activations(x, ["conv2"])["conv2"][:, 4, 3, 4]
        for x in (made[None], np.random.default_rng(0).random((64, 28, 28, 1), np.float32))
    )
    assert a[0] > b.max()


def test_of_a_linear_network_the_image_is_white_where_the_weights_are_positive():
    model = softmax_layer()
    w = model.layers[1].get_weights()[0].T.reshape(10, 28, 28, 1)
    made = activation_maximization(
        model, targets=[3, 8], steps=60, total_variation=0, brightness=0, jitter=0
    )
    far = np.abs(w[[3, 8]]) > 1e-3
    np.testing.assert_array_equal(made[far], (w[[3, 8]] > 0)[far])


def test_of_a_linear_network_only_what_is_worth_its_price_is_white():
    """`argmax_x w·x / s - λ_b Σ x` on [0, 1] is `w / s > λ_b`, with `s = Σ w² / Σ |w|`."""
    model = softmax_layer()
    w = model.layers[1].get_weights()[0][:, 5].reshape(28, 28, 1)
    made = activation_maximization(
        model, targets=5, steps=200, total_variation=0, brightness=0.7, jitter=0
    )[0]
    worth = w / (np.sum(w**2) / np.abs(w).sum()) - 0.7
    far = np.abs(worth) > 0.01
    np.testing.assert_array_equal(made[far], (worth > 0)[far])


def test_smoother_images_are_asked_for_by_total_variation(trained):
    rough, smooth = (
        activation_maximization(trained, targets=2, steps=60, total_variation=price)
        for price in (0.0, 0.5)
    )
    assert np.abs(np.diff(smooth, axis=1)).sum() < 0.5 * np.abs(np.diff(rough, axis=1)).sum()


def test_a_closed_relu_is_no_end():
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(1, 3, activation="relu", name="conv"),
         layers.Flatten(), layers.Dense(3)]
    )  # fmt: skip
    kernel = np.random.default_rng(0).normal(size=(3, 3, 1, 1))
    model.get_layer("conv").set_weights([kernel, np.array([-3.0])])
    best = np.maximum(kernel, 0).sum() - 3
    assert best > 0
    prices = {"total_variation": 0, "brightness": 0}
    made = activation_maximization(
        model, layer="conv", neuron=(1, 1, 0), steps=150, jitter=0, noise=0.01, **prices
    )
    assert Network(model).activations(made, ["conv"])["conv"][0, 1, 1, 0] == pytest.approx(best)


def test_every_kind_of_model_is_accepted_and_left_alone(model):
    weights = [w.copy() for w in model.get_weights()]
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    network = Network(model)  # Not the shared one: that it is compiled leaves the model alone too.
    made = activation_maximization(network, targets=[1, 2], steps=4)
    assert made.shape == (2, 28, 28, 1)
    assert np.isfinite(made).all()
    # Without prices and movements, the score rises.
    kwargs = {"total_variation": 0, "brightness": 0, "jitter": 0}
    first, last = (activation_maximization(network, targets=1, steps=n, **kwargs) for n in (1, 8))
    assert network.logits(last)[0, 1] > network.logits(first)[0, 1]
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert nodes == [len(layer._inbound_nodes) for layer in model.layers]


def test_a_reloaded_model_and_one_output_of_several_are_accepted(tmp_path, cnn):
    expected = activation_maximization(cnn, targets=4, steps=5)
    mx.save_model(cnn, tmp_path / "model.keras")
    reloaded = mx.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(activation_maximization(reloaded, targets=4, steps=5), expected)
    x = cnn.get_layer("pool2").output
    several = keras.Model(cnn.input, [cnn.output, layers.Flatten(name="aside")(x)])
    network = Network(several, output=several.output_names[0])
    np.testing.assert_array_equal(activation_maximization(network, targets=4, steps=5), expected)


def test_images_are_the_same_each_time_whatever_the_global_generators_do(trained):
    np.random.seed(1)
    tf.random.set_seed(1)
    before, ops = np.random.get_state()[1].copy(), tf.random.uniform([3])
    first = activation_maximization(trained, targets=[3, 3, 5], steps=20)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    tf.random.set_seed(1)
    np.testing.assert_array_equal(tf.random.uniform([3]), ops)
    np.random.seed(2)
    tf.random.set_seed(2)
    second = activation_maximization(trained, targets=[3, 3, 5], steps=20)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first[0] - first[1]).max() > 0.1  # Two images of one class.
    other = activation_maximization(trained, targets=[3], steps=20, seed=1)
    assert np.abs(first[0] - other[0]).max() > 0.1


def test_an_image_does_not_depend_on_what_else_is_asked_for(trained):
    """Rounding differs with the batch, and steps of Adam make more of it."""
    whole = activation_maximization(trained, targets=[3, 5, 3], steps=10)
    alone = activation_maximization(trained, targets=5, steps=10)
    network = Network(trained.model, batch_size=2)
    split = activation_maximization(network, targets=[3, 5, 3], steps=10)
    np.testing.assert_allclose(alone[0], whole[1], atol=1e-3)
    np.testing.assert_allclose(split, whole, atol=1e-3)
    activation_maximization(network, targets=[1], steps=3, jitter=1)
    assert set(network.passes.traces().values()) == {1}


def test_the_names_of_the_users_next_layers_stay_as_they_would_be(trained):
    keras.backend.clear_session()
    activation_maximization(trained, targets=1, steps=2)
    image = keras.Input((4,))
    model = keras.Model(image, layers.Dense(2)(image))
    assert [model.name, *(layer.name for layer in model.layers)] == [
        "functional", "input_layer", "dense",
    ]  # fmt: skip
    assert keras.optimizers.Adam().name == "adam"


def test_the_users_global_dtype_policy_makes_no_difference(network):
    expected = activation_maximization(network, targets=1, steps=5)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        found = activation_maximization(network, targets=1, steps=5)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(found, expected)


def test_progress_is_told_after_every_step(network):
    told = []
    activation_maximization(
        Network(network.model, batch_size=1),
        targets=[1, 2],
        steps=3,
        progress=lambda *at: told.append(at),
    )
    assert told == [(i, 6) for i in range(1, 7)]


def test_a_missing_gradient_is_an_error():
    image = keras.Input((4, 4, 1))
    steps = keras.ops.cast(keras.ops.cast(layers.Flatten()(image) > 0.5, "int32"), "float32")
    model = keras.Model(image, layers.Dense(10)(steps), name="stairs")
    with pytest.raises(UnsupportedLayerError, match="stairs: no gradient reaches the image"):
        activation_maximization(model, targets=1, steps=2)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "expected one of targets, channel, neuron; got none"),
        ({"targets": 1, "channel": 1}, r"expected one of .*; got \['targets', 'channel'\]"),
        ({"targets": 1, "layer": "conv1"}, "layer: expected with channel or neuron, and not"),
        ({"channel": 1}, "layer: expected with channel or neuron"),
        ({"targets": 10}, "targets: expected classes from 0 to 9; got 10 to 10"),
        ({"targets": []}, "targets: expected 1 integers"),
        ({"layer": "conv9", "channel": 1}, "layer: expected one of conv1"),
        ({"layer": "conv1", "channel": 32}, "channel: expected from 0 to 31; got 32"),
        ({"layer": "conv1", "neuron": (0, 0)}, r"index: expected a place .*got \(0, 0\)"),
        ({"layer": "conv1", "neuron": []}, r"index: expected a place .*got \(\)"),
        ({"targets": 1, "steps": 0}, "steps: expected at least 1; got 0"),
        ({"targets": 1, "brightness": -1}, "brightness: expected at least 0; got -1"),
        ({"targets": 1, "learning_rate": np.nan}, "learning_rate: expected at least 0; got nan"),
        ({"targets": 1, "steps": 2.5}, "steps: expected a whole number; got 2.5"),
        ({"targets": 1, "jitter": np.nan}, "jitter: expected a whole number; got nan"),
        ({"targets": 1, "seed": -1}, "seed: expected at least 0; got -1"),
        ({"targets": 1, "noise": 2}, r"noise: expected a share in \(0, 1\]; got 2"),
    ],
)
def test_bad_input_is_refused(network, kwargs, message):
    with pytest.raises(ValueError, match=message):
        activation_maximization(network, **kwargs)


def test_a_channel_is_an_integer(network):
    with pytest.raises(TypeError, match="channel: expected an integer or several; got 0.5"):
        activation_maximization(network, layer="conv1", channel=0.5)


def test_images_of_any_size_cannot_be_made():
    model = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(2, 3),
                              layers.GlobalAveragePooling2D(), layers.Dense(3)])  # fmt: skip
    with pytest.raises(ValueError, match="model: expected images of one size"):
        activation_maximization(model, targets=1)
