"""Every kind of model is explained as its outputs and gradients say."""

import contextlib
import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from mnist_xai.interpret import (
    LRP,
    DeepLIFT,
    Network,
    UnsupportedLayerError,
    explain,
    feature_inversion,
)
from tests.interpret.core.own_models import (
    Nested,
    Raw,
    Residual,
    SubclassedCNN,
    tutorial_vit,
)
from tests.rounding import assert_complete_to_rounding, assert_equal_to_rounding

TARGETS = np.array([0, 2, 4, 1, 3])
SHAPE = (16, 16, 3)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def images():
    return np.random.default_rng(1).random((5, *SHAPE), np.float32)


def with_biases(model):
    for weight in model.trainable_weights:
        weight.assign(weight + 0.1 * keras.random.normal(weight.shape, seed=1))
    return model


def called(model):
    model(np.zeros((1, *SHAPE), np.float32))
    return with_biases(model)


def functional(*inner):
    x = image = keras.Input(SHAPE)
    for layer in inner:
        x = layer(x)
    y = layers.Dense(5, name="out")(layers.Flatten(name="flat")(x))
    return with_biases(keras.Model(image, y))


class InTwoParts(keras.Model):
    """Its features are a custom layer, its head another one that ends in a softmax."""

    def __init__(self):
        super().__init__()
        self.block = Residual(3, name="block")
        self.head = Head(name="head")

    @tf.function
    def call(self, x, training=True):
        return self.head(self.block(x, training=training))


class Head(layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 5), name="w")

    def call(self, x):
        return ops.softmax(ops.matmul(ops.mean(x, axis=(1, 2)), self.w))


MODELS = {
    "subclassed": lambda: called(SubclassedCNN()),
    "nested": lambda: called(Nested()),
    "own head": lambda: called(InTwoParts()),
    "vit": lambda: with_biases(tutorial_vit()),
    "custom block": lambda: functional(layers.Conv2D(4, 3), Residual(4, name="block")),
    "lambda": lambda: functional(layers.Lambda(lambda x: 2 * x - 1), layers.Conv2D(4, 3)),
    "raw lambda": lambda: functional(layers.Lambda(tf.nn.relu), layers.Conv2D(4, 3)),
    "raw layer": lambda: functional(layers.Conv2D(4, 3), Raw(name="raw")),
    "sequential called on data": lambda: called(
        keras.Sequential([Residual(3), layers.Flatten(), layers.Dense(5)])
    ),
    "data-dependent sequential": lambda: called(
        keras.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5)])
    ),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def outputs_of(model, images):
    return np.asarray(model(images, training=False))


def test_the_outputs_are_the_models(model, images):
    network = Network(model)
    expected = outputs_of(model, images)
    found = network.logits(images)
    if np.allclose(expected.sum(axis=1), 1):
        found = network.probabilities(images)
        assert np.abs(network.logits(images).sum(axis=1) - 1).max() > 1e-3
    assert_equal_to_rounding(found, expected, network)


def test_gradients_are_those_of_a_plain_tape(model, images):
    network = Network(model)
    score = "probability" if np.allclose(outputs_of(model, images).sum(axis=1), 1) else "logit"
    with tf.GradientTape() as tape:
        x = tf.constant(images)
        tape.watch(x)
        expected = tf.gather(model(x, training=False), TARGETS, batch_dims=1)
    slopes, scores = network.gradient(images, TARGETS, score=score)
    assert_equal_to_rounding(scores, expected, network)
    assert_equal_to_rounding(slopes, tape.gradient(expected, x), network)


def test_maps_do_not_depend_on_the_batch_and_passes_are_traced_once(model, images):
    whole, split = Network(model), Network(model, batch_size=2)
    for method in ("integrated_gradients", "occlusion"):
        a, b = (explain(n, images, TARGETS, method=method).maps for n in (whole, split))
        assert_equal_to_rounding(a, b, whole)
    assert set(split.passes.traces().values()) == {1}


