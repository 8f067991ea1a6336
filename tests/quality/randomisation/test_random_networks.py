import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.core.graph import run_graph
from mnist_xai.interpret.methods.base import METHODS
from mnist_xai.interpret.methods.gradients.gradient import IntegratedGradients, SmoothGrad
from mnist_xai.quality.randomisation.random_networks import (
    fully_random,
    randomised,
    randomised_layers,
)
from tests.conftest import nested, residual


def weights_of(model):
    return [w.copy() for w in model.get_weights()]


def by_layer(network):
    """Return the weights of every layer that has some, by the name of its last call."""
    calls = {}
    run_graph(network.model, tf.zeros([1, *network.inputs.typical_shape]), calls)
    found = {}
    for name, call in calls.items():
        if getattr(call.layer, "weights", None):
            found = {k: v for k, v in found.items() if v[0] is not call.layer}
            found[name] = (call.layer, call.layer.get_weights())
    return {name: values for name, (_, values) in found.items()}


def by_layer_when_random(network, seed=0):
    with fully_random(network, seed) as made:
        return by_layer(made)


def randomise_all(network):
    with fully_random(network, 0):
        pass


def changed(before, after):
    return {
        name
        for name in before
        if any((a != b).any() for a, b in zip(before[name], after[name], strict=True))
    }


def test_the_twin_of_any_model_has_equal_outputs_and_shares_no_variable(model, images):
    network = mx.Network(model, batch_size=3)
    twin = network.experiments.twin()
    assert network.experiments.twin() is twin
    assert twin.batch_size == 3
    assert twin.layer_names == network.layer_names
    np.testing.assert_array_equal(twin.logits(images), network.logits(images))
    mine, theirs = ({id(v) for v in n.model.variables} for n in (network, twin))
    assert not mine & theirs


def test_any_model_can_be_randomised_and_does_not_change(model, images):
    network = mx.Network(model)
    before, logits = weights_of(model), network.logits(images)
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    seen = []
    for name, made in randomised(network, "cascading", 0):
        seen.append(made.logits(images))
        assert made is network.experiments.twin()
        assert name in network.layer_names
    assert len(seen) == len(randomised_layers(network))
    assert len({s.tobytes() for s in [logits, *seen]}) == len(seen) + 1
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(network.logits(images), logits)
    assert nodes == [len(layer._inbound_nodes) for layer in model.layers]


def test_global_random_generators_do_not_change(model):
    network = mx.Network(model)
    before = random.getstate(), np.random.get_state()[1].tolist()
    randomise_all(network)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_randomised_layers_are_layers_with_weights_by_their_last_call_last_first():
    assert randomised_layers(mx.Network(nested())) == (
        "head/out",
        "backbone/shared:2",
        "backbone/first",
    )
    model = residual()
    trained = [layer.name for layer in model.layers if layer.weights]
    assert randomised_layers(mx.Network(model)) == tuple(trained[::-1])


@pytest.mark.parametrize("build", [nested, residual])
def test_a_cascade_randomises_one_more_layer_each_time_from_the_last_down(build):
    network = mx.Network(build())
    for weights in network.model.weights:  # Otherwise a zero bias would be drawn again as zero.
        weights.assign(np.random.default_rng(1).uniform(0.5, 1.5, weights.shape))
    trained, names = by_layer(network), randomised_layers(network)
    # Of the network that is handed out: the next one replaces its weights.
    cascade = [changed(trained, by_layer(made)) for _, made in randomised(network, "cascading", 0)]
    assert cascade == [set(names[:count]) for count in range(1, len(names) + 1)]
    alone = [changed(trained, by_layer(made)) for _, made in randomised(network, "independent", 0)]
    assert alone == [{name} for name in names]


def test_random_weights_depend_on_the_seed_and_the_layer_only():
    network = mx.Network(mx.build_model("cnn", seed=0))
    ends = [by_layer_when_random(network, seed) for seed in (0, 0, 1)]
    alone = {name: by_layer(made)[name] for name, made in randomised(network, "independent", 0)}
    for name in randomised_layers(network):
        kernels = [end[name][0] for end in (*ends, alone)]
        np.testing.assert_array_equal(kernels[0], kernels[1])
        np.testing.assert_array_equal(kernels[0], kernels[3])
        assert abs(np.corrcoef(kernels[0].ravel(), kernels[2].ravel())[0, 1]) < 0.1


def test_random_weights_differ_from_a_model_made_from_the_same_seed():
    network = mx.Network(mx.build_model("cnn", seed=0))
    before, after = by_layer(network), by_layer_when_random(network)
    drawn = [end[name][0].ravel() for name in before for end in (before, after)]
    for one, other in ((a, b) for i, a in enumerate(drawn) for b in drawn[:i]):
        n = min(one.size, other.size, 500)
        assert abs(np.corrcoef(one[:n], other[:n])[0, 1]) < 0.3


