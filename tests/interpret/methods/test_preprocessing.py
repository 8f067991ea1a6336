"""Preprocessing inside the model does not change how relevance is shared among the pixels."""

from functools import cache

import keras
import numpy as np
import pytest
from keras import layers, ops

import mnist_xai as mx
from mnist_xai.interpret import LRP, DeepLIFT, Epsilon, Network
from tests.rounding import assert_complete_to_rounding, assert_equal_to_rounding

TARGETS = [1, 0, 2]
SHAPE = (8, 8, 3)


def images(shape=SHAPE):
    return np.random.default_rng(3).random((3, *shape), np.float32)


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.uniform(-1, 1, variable.shape))
    return model


@cache
def network():
    """The network that reads preprocessed pixels, without zeros around them."""
    body = [
        keras.Input(SHAPE),
        layers.Conv2D(5, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(3),
    ]
    return Network(drawn(keras.Sequential(body)))


def of_pixels(scale, shift):
    """The network on pixels in [0, 1] that is equal to `network()` on `scale x + shift`."""
    twin = keras.models.clone_model(network().model)
    kernel, bias, *rest = network().model.get_weights()
    scale, shift = np.broadcast_to(scale, 3), np.broadcast_to(shift, 3)
    moved = bias + np.einsum("hwck,c->k", kernel, shift)
    twin.set_weights([kernel * scale[:, None], moved, *rest])
    return Network(twin)


def normalised(x):
    return layers.Normalization(mean=[0.5] * 3, variance=[0.25] * 3)(x)


def batch_norm(x):
    layer = layers.BatchNormalization(epsilon=0.0)
    y = layer(x)
    layer.set_weights([2 * np.ones(3), np.zeros(3), 0.5 * np.ones(3), np.ones(3)])
    return y


# Ways to compute `2 x - 1`.
TO_UNIT_BALL = {
    "rescaling": lambda x: layers.Rescaling(2.0, -1.0)(x),
    "numbers": lambda x: 2 * x - 1.0,
    "arrays": lambda x: (x - np.full(3, 0.5, "f")) / np.full((1, 1, 3), 0.5, "f"),
    "tensors": lambda x: ops.subtract(
        ops.multiply(x, ops.convert_to_tensor([2.0] * 3)), ops.ones((1, 1, 1, 3))
    ),
    "divide": lambda x: ops.divide(x, ops.convert_to_tensor(0.5)) - 1,
    "negative": lambda x: -(1 - 2 * x),
    "layers": lambda x: layers.Add()([x, x - ops.ones((1, 1, 1, 3))]),
    "normalization": normalised,
    "batch_norm": batch_norm,
    "bytes": lambda x: layers.Rescaling(1 / 127.5, -1)(layers.Rescaling(255.0)(x)),
    "reversed twice": lambda x: (2 * x[..., ::-1] - 1)[..., ::-1],
    "dropout between": lambda x: layers.Dropout(0.5)(2 * x) - 1,
}
ELEMENTWISE = [name for name in TO_UNIT_BALL if name != "layers"]


@cache
def preprocessed(name):
    image = keras.Input(SHAPE)
    return Network(keras.Model(image, network().model(TO_UNIT_BALL[name](image))))


PRESETS = {
    name: method for name, method in mx.METHODS.items() if isinstance(method, LRP)
}  # Every one, also those with the box rule.


def assert_equal_maps(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@cache
def on_the_ball():
    return of_pixels(2.0, -1.0)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_relevance_does_not_depend_on_the_preprocessing(name):
    """Each preset, on a model and on a network without preprocessing that is the same function."""
    x, model = images(), preprocessed(name)
    for preset in PRESETS if name == "rescaling" else ["lrp_epsilon", "deep_taylor", "lrp_z_plus"]:
        found, expected = (mx.explain(m, x, TARGETS, method=preset) for m in (model, on_the_ball()))
        assert_equal_maps(found.maps, expected.maps)
        for part, amounts in expected.absorbed.items():
            np.testing.assert_allclose(found.absorbed[part], amounts, atol=1e-3)
        assert_complete_to_rounding(found, model)


@pytest.mark.parametrize("name", TO_UNIT_BALL)
@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_deeplift_does_not_depend_on_the_preprocessing(name, rule):
    x = images()
    method = DeepLIFT(rule, baseline=0.25)
    found, expected = (
        mx.explain(m, x, TARGETS, method=method).maps for m in (preprocessed(name), on_the_ball())
    )
    assert_equal_to_rounding(found, expected, preprocessed(name))


def test_reversed_channels_get_the_relevance_of_their_pixels():
    """Caffe's preprocessing: bytes, blue first, minus the mean."""
    x, mean = images(), np.float32([103.9, 116.8, 123.7])
    image = keras.Input(SHAPE)
    model = keras.Model(image, network().model((255 * image)[..., ::-1] - mean))
    for method in (LRP(), LRP(first=Epsilon(0.1)), PRESETS["deep_taylor"]):
        found = mx.explain(model, x, TARGETS, method=method).maps
        expected = mx.explain(of_pixels(255.0, -mean), x[..., ::-1], TARGETS, method=method).maps
        assert_equal_maps(found, expected[..., ::-1])


def test_the_bounds_of_each_channel_travel_to_the_box_rule():
    """A slow replica: one dense layer on `(x - mean) / deviation`, as the paper writes the rule."""
    mean, deviation = np.float32([0.4, 0.5, 0.6]), np.float32([0.2, -0.3, 0.25])
    image = keras.Input((2, 2, 3))
    y = layers.Dense(3)(layers.Flatten()((image - mean) / deviation))
    model = drawn(keras.Model(image, y))
    x = images((2, 2, 3))
    found = mx.explain(model, x, TARGETS, method="lrp_z_box").maps
    w, b = model.layers[-1].get_weights()
    ends = [np.tile((end - mean) / deviation, 4) for end in (0, 1)]
    low, high = np.minimum(*ends)[:, None], np.maximum(*ends)[:, None]
    for k, c in enumerate(TARGETS):
        v = ((x[k] - mean) / deviation).ravel()[:, None]
        z = v * w - low * np.maximum(w, 0) - high * np.minimum(w, 0)
        score = (v * w).sum(0)[c] + b[c]
        expected = z[:, c] / z[:, c].sum() * score
        np.testing.assert_allclose(
            found[k].ravel(), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
        )


@pytest.mark.parametrize("method", ["deep_taylor", "lrp_epsilon", "lrp_z_plus", "lrp_gamma"])
def test_the_bounds_of_a_padded_border_are_the_padded_zeros(method):
    """Padding by a layer or by the convolution: the same network, the same relevance."""
    image = keras.Input(SHAPE)
    convolution = layers.Conv2D(5, 3, activation="relu")
    head = layers.Dense(3)
    padded = layers.ZeroPadding2D(1)(2 * image - 1)
    by_layer = drawn(keras.Model(image, head(layers.Flatten()(convolution(padded)))))
    same = layers.Conv2D(5, 3, activation="relu", padding="same")
    by_convolution = keras.Model(image, head(layers.Flatten()(same(2 * image - 1))))
    same.set_weights(convolution.get_weights())
    found, expected = (
        mx.explain(m, images(), TARGETS, method=method) for m in (by_layer, by_convolution)
    )
    assert_complete_to_rounding(found, by_layer)
    assert_equal_to_rounding(found.maps, expected.maps, by_layer)
    np.testing.assert_allclose(found.absorbed["padding"], 0, atol=1e-5)


RESIZED = {
    "bilinear": lambda: layers.Resizing(8, 8),
    "nearest": lambda: layers.Resizing(8, 8, interpolation="nearest"),
    "bicubic": lambda: layers.Resizing(8, 8, interpolation="bicubic"),
    "antialias": lambda: layers.Resizing(8, 8, antialias=True),
    "average": lambda: layers.AveragePooling2D(2),
    "crop": lambda: layers.CenterCrop(8, 8),
    "cropping": lambda: layers.Cropping2D(4),
}


@pytest.mark.parametrize("name", RESIZED)
def test_resizing_before_or_after_the_change_of_units_gives_the_same_relevance(name):
    image, resize = keras.Input((16, 16, 3)), RESIZED[name]()
    before = keras.Model(image, network().model(2 * resize(image) - 1))
    after = keras.Model(image, network().model(resize(2 * image - 1)))
    x = images((16, 16, 3))
    for method in ("lrp_epsilon", "deep_taylor", "epsilon_plus_flat"):
        found, expected = (mx.explain(m, x, TARGETS, method=method) for m in (before, after))
        assert_equal_maps(found.maps, expected.maps)
        assert_complete_to_rounding(found, before)


def test_resizing_shares_relevance_by_the_weights_of_its_means():
    """Doubling by repetition: a pixel gets what its four copies get."""
    image = keras.Input((4, 4, 3))
    doubled = layers.Resizing(8, 8, interpolation="nearest")(image)
    model = keras.Model(image, network().model(doubled))
    x = images((4, 4, 3))
    copies = x.repeat(2, 1).repeat(2, 2)
    for method in (LRP(), PRESETS["epsilon_plus_flat"]):
        found = mx.explain(model, x, TARGETS, method=method).maps
        parts = mx.explain(network(), copies, TARGETS, method=method).maps
        expected = parts.reshape(3, 4, 2, 4, 2, 3).sum((2, 4))
        assert_equal_to_rounding(found, expected, model)


def test_a_grey_image_repeated_to_three_channels_gets_all_their_relevance():
    image = keras.Input((8, 8, 1))
    x = images((8, 8, 1))
    models = [
        keras.Model(image, network().model(image * np.ones(3, "f"))),
        keras.Model(image, network().model(layers.Concatenate()([image] * 3))),
    ]
    for method in ("lrp_epsilon", "deep_taylor"):
        expected = mx.explain(network(), x.repeat(3, 3), TARGETS, method=method).maps
        for model in models:
            found = mx.explain(model, x, TARGETS, method=method).maps
            assert_equal_to_rounding(found, expected.sum(-1, keepdims=True), model)


def test_densenets_preprocessing_in_the_graph_is_explained():
    image = keras.Input(SHAPE)
    inside = keras.applications.densenet.preprocess_input(255 * image)
    model = keras.Model(image, network().model(inside))
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    x, twin = images(), of_pixels(1 / deviation, -mean / deviation)
    found, expected = (mx.explain(m, x, TARGETS, method="lrp_epsilon") for m in (model, twin))
    assert_equal_maps(found.maps, expected.maps)
    for method in ("deep_taylor", "deeplift_rescale", "deeplift_reveal_cancel"):
        assert_complete_to_rounding(mx.explain(model, x, TARGETS, method=method), model)


def test_the_box_rule_is_refused_where_pixels_are_added_up():
    with pytest.raises(mx.UnsupportedLayerError, match="box rule .* it adds up pixels"):
        mx.explain(preprocessed("layers"), images(), TARGETS, method="lrp_z_box")