def test_the_model_is_not_changed(model, images):
    def state():
        inside = list(model._flatten_layers())
        nodes = [(len(one._inbound_nodes), len(one._outbound_nodes)) for one in inside]
        return nodes, [one.name for one in inside], [w.numpy().tobytes() for w in model.weights]

    before = state()
    network = Network(model)
    network.gradient(images, TARGETS)
    with contextlib.suppress(UnsupportedLayerError):
        explain(network, images, TARGETS, method=LRP())
    assert state() == before


# --- Relevance through own code ------------------------------------------------------------------


def residual_as_a_model(block):
    """The same network as `Residual`, as a nested functional model."""
    x = image = keras.Input((None, None, block.filters))
    y = block.norm(block.conv2(block.conv1(x)))
    scale = layers.Rescaling([float(v) for v in 1 + block.scale.numpy()])
    return keras.Model(image, layers.ReLU()(layers.Add()([scale(y), x])))


@pytest.mark.parametrize("method", [LRP(), DeepLIFT(), "guided_backprop", "gradient"])
def test_relevance_flows_through_a_custom_block_as_through_a_nested_model(images, method):
    block = Residual(4, name="block")
    model = functional(layers.Conv2D(4, 3, name="first"), block)
    nested = functional(layers.Conv2D(4, 3, name="first"), residual_as_a_model(block))
    for name in ("first", "out"):
        nested.get_layer(name).set_weights(model.get_layer(name).get_weights())
    nested.layers[2].layers[-3].scale = [float(v) for v in 1 + block.scale.numpy()]
    assert_equal_to_rounding(outputs_of(nested, images), outputs_of(model, images), model)
    found, expected = (explain(m, images, TARGETS, method=method) for m in (model, nested))
    # Relevance divides by sums that may be small, which magnifies their rounding.
    limit = 4 * Network(model).runner.rounding * np.abs(expected.maps).max()
    np.testing.assert_allclose(found.maps, expected.maps, rtol=0, atol=limit)
    assert np.abs(found.maps).max() > 0


@pytest.mark.parametrize("name", ["subclassed", "nested"])
@pytest.mark.parametrize("method", [LRP(), DeepLIFT()])
def test_relevance_of_a_subclassed_model_sums_to_the_score(images, name, method):
    model = MODELS[name]()
    assert_complete_to_rounding(explain(model, images, TARGETS, method=method), model)


def test_a_custom_layer_has_a_name_of_its_own_in_grad_cam(images):
    model = MODELS["custom block"]()
    network = Network(model)
    assert "block" in network.layer_names
    assert "block/conv1" not in network.layer_names
    _, slope, _ = network.layer_gradient(images, TARGETS, "block")
    assert slope.shape == (5, 14, 14, 4)
    assert np.abs(slope).max() > 0


def test_the_softmax_inside_a_custom_head_is_undone(images):
    network = Network(MODELS["own head"]())
    assert network.layer_names[-1] == "head"
    z = network.logits(images)
    assert_equal_to_rounding(tf.nn.softmax(z), outputs_of(network.model, images), network)
    assert z.min() < 0


@pytest.mark.parametrize("name", ["raw lambda", "raw layer"])
def test_relevance_refuses_raw_operations_by_name(images, name):
    with pytest.raises(UnsupportedLayerError, match=r"(raw|lambda\w*): .*TensorFlow's operations"):
        explain(MODELS[name](), images, TARGETS, method=LRP())


# --- Models that do not tell their images --------------------------------------------------------


def test_an_unbuilt_model_is_built_on_the_given_shape(images):
    for model in (SubclassedCNN(), keras.Sequential([layers.Flatten(), layers.Dense(5)])):
        with pytest.raises(ValueError, match="does not say which images.*image_shape="):
            Network(model)
        network = Network(model, image_shape=SHAPE)
        assert network.image_shape == SHAPE
        assert network.logits(images).shape == (5, 5)


def test_an_unbuilt_model_is_built_on_the_first_images(images):
    assert explain(SubclassedCNN(), images, TARGETS, method="gradient").maps.shape == (5, *SHAPE)