def test_layers_of_equal_shape_get_different_weights():
    shaped = [layers.Conv2D(8, 3, padding="same") for _ in range(2)]
    model = keras.Sequential([keras.Input((8, 8, 8)), *shaped, layers.Flatten(), layers.Dense(3)])
    made = by_layer_when_random(mx.Network(model))
    first, second = (made[layer.name][0].ravel() for layer in shaped)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_weights_are_drawn_by_the_layers_own_initialisers_with_new_seeds():
    def normal():
        return keras.initializers.RandomNormal(3.0, 0.1, seed=0)

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(40, kernel_initializer=normal(), bias_initializer="ones"),
            layers.BatchNormalization(),
            layers.Dense(3),
        ]
    )
    before = model.layers[1].kernel.numpy()
    for weight in model.weights[1:]:
        weight.assign(weight + 7.0)
    with fully_random(mx.Network(model), 0) as made:
        kernel = made.model.layers[1].kernel.numpy()
        assert kernel.mean() == pytest.approx(3, abs=0.01)
        assert kernel.std() == pytest.approx(0.1, rel=0.05)
        assert (kernel != before).all()
        np.testing.assert_array_equal(made.model.layers[1].bias, 1)
        for variable, value in zip(made.model.layers[2].weights, (1, 0, 0, 1), strict=True):
            np.testing.assert_array_equal(variable, value)


@keras.saving.register_keras_serializable("mnist_xai_tests")
class Scaled(layers.Layer):
    """A user's layer whose initialiser cannot be found."""

    def build(self, shape):
        self.scales = self.add_weight(name="scales", shape=shape[1:], initializer="ones")

    def call(self, x):
        return x * self.scales


def test_a_weight_without_a_known_initialiser_is_permuted():
    model = keras.Sequential([keras.Input((8, 8, 1)), Scaled(), layers.Flatten(), layers.Dense(3)])
    trained = np.random.default_rng(0).normal(size=(8, 8, 1)).astype(np.float32)
    model.layers[0].scales.assign(trained)
    with fully_random(mx.Network(model), 0) as made:
        found = made.model.layers[0].scales.numpy()
    assert (found != trained).mean() > 0.9
    np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(trained.ravel()))


def test_the_inner_layers_of_attention_are_randomised():
    image = keras.Input((6, 6, 1))
    x = layers.Reshape((6, 6))(image)
    x = layers.MultiHeadAttention(4, 8)(x, x)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    network = mx.Network(model)
    assert len(randomised_layers(network)) == 2
    before = weights_of(model)
    with fully_random(network, 0) as made:
        after = weights_of(made.model)
    for old, new in zip(before, after, strict=True):
        assert (old != new).mean() > 0.9 or not old.any()
    for old, new in zip(before[:-2], after, strict=False):  # All but the last layer are permuted.
        np.testing.assert_array_equal(np.sort(old.ravel()), np.sort(new.ravel()))


def test_the_mean_and_variance_of_a_normalization_layer_are_not_randomised():
    normal = layers.Normalization()
    normal.adapt(np.random.default_rng(0).random((9, 8, 8, 2), np.float32))
    model = keras.Sequential([keras.Input((8, 8, 2)), normal, layers.Flatten(), layers.Dense(3)])
    network = mx.Network(model)
    assert randomised_layers(network) == (model.layers[-1].name,)
    with fully_random(network, 0) as made:
        np.testing.assert_array_equal(made.model.layers[0].mean, normal.mean)


@pytest.mark.parametrize(
    "method",
    [
        METHODS["gradient"],
        IntegratedGradients(steps=4),
        SmoothGrad(samples=2),
        *(METHODS[name] for name in ("lrp_epsilon", "deeplift_rescale", "gradcam", "occlusion")),
    ],
)
def test_compiled_passes_of_the_twin_use_its_later_weights(method, images):
    network = mx.Network(mx.build_model("cnn", seed=0))
    targets = np.int32([3, 1])
    for _, made in randomised(network, "cascading", 0):
        found = method(made, images[:2], targets)
        weights = made.model.get_weights()
    passes = set(made.passes.traces())
    fresh = mx.build_model("cnn")
    fresh.set_weights(weights)
    np.testing.assert_allclose(
        found, method(mx.Network(fresh), images[:2], targets), rtol=1e-4, atol=1e-6
    )
    for _, made in randomised(network, "independent", 1):
        method(made, images[:2], targets)
    assert set(made.passes.traces()) == passes


def test_randomisation_starts_from_the_models_current_weights(images):
    model = mx.build_model("cnn", seed=0)
    network = mx.Network(model)
    randomise_all(network)
    model.layers[-1].kernel.assign(2 * model.layers[-1].kernel)
    names = []
    for name, made in randomised(network, "independent", 0):
        names.append(name)
        for other in set(by_layer(network)) - {name}:
            for a, b in zip(by_layer(network)[other], by_layer(made)[other], strict=True):
                np.testing.assert_array_equal(a, b)
        assert made.logits(images).std() > 0
    assert names == list(randomised_layers(network))


class Own(layers.Layer):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner(x)


def test_a_model_that_cannot_be_copied_is_named():
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), Own(layers.Dense(3))],
                             name="homemade")  # fmt: skip
    with pytest.raises(ValueError, match="model: expected one that Keras can make again.*homemade"):
        _ = mx.Network(model).experiments.twin()


def test_weights_of_a_subclassed_model_itself_are_randomised():
    class Scaled(keras.Model):
        def __init__(self):
            super().__init__()
            self.flat, self.out = keras.layers.Flatten(), keras.layers.Dense(3)
            self.scale = self.add_weight(shape=(8, 8, 1), initializer="ones", name="scale")

        def call(self, x):
            return self.out(self.flat(self.scale * x))

    model = Scaled()
    model(np.zeros((1, 8, 8, 1), np.float32))
    model.scale.assign(np.random.default_rng(0).random((8, 8, 1)))
    network = mx.Network(model)
    assert "dense" in network.layer_names[-1]
    with fully_random(network, 0) as twin:
        for old, new in zip(model.get_weights(), twin.model.get_weights(), strict=True):
            assert not old.any() or np.abs(old - new).max() > 0
