"""Subclassed models and custom layers are opened, and stay as they are."""

import random
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from mnist_xai.interpret import UnsupportedLayerError, explain
from mnist_xai.interpret.core.graph import run_graph, sublayers
from mnist_xai.interpret.core.opening import Openings
from tests.interpret.core.own_models import (
    ClassToken,
    DataDependent,
    Nested,
    PatchEncoder,
    Patches,
    Raw,
    Residual,
    SubclassedCNN,
    tutorial_vit,
)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def images():
    return np.random.default_rng(1).random((7, 16, 16, 3), np.float32)


def built(model, images):
    model(images[:1])
    for weight in model.trainable_weights:  # Biases, too.
        weight.assign(weight + 0.1 * keras.random.normal(weight.shape, seed=1))
    return model


def opened(model, images, openings=None, opener="layers"):
    calls = {}
    opener = getattr(openings or Openings(), opener)
    return calls, run_graph(model, tf.constant(images), calls, opener=opener)


MODELS = [SubclassedCNN, Nested, tutorial_vit]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("opener", ["models", "layers"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_graph_gives_the_models_outputs(make, images, opener, count):
    model = built(make(), images)
    openings = Openings()
    _, output = opened(model, images[:count], openings, opener)
    expected = model(images[:count], training=False)
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert not openings._closed


@pytest.mark.parametrize("make", MODELS)
def test_one_graph_serves_every_number_of_images_and_the_current_weights(make, images):
    model, openings = built(make(), images), Openings()
    opened(model, images, openings)
    compiled = tf.function(
        lambda x: run_graph(model, x, {}, opener=openings.layers),
        input_signature=[tf.TensorSpec([None, 16, 16, 3])],
    )
    for count in (1, 3, 5, 7):
        for weight in model.trainable_weights:
            weight.assign(1.2 * weight)
        expected = model(images[:count], training=False)
        limit = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(compiled(images[:count]), expected, rtol=0, atol=limit)
    assert compiled.experimental_get_tracing_count() == 1


def test_layers_inside_are_named_after_the_layers_around_them(images):
    model = built(Nested(), images)
    calls, _ = opened(model, images, opener="models")
    assert list(calls) == [
        "stem", "branch/conv", "branch/add", "branch/conv:2", "branch/add:2", "block",
        "head/mean", "head/dense",
    ]  # fmt: skip
    calls, _ = opened(model, images)
    assert {"block/conv1", "block/conv2", "block/norm", "block/relu", "block"} < set(calls)


def test_a_layer_is_the_users_own(images):
    model = built(SubclassedCNN(), images)
    calls, _ = opened(model, images)
    assert calls["conv1"].layer is model.blocks[1]


@pytest.mark.parametrize("make", MODELS)
def test_nothing_of_the_model_changes(make, images, tmp_path):
    model = built(make(), images)

    def state():
        inside = sublayers(model)
        model.save_weights(tmp_path / "model.weights.h5")
        attributes = [
            {k: id(v) for k, v in vars(layer).items() if k != "_call_context_args"}
            for layer in inside
        ]
        nodes = [(len(one._inbound_nodes), len(one._outbound_nodes)) for one in inside]
        weights = [w.numpy().tobytes() for w in model.weights]
        return attributes, nodes, weights, random.getstate(), keras.backend.get_uid("dense")

    before = state()
    openings = Openings()
    opened(model, images, openings)
    random_state = random.getstate()
    *after, uid = state()
    assert after == [*before[:-1]]
    assert random_state == before[3]
    assert uid == before[-1] + 1, "layers were counted, so the user's next ones get other names"


def test_names_and_nodes_are_restored_after_an_error(images):
    image = keras.Input((16, 16, 3))
    model = built(keras.Model(image, Raw(name="raw")(layers.Conv2D(4, 3)(image))), images)
    raw = model.get_layer("raw")
    nodes, uid = len(raw._inbound_nodes), keras.backend.get_uid("raw")
    opened(model, images)
    assert len(raw._inbound_nodes) == nodes
    assert keras.backend.get_uid("raw") == uid + 1


def with_layer(layer):
    image = keras.Input((16, 16, 3))
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(layer(image))))


class ChangesItself(layers.Layer):
    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.count.assign_add(1.0)
        return x + self.count


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Raw(name="own"), "uses TensorFlow's operations directly"),
        (layers.Lambda(lambda x: tf.nn.relu(x), name="own"), "TensorFlow's operations directly"),
        (DataDependent(name="own"), "Error"),
        (ChangesItself(name="own"), "changes its own weights"),
    ],
)
def test_a_layer_that_cannot_be_opened_is_refused_by_name_with_the_reason(images, layer, reason):
    model, openings = built(with_layer(layer), images), Openings()
    calls, _ = opened(model, images, openings)
    assert re.search(rf"{reason}.*keras\.ops", openings.way_out(calls["own"].layer))