def test_a_subclassed_model_takes_any_size_if_the_user_says_so(images):
    class AnySize(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.block = layers.Conv2D(4, 3, strides=2), Residual(4, name="block")
            self.out = layers.Dense(5)

        def call(self, x):
            return self.out(ops.mean(self.block(self.conv(x)), axis=(1, 2)))

    model = called(AnySize())
    network = Network(model, image_shape=(None, None, 3))
    for size in (8, 16):
        x = images[:, :size, :size]
        assert_equal_to_rounding(network.logits(x), outputs_of(model, x), network)
    assert_complete_to_rounding(explain(network, images, TARGETS, method=LRP()), network)


@pytest.mark.parametrize("make", [SubclassedCNN, Nested])
def test_a_model_loaded_back_is_explained_alike(make, images, tmp_path):
    model = called(make())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    maps = [explain(m, images, TARGETS, method=LRP()).maps for m in (model, loaded)]
    assert_equal_to_rounding(*maps, model)


def test_channels_first_is_refused_and_the_way_out_works(images):
    image = keras.Input((3, 16, 16))
    x = layers.Flatten(data_format="channels_first")(image)
    model = keras.Model(image, layers.Dense(5)(x))
    with pytest.raises(ValueError, match=r"channels first.*Permute\(\(3, 1, 2\)\)"):
        Network(model)
    wrapped = keras.Sequential([keras.Input(SHAPE), layers.Permute((3, 1, 2)), model])
    expected = outputs_of(model, images.transpose(0, 3, 1, 2))
    assert_equal_to_rounding(Network(wrapped).logits(images), expected, wrapped)


def test_a_saved_model_has_gradients_and_no_layers(images, tmp_path):
    model = functional(layers.Conv2D(4, 3, activation="relu"))
    model.export(tmp_path / "saved", verbose=False)
    saved = layers.TFSMLayer(tmp_path / "saved", call_endpoint="serve")
    image = keras.Input(SHAPE)
    expected = Network(model).gradient(images, TARGETS)
    wrapped = Network(keras.Model(image, saved(image)))
    for network in (wrapped, Network(saved, image_shape=SHAPE)):
        for one, other in zip(network.gradient(images, TARGETS), expected, strict=True):
            assert_equal_to_rounding(one, other, model)
        assert np.abs(explain(network, images, TARGETS, method="occlusion").maps).max() > 0
        with pytest.raises(UnsupportedLayerError, match="tfsm_layer"):
            explain(network, images, TARGETS, method=LRP())


# --- Callables -----------------------------------------------------------------------------------


def rule(x):
    """Scores in NumPy alone: mean of the channels, and of a corner."""
    x = np.asarray(x)
    return np.stack([*x.mean(axis=(1, 2)).T, x[:, :4, :4].mean(axis=(1, 2, 3))], axis=1)


def test_a_function_of_arrays_is_explained_by_perturbation(images):
    network = Network(rule, image_shape=SHAPE, classes=4)
    np.testing.assert_allclose(network.logits(images), rule(images), rtol=1e-6)
    for method in ("occlusion", "rise", "lime"):
        assert np.isfinite(explain(network, images, 3, method=method).maps).all()
    maps = explain(network, images, 3, method="occlusion").maps
    assert np.abs(maps[:, 8:, 8:]).max() < 1e-6 < np.abs(maps[:, :4, :4]).min()


def test_a_function_of_arrays_has_no_gradient_and_no_layers(images):
    network = Network(rule, image_shape=SHAPE)
    with pytest.raises(UnsupportedLayerError, match="rule: no gradient.*NumPy arrays"):
        explain(network, images, 3, method="gradient")
    with pytest.raises(UnsupportedLayerError, match="rule: .*NumPy arrays"):
        explain(network, images, 3, method=LRP())
    with pytest.raises(UnsupportedLayerError, match="rule: "):
        explain(network, images, 3, method="gradcam")


@pytest.mark.parametrize("wrap", [tf.function, lambda f: f])
def test_a_function_of_tensors_has_the_gradient_of_a_plain_tape(images, wrap):
    model = called(Nested())
    network = Network(wrap(lambda x: model(x, training=False)), image_shape=SHAPE, classes=5)
    same = Network(model)
    for found, expected in zip(
        network.gradient(images, TARGETS), same.gradient(images, TARGETS), strict=True
    ):
        assert_equal_to_rounding(found, expected, same)


def test_a_function_of_keras_operations_shows_its_layers(images):
    model = functional(layers.Conv2D(4, 3, activation="relu", name="conv"))
    network = Network(lambda x: model(2 * x)[:, :3], image_shape=SHAPE)
    assert {f"{model.name}/conv", "get_item"} < set(network.layer_names)
    assert_complete_to_rounding(explain(network, images, 1, method=LRP()), network)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: np.asarray(x).mean(axis=(1, 2, 3)), r"expected numbers .*got float32 \(3,\)"),
        (lambda x: rule(x)[:2], r"for each of 3 images; got .*\(2, 4\)"),
        (lambda x: rule(x) * np.nan, "expected finite scores"),
        (lambda x: np.array([["a", "b"]] * len(x)), "expected numbers"),
    ],
)
def test_a_callable_that_returns_something_else_is_refused_at_once(function, message):
    with pytest.raises(ValueError, match=message):
        Network(function, image_shape=SHAPE)


