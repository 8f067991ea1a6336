import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import (
    Network,
    UnsupportedLayerError,
    internal_influence,
    layer_conductance,
    neuron_gradient,
    receptive_field,
)
from mnist_xai.interpret.inspect.neurons import _neuron_gradient
from tests.conftest import nested, residual

TARGETS = np.array([1, 0, 7, 3, 9])


@pytest.fixture(scope="module")
def network():
    """The case study's network with biases, so that ReLUs open on the way from black."""
    rng = np.random.default_rng(5)
    cnn = mx.build_model("cnn", seed=0)
    for layer in cnn.layers:
        if layer.weights:
            layer.bias.assign(rng.normal(scale=0.1, size=layer.bias.shape))
    return Network(cnn)


# --- The gradient of a unit ----------------------------------------------------------------


def test_the_gradient_of_a_conv1_unit_is_its_kernel_where_its_relu_is_open(network, images):
    layer = network.model.get_layer("conv1")
    kernel, bias = (np.asarray(w) for w in layer.weights)
    y, x, k = 7, 11, 3
    open_ = np.einsum("nuvc,uvc->n", images[:, y : y + 5, x : x + 5], kernel[..., k]) + bias[k] > 0
    expected = np.zeros_like(images)
    expected[open_, y : y + 5, x : x + 5] = kernel[..., k]
    assert open_.any()
    np.testing.assert_allclose(neuron_gradient(network, images, "conv1", (y, x, k)), expected)


def test_the_gradient_of_a_unit_is_the_slope_of_its_activation():
    model = residual()
    image = np.random.default_rng(1).random((1, 28, 28, 1), np.float32)
    direction = np.random.default_rng(2).normal(size=image.shape).astype("f")
    name = next(n for n in Network(model).layer_names if n.startswith("depthwise"))
    inside = (image > 0.02) & (image < 0.98)
    found = (neuron_gradient(model, image, name, (5, 6, 2)) * direction * inside).sum()
    a = [
        mx.layer_outputs(model, image + s * direction * inside, [name])[name][0, 5, 6, 2]
        for s in (2e-3, -2e-3)
    ]
    assert found == pytest.approx((a[0] - a[1]) / 4e-3, rel=0.02)


def test_all_units_of_a_layer_share_one_pass(cnn, images):
    network = Network(cnn)
    for index in ((0, 0, 0), (7, 7, 63)):
        neuron_gradient(network, images, "conv2", index)
    neuron_gradient(network, images[:2], "dense", [np.int64(5)])
    assert set(network.passes.traces().values()) == {1}
    assert [key[1] for key in network.passes.traces() if key[0] is _neuron_gradient] == [
        "conv2",
        "dense",
    ]


