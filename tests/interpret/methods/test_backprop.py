"""Guided backpropagation, deconvnet and the projection of a feature map."""

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.cam.gradient_based import GradCAM
from mnist_xai.interpret.methods.relevance.backprop import (
    DeconvNet,
    GuidedBackprop,
    GuidedGradCAM,
    project_feature_map,
)


def drawn(model):
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model


@pytest.fixture
def dense():
    """Two hidden layers of ReLU, in all the ways in which Keras can say so."""
    image = keras.Input((3, 4, 1))
    x = layers.Dense(9, activation="relu", name="fused")(layers.Flatten()(image))
    x = layers.ReLU()(layers.Dense(8)(x))
    x = keras.ops.relu(layers.Dense(7)(x))
    x = layers.Activation("relu")(layers.Dense(6)(x))
    return drawn(keras.Model(image, layers.Dense(3)(x)))


@pytest.fixture
def points():
    return np.random.default_rng(1).random((4, 3, 4, 1), np.float32)


@pytest.mark.parametrize("method", [GuidedBackprop(), DeconvNet()])
def test_every_way_to_write_a_relu_is_treated_alike(dense, points, method):
    """A slow replica: matrices down from the logit, with the rule at each ReLU."""
    weights = [w for w in dense.get_weights() if w.ndim == 2]
    biases = [b for b in dense.get_weights() if b.ndim == 1]
    expected = []
    for row, c in zip(points.reshape(4, 12), [0, 1, 2, 0], strict=True):
        inner, a = [], row
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            inner.append(a @ w + b)
            a = np.maximum(inner[-1], 0)
        g = weights[-1][:, c]
        for w, z in zip(weights[-2::-1], inner[::-1], strict=True):
            gate = z > 0 if isinstance(method, GuidedBackprop) else True
            g = w @ (np.maximum(g, 0) * gate)
        expected.append(g.reshape(3, 4, 1))
    found = mx.explain(dense, points, [0, 1, 2, 0], method=method).maps
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_inside_a_nested_model_they_are_not_the_plain_gradient(images):
    """Another library's override stops at the top level and gives the gradient in silence."""
    inner = mx.build_model("cnn", seed=0)
    outer = keras.Sequential([keras.Input((28, 28, 1)), inner])
    for method in (GuidedBackprop(), DeconvNet()):
        nested, flat = (mx.explain(m, images, [3] * 5, method=method).maps for m in (outer, inner))
        plain = mx.explain(outer, images, [3] * 5, method="gradient").maps
        np.testing.assert_allclose(nested, flat, atol=1e-6)
        assert np.abs(nested - plain).max() > 0.1 * np.abs(plain).max()


def test_with_weights_and_slopes_above_zero_guided_backprop_is_the_gradient(points):
    image = keras.Input((3, 4, 1))
    x = layers.Dense(9, activation="relu")(layers.Flatten()(image))
    model = keras.Model(image, layers.Dense(3)(x))
    model.set_weights([np.abs(w) for w in drawn(model).get_weights()])
    guided, plain = (mx.explain(model, points, [1] * 4, method=m).maps for m in ("guided_backprop", "gradient"))  # fmt: skip  # noqa: E501
    np.testing.assert_allclose(guided, plain, rtol=1e-5)


def test_guided_gradcam_is_guided_backprop_times_gradcam(network, images):
    for layer in (None, "conv1"):
        found = mx.explain(network, images, [2] * 5, method=GuidedGradCAM(layer)).maps
        guided = mx.explain(network, images, [2] * 5, method=GuidedBackprop()).maps
        cam = mx.explain(network, images, [2] * 5, method=GradCAM(layer)).maps
        np.testing.assert_allclose(found, guided * cam, atol=1e-6)


# --- Other activations -------------------------------------------------------------------

RECTIFIERS = {
    "relu6": lambda: layers.ReLU(6.0),
    "capped": lambda: layers.ReLU(0.5),
    "leaky": lambda: layers.LeakyReLU(0.2),
    "prelu": lambda: layers.PReLU(alpha_initializer="ones"),
    "gelu": lambda: layers.Activation("gelu"),
    "silu": lambda: layers.Activation("silu"),
    "hard_silu": lambda: layers.Activation("hard_silu"),
    "elu": lambda: layers.ELU(),
    "mish": lambda: layers.Activation("mish"),
    "softplus": lambda: layers.Activation("softplus"),
    "operation": lambda: keras.ops.gelu,
}
SQUASHING = {
    "sigmoid": lambda: layers.Activation("sigmoid"),
    "hard_sigmoid": lambda: layers.Activation("hard_sigmoid"),
    "tanh": lambda: keras.ops.tanh,
}


def activated(activation):
    image = keras.Input((3, 4, 1))
    x = layers.Dense(9)(layers.Flatten()(image))
    return drawn(keras.Model(image, layers.Dense(3)(activation(x)), name="net"))