def test_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="classes: expected 4.*got 5"):
        Network(rule, image_shape=SHAPE, classes=5)


def test_a_callable_without_a_shape_is_refused():
    with pytest.raises(ValueError, match="image_shape: expected the shape"):
        Network(rule)


def test_a_callable_that_fails_later_is_refused_by_its_name(images):
    def fickle(x):
        return rule(x) if np.asarray(x).max() < 2 else rule(x)[:-1]

    network = Network(fickle, image_shape=SHAPE)
    with pytest.raises(ValueError, match="fickle: expected numbers"):
        network.logits_at(3 * images)


def test_a_callable_cannot_be_copied_for_experiments():
    network = Network(rule, image_shape=SHAPE)
    with (
        pytest.raises(ValueError, match="'rule' cannot be copied: it is a function"),
        network.experiment(),
    ):
        pass


def test_scikit_learn_like_probabilities(images):
    class Forest:
        def predict_proba(self, rows):
            z = np.asarray(rows)[:, :3] * 5
            return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    forest = Forest()
    network = Network(lambda x: np.log(forest.predict_proba(x.reshape(len(x), -1))),
                      image_shape=SHAPE)  # fmt: skip
    expected = forest.predict_proba(images.reshape(5, -1))
    np.testing.assert_allclose(network.probabilities(images), expected, rtol=1e-5)


# --- Several inputs ------------------------------------------------------------------------------


def with_age(named):
    image, age = keras.Input(SHAPE, name="picture"), keras.Input((2,), name="age")
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    y = layers.Dense(5)(layers.Concatenate()([x, layers.Dense(8, "relu")(age)]))
    inputs = {"picture": image, "age": age} if named else [age, image]
    return with_biases(keras.Model(inputs, y))


AGE = np.array([[0.3, -2.0]], np.float32)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("context", [{"age": AGE}, {"age": AGE[0]}, [AGE]])
@pytest.mark.parametrize("method", [LRP(), "gradient", "occlusion", "lime"])
def test_the_other_inputs_are_held_fixed(images, named, context, method):
    model = with_age(named)
    place = 1 if isinstance(context, list) and not named else 0
    network = Network(model, context=context, image_input=place or "picture")
    age = np.repeat(AGE, 5, axis=0)
    given = {"picture": images, "age": age} if named else [age, images]
    assert_equal_to_rounding(network.logits(images), model(given), network)
    single = keras.Input(SHAPE)
    fixed = ops.convert_to_tensor(AGE)
    row = layers.Lambda(lambda x: ops.repeat(fixed, ops.shape(x)[0], axis=0))(single)
    alone = keras.Model(single, model({"picture": single, "age": row} if named else [row, single]))
    maps = [explain(m, images, TARGETS, method=method).maps for m in (network, alone)]
    assert_equal_to_rounding(*maps, alone)


def test_several_inputs_without_context_are_refused_by_name():
    with pytest.raises(ValueError, match=r"inputs .*picture.*age.*context=\{name: value\}"):
        Network(with_age(True))
    with pytest.raises(ValueError, match=r"for 'age' rows \(N, 2\); got \(4, 3\)"):
        Network(with_age(True), context={"age": np.zeros((4, 3))})
    with pytest.raises(ValueError, match="expected inputs among .*; got sex"):
        Network(with_age(True), context={"sex": AGE})