def test_every_layer_of_every_model_has_gradients(any_network, images):
    network = any_network
    for name, shape in network.layer_shapes.items():
        found = neuron_gradient(network, images[:2], name, tuple(side // 2 for side in shape))
        assert found.shape == (2, 28, 28, 1)
        assert np.isfinite(found).all()


def test_a_missing_gradient_is_an_error_and_never_zeros(images):
    image = keras.Input((28, 28, 1))
    steps = keras.ops.cast(keras.ops.cast(layers.Flatten()(image) > 0.5, "int32"), "float32")
    model = keras.Model(image, layers.Dense(10)(steps))
    last = Network(model).layer_names[-1]
    with pytest.raises(UnsupportedLayerError, match=f"{last}: no gradient reaches the image"):
        neuron_gradient(model, images, last, (3,))


# --- Conductance and influence ---------------------------------------------------------------


def slopes_and_outputs(model, layer, images, targets):
    """∂S/∂a and a, by Keras models cut in two by hand."""
    at = [x.name for x in model.layers].index(layer)
    front = keras.Model(model.input, model.layers[at].output)
    a = tf.convert_to_tensor(front(images))
    with tf.GradientTape() as tape:
        tape.watch(a)
        h = a
        for part in model.layers[at + 1 : -1]:
            h = part(h)
        last = model.layers[-1]
        z = tf.matmul(h, last.kernel) + last.bias
        s = tf.gather(z, targets, batch_dims=1)
    return tape.gradient(s, a).numpy(), a.numpy()


@pytest.mark.parametrize("layer", ["conv1", "pool2", "dense"])
def test_conductance_and_influence_are_the_sums_that_captum_takes(network, images, layer):
    """Captum's two loops over `n_steps` Gauss-Legendre points, written out slowly."""
    conductance, last, slope = 0, None, None
    for node in np.polynomial.legendre.leggauss(17)[0]:
        point = np.float32((node + 1) / 2) * images
        new_slope, output = slopes_and_outputs(network.model, layer, point, TARGETS)
        conductance = conductance + (0 if last is None else slope * (output - last))
        slope, last = new_slope, output
    found = layer_conductance(network, images, layer, TARGETS, steps=16, differences="forward")
    np.testing.assert_allclose(found, conductance, atol=1e-5 * np.abs(conductance).max())

    influence = 0
    for node, weight in zip(*np.polynomial.legendre.leggauss(16), strict=True):
        point = np.float32((node + 1) / 2) * images
        influence += weight / 2 * slopes_and_outputs(network.model, layer, point, TARGETS)[0]
    found = internal_influence(network, images, layer, TARGETS, steps=16)
    np.testing.assert_allclose(found, influence, atol=1e-5 * np.abs(influence).max())


@pytest.mark.parametrize("layer", ["conv1", "pool1", "conv2", "dense"])
@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_conductance_sums_to_the_difference_of_the_scores(network, images, layer, baseline):
    others = np.full_like(images, baseline)
    difference = network.scores(images, TARGETS) - network.scores(others, TARGETS)
    scale = np.abs(difference).max()
    for differences, tolerance in (("central", 0.01), ("forward", 0.05)):
        found = layer_conductance(
            network, images, layer, TARGETS, steps=128, baseline=baseline, differences=differences
        )
        sums = found.reshape(5, -1).sum(axis=1)
        np.testing.assert_allclose(sums, difference, atol=tolerance * scale)


def test_conductance_is_exact_where_the_score_is_linear_in_the_layer(images):
    """`∂S/∂a` is constant there, so two steps of central differences are the integral."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(7, activation="tanh", name="hidden"),
            layers.Dense(10, name="out"),
        ]
    )
    w = model.get_layer("out").get_weights()[0]
    network = Network(model)
    a = network.activations(images, ["hidden"])["hidden"]
    a0 = network.activations(np.zeros_like(images), ["hidden"])["hidden"]
    found = layer_conductance(network, images, "hidden", TARGETS, steps=2, differences="central")
    np.testing.assert_allclose(found, w.T[TARGETS] * (a - a0), atol=1e-5)
    found = internal_influence(network, images, "hidden", TARGETS, steps=2)
    np.testing.assert_allclose(found, w.T[TARGETS], atol=1e-6)


def test_conductance_of_the_first_identity_is_integrated_gradients(images):
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Flatten(name="pixels"), layers.Dense(30, "tanh"),
         layers.Dense(10)]
    )  # fmt: skip
    expected = mx.explain(model, images, targets=TARGETS).maps.reshape(5, -1)
    found = layer_conductance(model, images, "pixels", TARGETS, differences="central")
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("f", [layer_conductance, internal_influence])
def test_the_batch_size_makes_no_difference_and_each_pass_is_compiled_once(f, network, images):
    whole = f(network, images, "conv2", steps=4)
    in_twos = Network(network.model, batch_size=2)
    scale = np.abs(whole).max()
    np.testing.assert_allclose(f(in_twos, images, "conv2", steps=4), whole, atol=1e-5 * scale)
    f(in_twos, images[:3], "conv2", [1, 2, 3], steps=5, baseline=0.5)
    assert set(in_twos.passes.traces().values()) == {1}


@pytest.mark.parametrize("f", [layer_conductance, internal_influence])
def test_every_kind_of_model_has_conductance_and_influence(f, any_network, images):
    network, weights = any_network, [w.copy() for w in any_network.model.get_weights()]
    name = network.layer_names[0]
    found = f(network, images[:2], name, steps=3, score="probability")
    assert found.shape == (2, *network.layer_shapes[name])
    assert np.isfinite(found).all()
    assert found.any()
    for old, new in zip(weights, network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_layer_that_the_score_does_not_read_is_refused(images):
    image = keras.Input((28, 28, 1))
    x = layers.Flatten()(image)
    outputs = {"aside": layers.Dense(3, name="aside")(x), "main": layers.Dense(10)(x)}
    network = Network(keras.Model(image, list(outputs.values())), output="aside")
    other = next(n for n in network.layer_names if n.startswith("dense"))
    for f in (layer_conductance, internal_influence):
        with pytest.raises(UnsupportedLayerError, match=f"{other}: the score does not depend"):
            f(network, images, other)


# --- The receptive field ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "index", "box"),
    [
        ("conv1", (0, 0, 3), (0, 0, 5, 5)),
        ("conv1", (23, 4, 0), (23, 4, 5, 5)),
        ("pool1", (1, 2, 0), (2, 4, 6, 6)),
        ("conv2", (0, 0, 3), (0, 0, 14, 14)),  # (5 - 1) * 2 + 5 + 1
        ("conv2", (7, 2, 63), (14, 4, 14, 14)),
        ("pool2", (3, 3, 1), (12, 12, 16, 16)),
        ("flatten", (64,), (0, 4, 16, 16)),
        ("dense", (0,), (0, 0, 28, 28)),
    ],
)
def test_receptive_fields_of_the_case_study_are_boxes_known_by_hand(network, layer, index, box):
    field = receptive_field(network, layer, index)
    top, left, height, width = box
    expected = np.zeros((28, 28), bool)
    expected[top : top + height, left : left + width] = True
    np.testing.assert_array_equal(field.mask, expected)
    assert field.box == box
    assert f"box of {height} x {width} from row {top}, column {left}" in str(field)


def test_receptive_fields_do_not_depend_on_the_weights(cnn):
    for layer in cnn.layers:
        for weight in layer.weights:  # Every ReLU is closed, every weight is zero.
            weight.assign(tf.zeros(weight.shape) - ("bias" in weight.path))
    assert receptive_field(cnn, "pool2", (0, 0, 0)).box == (0, 0, 16, 16)
    assert cnn.get_layer("conv1").bias.numpy()[0] == -1


def odd():
    """Strides, dilation, padding, groups, transposed and separable convolutions, gaps."""
    image = keras.Input((20, 17, 2))
    x = layers.Conv2D(4, 3, strides=2, padding="same", groups=2, name="grouped")(image)
    x = layers.Conv2D(4, 3, dilation_rate=2, padding="same", name="dilated")(x)
    y = layers.SeparableConv2D(3, 3, name="separable")(layers.ZeroPadding2D((1, 2))(x))
    y = layers.Conv2DTranspose(3, 3, strides=2, name="transposed")(y)
    y = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(y)
    y = layers.LayerNormalization(name="norm")(y)
    y = layers.UpSampling2D(2, name="up")(layers.Cropping2D(1, name="crop")(y))
    y = layers.Permute((2, 1, 3), name="permute")(y)
    return keras.Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D(name="last")(y)))


@pytest.mark.parametrize("build", [odd, residual, nested, lambda: mx.build_model("attention_cnn")])
def test_only_changes_inside_the_mask_change_the_unit(build):
    """Changing all pixels outside leaves the unit as it is; each one inside is felt by some."""
    keras.utils.set_random_seed(3)
    model = build()
    network = Network(model)
    rng = np.random.default_rng(4)
    first = rng.random((1, *network.image_shape), np.float32)
    names = network.layer_names  # All layers in one pass: compiling one for each takes seconds.
    before = network.activations(first, names)
    # From below: whatever any of many random images lets through is inside.
    some = tf.constant(rng.random((32, *network.image_shape), np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(some)
        calls, _ = network.runner.run(some)
    for name, shape in network.layer_shapes.items():
        for index in {tuple(int(rng.integers(side)) for side in shape) for _ in range(2)}:
            mask = receptive_field(network, name, index).mask
            changed = np.where(mask[None, ..., None], first, rng.random(first.shape, np.float32))
            a, b = (
                found[name][0][index] for found in (before, network.activations(changed, names))
            )
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
            units = calls[name].output[(slice(None), *index)]
            slopes = tape.gradient(units, some, unconnected_gradients="zero").numpy()
            assert mask[slopes.any(axis=(0, 3))].all()
            assert mask.any() or "padding" in name  # The border that is put on sees nothing.


def test_the_mask_has_only_pixels_that_matter_for_random_weights():
    """Equality, where means and open units let every pixel through."""
    image = keras.Input((20, 17, 2))
    x = layers.Conv2D(4, 3, strides=2, padding="same", groups=2, name="grouped")(image)
    x = layers.Conv2D(4, 3, dilation_rate=2, padding="same", name="dilated")(x)
    y = layers.SeparableConv2D(3, 3, name="separable")(layers.ZeroPadding2D((1, 2))(x))
    y = layers.AveragePooling2D(3, strides=2, padding="same", name="pool")(y)
    y = layers.Conv2DTranspose(3, 3, strides=2, name="transposed")(y)
    model = keras.Model(image, layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(y)))
    network = Network(model)
    some = np.random.default_rng(0).random((1, 20, 17, 2), np.float32)
    rng = np.random.default_rng(1)
    for name in ("grouped", "dilated", "separable", "pool", "transposed", "out"):
        for _ in range(3):
            index = tuple(int(rng.integers(side)) for side in network.layer_shapes[name])
            felt = neuron_gradient(network, some, name, index).any(axis=(0, 3))
            np.testing.assert_array_equal(receptive_field(network, name, index).mask, felt)


def test_a_fused_softmax_depends_on_all_that_its_neighbours_depend_on():
    """Columns as channels: each unit alone sees one pixel, with its softmax the whole row."""
    image = keras.Input((4, 6, 1))
    x = layers.Permute((1, 3, 2))(image)
    alone = layers.DepthwiseConv2D(1, name="alone")(x)
    mixed = layers.DepthwiseConv2D(1, activation="softmax", name="mixed")(x)
    x = layers.Flatten()(layers.Add(name="sum")([alone, mixed]))
    model = keras.Model(image, layers.Dense(3)(x))
    assert receptive_field(model, "alone", (2, 0, 3)).box == (2, 3, 1, 1)
    assert receptive_field(model, "mixed", (2, 0, 3)).box == (2, 0, 1, 6)
    assert receptive_field(model, "sum", (2, 0, 3)).mask.sum() == 6


def test_every_kind_of_model_has_receptive_fields(any_network):
    network, model = any_network, any_network.model
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    last = network.layer_names[-1]
    assert receptive_field(network, last, (0,)).mask.sum() >= 26 * 26
    assert nodes == [len(layer._inbound_nodes) for layer in model.layers]


class Mystery(layers.Layer):
    def call(self, x):
        return tf.reverse(x, [1])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Mystery(name="mystery"),
            "mystery: a receptive field cannot treat this Mystery: its call uses TensorFlow",
        ),
        (layers.Activation(lambda x: x[:, ::-1], name="odd"), "odd: a receptive field cannot"),
        (
            layers.Conv2D(2, 1, activation=lambda x: x[:, ::-1], name="odd"),
            r"odd \(activation\): a receptive",
        ),
    ],
)
def test_unknown_geometry_is_refused_by_name(layer, message):
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(2, 3, name="conv"), layer,
                              layers.Flatten(), layers.Dense(3, name="out")])  # fmt: skip
    with pytest.raises(UnsupportedLayerError, match=message):
        receptive_field(model, "out", (0,))
    assert receptive_field(model, "conv", (1, 1, 0)).box == (1, 1, 3, 3)


# --- What is handed in -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: neuron_gradient(m, x, "conv3", (0,)), "layer: expected one of conv1"),
        (lambda m, x: neuron_gradient(m, x, "conv1", (0,)), r"index: .*\(24, 24, 32\).*'conv1'"),
        (lambda m, x: neuron_gradient(m, x, "conv1", (0, 0, 32)), r"index: .*got \(0, 0, 32\)"),
        (lambda m, x: neuron_gradient(m, x, "dense", (-1,)), r"index: .*got \(-1,\)"),
        (lambda m, x: layer_conductance(m, 2 * x, "dense"), r"images: expected values in"),
        (lambda m, _: receptive_field(m, "dense", (128,)), r"index: .*got \(128,\)"),
        (lambda m, x: layer_conductance(m, x, "conv3"), "layer: expected one of conv1"),
        (lambda m, x: layer_conductance(m, x, "dense", [1]), "targets: expected 5 integers"),
        (lambda m, x: layer_conductance(m, x, "dense", steps=0), "steps: expected at least 1"),
        (lambda m, x: layer_conductance(m, x, "dense", baseline=2), "baseline: expected"),
        (lambda m, x: layer_conductance(m, x, "dense", score="loss"), "score: expected logit"),
        (
            lambda m, x: layer_conductance(m, x, "dense", differences="backward"),
            "differences: expected forward or central; got 'backward'",
        ),
        (lambda m, x: internal_influence(m, x, "dense", quadrature="x"), "quadrature: expected"),
        (lambda m, x: internal_influence(m, x[0], "dense"), r"pass images\[None\]"),
    ],
)
def test_bad_input_is_refused(network, images, call, message):
    with pytest.raises(ValueError, match=message):
        call(network, images)


def test_the_index_of_a_unit_must_be_integers(network, images):
    with pytest.raises(TypeError, match=r"index: expected integers; got \(0.5,\)"):
        neuron_gradient(network, images, "dense", (0.5,))


def test_images_of_any_size_have_no_receptive_field():
    model = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(2, 3, name="conv"),
                              layers.GlobalAveragePooling2D(), layers.Dense(3)])  # fmt: skip
    with pytest.raises(ValueError, match="model: expected images of one size"):
        receptive_field(model, "conv", (0, 0, 0))