@pytest.mark.parametrize("name", RECTIFIERS | SQUASHING)
def test_guided_backprop_keeps_what_rises_with_the_activation(name, points):
    """A slow replica of `max(f'(z), 0) max(g, 0)`, its slope from differences of `f`."""
    activation = (RECTIFIERS | SQUASHING)[name]()
    model = activated(activation)
    w, b, last = _weights_of(model)
    found = mx.explain(model, points, [0, 1, 2, 0], method="guided_backprop").maps
    for k, c in enumerate([0, 1, 2, 0]):
        z = points[k].ravel() @ w + b
        ends = [np.asarray(activation(np.float32(z + h)[None]), float)[0] for h in (-1e-3, 1e-3)]
        slope = (ends[1] - ends[0]) / 2e-3
        expected = w @ (np.maximum(slope, 0) * np.maximum(last[:, c], 0))
        np.testing.assert_allclose(
            found[k].ravel(), expected, rtol=0, atol=2e-3 * np.abs(expected).max()
        )


@pytest.mark.parametrize("name", RECTIFIERS)
def test_deconvnet_rectifies_the_signal_at_every_rectifier(name, points):
    model = activated(RECTIFIERS[name]())
    w, _, last = _weights_of(model)
    found = mx.explain(model, points, [0, 1, 2, 0], method="deconvnet").maps
    for k, c in enumerate([0, 1, 2, 0]):
        expected = w @ np.maximum(last[:, c], 0)
        np.testing.assert_allclose(found[k].ravel(), expected, rtol=0, atol=1e-5)


def _weights_of(model):
    """The kernel and bias of the first dense layer, and the kernel of the last one."""
    first, last = (layer for layer in model.layers if isinstance(layer, layers.Dense))
    return first.get_weights()[0], first.get_weights()[1], last.get_weights()[0]


@pytest.mark.parametrize("name", SQUASHING)
def test_deconvnet_refuses_a_bounded_activation_and_says_what_to_use(name, points):
    with pytest.raises(mx.UnsupportedLayerError, match="no bounded function; use 'guided_backpr"):
        mx.explain(activated(SQUASHING[name]()), points, method="deconvnet")


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_a_network_without_activations_is_refused(points, method):
    linear = keras.Sequential(
        [keras.Input((3, 4, 1)), layers.Flatten(), layers.Dense(3)], name="net"
    )
    with pytest.raises(mx.UnsupportedLayerError, match="net: has no activation"):
        mx.explain(linear, points, method=method)


# --- Projection --------------------------------------------------------------------------


def test_an_activation_of_the_first_layer_projects_to_its_kernel(network, images):
    """`x̂` is `a` times the kernel, where the unit looks, and nothing elsewhere."""
    a = mx.layer_outputs(network, images, ["conv1"])["conv1"]
    kernel = network.model.get_layer("conv1").get_weights()[0]
    found = project_feature_map(network, images, "conv1", 3, position=(4, 7))
    expected = np.zeros_like(images)
    expected[:, 4:9, 7:12] = a[:, 4, 7, 3].reshape(-1, 1, 1, 1) * kernel[..., 3]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_pooled_activation_is_projected_from_the_place_of_its_maximum(network, images):
    """The switches: a slow replica for one unit of the first pooling, in one image."""
    a = mx.layer_outputs(network, images, ["conv1"])["conv1"][2, ..., 5]
    kernel = network.model.get_layer("conv1").get_weights()[0][..., 5]
    window = a[6:8, 10:12]
    i, j = np.unravel_index(window.argmax(), (2, 2))
    expected = np.zeros((28, 28, 1), np.float32)
    expected[6 + i : 11 + i, 10 + j : 15 + j] = window.max() * kernel
    found = project_feature_map(network, images, "pool1", 5, position=(3, 5))[2]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_largest_activation_is_projected_by_default(network, images):
    a = mx.layer_outputs(network, images, ["conv2"])["conv2"][..., 7]
    found = project_feature_map(network, images, "conv2", 7)
    for k in range(len(images)):
        at = tuple(map(int, np.unravel_index(a[k].argmax(), a[k].shape)))
        alone = project_feature_map(network, images[k : k + 1], "conv2", 7, position=at)
        np.testing.assert_allclose(found[k], alone[0], atol=1e-6)


def test_a_projection_stays_within_the_receptive_field(network, images):
    field = mx.interpret.receptive_field(network, "conv2", (2, 3, 7)).mask
    found = project_feature_map(network, images, "conv2", 7, position=(2, 3))
    assert not found[:, ~field].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dense", 0), r"layer: expected outputs \(N, h, w, channels\); 'dense' gives"),
        (("nowhere", 0), "layer: expected one of"),
        (("conv1", 32), "channel: expected 0 to 31; got 32"),
        (("conv1", 0, (24, 0)), r"position: expected within \(24, 24\); got \(24, 0\)"),
    ],
)
def test_bad_projections_are_refused(network, images, arguments, message):
    layer, channel, *position = arguments
    with pytest.raises(ValueError, match=message):
        project_feature_map(
            network, images, layer, channel, position=position[0] if position else None
        )