@pytest.mark.parametrize("layer", [Raw, lambda name: layers.Lambda(tf.nn.relu, name=name)])
def test_methods_that_go_back_layer_by_layer_refuse_what_cannot_be_opened(images, layer):
    model = built(with_layer(layer(name="own")), images)
    for method in ("lrp_epsilon", "deeplift_rescale", "guided_backprop"):
        with pytest.raises(UnsupportedLayerError, match=r"own: .*TensorFlow.*keras\.ops"):
            explain(model, images, method=method, pixels="unit")


class OwnActivation(layers.Activation):
    def call(self, x):
        return tf.square(x)


def test_a_known_layer_with_a_call_of_its_own_is_not_taken_for_what_it_inherits(images):
    model = built(with_layer(OwnActivation("relu", name="own")), images)
    with pytest.raises(UnsupportedLayerError, match="own: .*TensorFlow"):
        explain(model, images, method="lrp_epsilon", pixels="unit")


def test_a_lambda_of_keras_operations_is_opened(images):
    model = built(with_layer(layers.Lambda(lambda x: ops.relu(2 * x - 1), name="own")), images)
    calls, output = opened(model, images)
    assert {"own/multiply", "own/subtract", "own/relu"} < set(calls)
    np.testing.assert_allclose(output, model(images), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_an_opened_layer_computes_in_its_own_precision(images, dtype):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        model = built(with_layer(Residual(3, name="block")), images)
    finally:
        keras.config.set_dtype_policy(before)
    openings = Openings()
    calls, output = opened(model, images, openings)
    assert "block/conv1" in calls
    np.testing.assert_array_equal(output, model(images))


def test_layers_of_keras_and_their_subclasses_without_own_code_stay_whole(images):
    class Mine(layers.Conv2D):
        pass

    calls, _ = opened(built(with_layer(Mine(4, 3, name="mine")), images), images)
    assert [name for name in calls if name.startswith("mine")] == ["mine"]


def test_a_layer_on_tensors_of_several_kinds_and_structures_is_opened(images):
    class Gate(layers.Layer):
        def call(self, pair, factor, training, mask=None, *, shift=0.0):
            return {"sum": (pair["a"] * factor + pair["b"] + shift) * (2.0 if training else 1.0)}

    image = keras.Input((16, 16, 3))
    y = Gate(name="gate")({"a": image, "b": ops.relu(image)}, factor=3, training=True, shift=0.5)[
        "sum"
    ]
    model = built(keras.Model(image, layers.Dense(5)(layers.Flatten()(y))), images)
    calls, _ = opened(model, images)
    np.testing.assert_allclose(
        calls["gate/add_1"].output, 3 * images + np.maximum(images, 0) + 0.5, rtol=1e-6
    )


def test_a_weight_may_stand_before_the_image(images):
    class Scale(layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=shape[1:], initializer="uniform")

        def call(self, x):
            return (self.w * x + (2 + self.w) * x) / 2 - (self.w - x) / (self.w + 1 + x)

    before = dict(vars(keras.Variable))
    model = built(with_layer(Scale(name="scale")), images)
    calls, output = opened(model, images)
    assert "scale/multiply" in calls
    expected = model(images)
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert dict(vars(keras.Variable)) == before


def test_a_layer_that_adds_a_loss_is_opened_and_still_adds_it(images):
    class Penalised(layers.Layer):
        def call(self, x):
            self.add_loss(ops.mean(x))
            return ops.relu(x)

    layer = Penalised(name="penalised")
    model = built(with_layer(layer), images)
    calls, _ = opened(model, images)
    assert "penalised/relu" in calls
    model(images)
    np.testing.assert_allclose(model.losses, [images.mean()], rtol=1e-5)


@pytest.mark.parametrize("layer", [Patches(4), ClassToken()])
def test_layers_that_reshape_with_the_batch_size_are_opened(images, layer):
    x = images if isinstance(layer, Patches) else images.reshape(7, -1, 12)
    expected = layer(x)
    graph = Openings().layers(layer, (tf.constant(x),), {})
    for count in (1, 2, 6):
        found = graph.run((tf.constant(x[:count]),), {}, lambda op, *a, **k: op(*a, **k))
        np.testing.assert_array_equal(found, expected[:count])


def test_a_position_embedding_follows_the_weights(images):
    layer, x = PatchEncoder(16, 4), tf.constant(images[:, :, 0].reshape(7, 16, 3))
    layer(x)
    graph = Openings().layers(layer, (x,), {})
    layer.position_embedding.set_weights([np.random.default_rng(0).random((16, 4))])
    np.testing.assert_array_equal(graph.run((x,), {}, lambda op, *a, **k: op(*a, **k)), layer(x))