@pytest.mark.parametrize("method", [LRP(), "integrated_gradients", "occlusion", "lime", "scorecam"])
def test_each_image_may_have_a_row_of_its_own(images, method):
    model = with_age(True)
    ages = np.random.default_rng(2).normal(size=(5, 2))
    network = Network(model, context={"age": ages}, batch_size=2)
    given = {"picture": images, "age": ages}
    assert_equal_to_rounding(network.logits(images), model(given), network)
    found = explain(network, images, TARGETS, method=method)
    for i in range(5):
        alone = Network(model, context={"age": ages[i : i + 1]})
        expected = explain(alone, images[i : i + 1], TARGETS[i : i + 1], method=method)
        assert_equal_to_rounding(found.maps[i : i + 1], expected.maps, alone)
    assert_equal_to_rounding(
        network.gradient(images, TARGETS)[1],
        np.asarray(model(given))[np.arange(5), TARGETS],
        model=alone,
    )


def test_another_number_of_images_than_rows_is_refused(images):
    network = Network(with_age(True), context={"age": np.zeros((4, 2))})
    with pytest.raises(
        ValueError, match="images: expected 4, one for each row of the context; got 5"
    ):
        explain(network, images, TARGETS, method="gradient")
    with pytest.raises(ValueError, match="context: has 4 rows.*make a Network for each image"):
        feature_inversion(network, images[:4], "conv", steps=1)


class TwoInputs(keras.Model):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.conv, self.out = layers.Conv2D(4, 3), layers.Dense(5)

    def call(self, inputs, age=None, training=None):
        if self.kind == "dict":
            inputs, age = inputs["picture"], inputs["age"]
        if self.kind == "list":
            age, inputs = inputs
        x = ops.mean(self.conv(inputs), axis=(1, 2))
        return self.out(ops.concatenate([x, age], axis=1))


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("dict", {"context": {"age": AGE}, "image_input": "picture"}),
        ("list", {"context": [AGE], "image_input": 1}),
        ("argument", {"context": {"age": AGE}}),
    ],
)
@pytest.mark.parametrize("built", [True, False])
def test_a_subclassed_model_with_several_inputs(images, kind, more, built):
    model, age = TwoInputs(kind), np.repeat(AGE, 5, axis=0)

    def plainly(x):
        if kind == "dict":
            return model({"picture": x, "age": age})
        return model([age, x]) if kind == "list" else model(x, age=age)

    if built:
        plainly(images)
    network = Network(model, image_shape=SHAPE, **more)
    assert_equal_to_rounding(network.logits(images), plainly(images), network)
    assert "conv2d" in network.layer_names[0]
    assert np.abs(explain(network, images, TARGETS, method=LRP()).maps).max() > 0


# --- Copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["subclassed", "nested", "vit", "custom block"])
def test_experiments_copy_models_with_own_code(images, name):
    network = Network(MODELS[name]())
    names = network.layer_names
    before = network.logits(images)
    with network.experiment() as twin:
        assert twin.layer_names == names
        assert_equal_to_rounding(twin.logits(images), before, network)
        for weight in twin.model.weights:
            weight.assign(0 * weight)
        assert np.abs(twin.logits(images) - before).max() > 1e-3
    np.testing.assert_array_equal(network.logits(images), before)


def test_a_model_that_cannot_be_made_again_is_refused_by_experiments(images):
    class Closure(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.layer, self.out = layer, layers.Dense(5)

        def call(self, x):
            return self.out(ops.mean(self.layer(x), axis=(1, 2)))

    network = Network(called(Closure(layers.Conv2D(3, 3))))
    with pytest.raises(ValueError, match="cannot be copied"), network.experiment():
        pass


@pytest.mark.parametrize("again", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_networks_of_own_code_can_be_copied_and_pickled(images, again):
    for network in (
        Network(called(Nested()), batch_size=2),
        Network(rule, image_shape=SHAPE, classes=4),
        Network(with_age(False), context={"age": AGE}),
    ):
        np.testing.assert_array_equal(again(network).logits(images), network.logits(images))
