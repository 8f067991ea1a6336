"""Class activation maps of transformers: tokens are folded back to the grid of patches."""

from functools import cache

import keras
import numpy as np
import pytest
from keras import layers, ops

import mnist_xai as mx
from mnist_xai.interpret import (
    AblationCAM,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    Network,
    ScoreCAM,
)
from mnist_xai.interpret.core.spatial import last_layer_with_positions
from mnist_xai.interpret.methods.cam.base import stretch
from tests.rounding import assert_equal_to_rounding

ALL = [GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM, AblationCAM, EigenCAM]
TARGETS = [0, 1, 2]
SIDE, WIDTH = 4, 6


def images(side=SIDE):
    return np.random.default_rng(0).random((3, side, side, 1), np.float32)


def drawn(model):
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        around = 1.0 if "gamma" in variable.path else 0.0
        variable.assign(rng.normal(around, 0.5, variable.shape))
    return model


def constant_tokens(x, count, name):
    """Learned tokens for each image, as an `Embedding` of zeros makes them."""
    indices = ops.zeros_like(x[:, :1, 0], dtype="int32") + np.arange(count, dtype="int32")[None]
    return layers.Embedding(count, WIDTH, name=name)(indices)


def block(x, name):
    y = layers.LayerNormalization(name=f"{name}_norm1")(x)
    y = layers.MultiHeadAttention(2, 3, name=f"{name}_attention")(y, y)
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = layers.LayerNormalization(name=f"{name}_norm2")(x)
    y = layers.Dense(WIDTH, activation="gelu", name=f"{name}_mlp")(y)
    return layers.Add(name=f"{name}_add2")([x, y])


@cache
def transformer(*, first=0, last=0, pool="mean"):
    """Patches of one pixel, so that nothing is stretched; `first` and `last` other tokens."""
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(WIDTH, 1, name="patches")(image)
    x = layers.Reshape((SIDE * SIDE, WIDTH), name="tokens")(x)
    parts = [constant_tokens(x, first, "class")] if first else []
    parts += [x]
    parts += [constant_tokens(x, last, "registers")] if last else []
    x = layers.Concatenate(axis=1, name="all")(parts) if len(parts) > 1 else x
    x = block(block(x, "one"), "two")
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling1D()(x) if pool == "mean" else x[:, 0]
    return Network(drawn(keras.Model(image, layers.Dense(3, name="head")(x))))


def test_the_default_is_the_last_layer_whose_patches_the_score_depends_on():
    assert last_layer_with_positions(transformer()) == "norm"
    assert last_layer_with_positions(transformer(first=1)) == "norm"
    # Behind the last attention, the score depends on the class token alone.
    assert last_layer_with_positions(transformer(first=1, pool="class")) == "two_norm1"


def test_hirescam_of_mean_pooled_tokens_sums_to_the_logit_minus_its_bias():
    network = transformer()
    maps = mx.explain(network, images(), TARGETS, method=HiResCAM()).maps
    bias = network.model.get_layer("head").get_weights()[1]
    expected = network.scores(images(), TARGETS) - bias
    np.testing.assert_allclose(maps.sum((1, 2, 3)), expected, atol=1e-5)


@pytest.mark.parametrize(("first", "last"), [(1, 0), (1, 3), (0, 2)])
@pytest.mark.parametrize("cam", [GradCAM, HiResCAM])
def test_class_and_register_tokens_are_left_out(cam, first, last):
    network = transformer(first=first, last=last)
    found = mx.explain(network, images(), TARGETS, method=cam("two_norm1")).maps
    a, g, _ = network.layer_gradient(images(), TARGETS, "two_norm1")
    patches = slice(first, first + SIDE * SIDE)
    a, g = (t[:, patches].reshape(3, SIDE, SIDE, WIDTH) for t in (a, g))
    weights = g.mean(axis=(1, 2), keepdims=True) if cam is GradCAM else g
    expected = (weights * a).sum(-1, keepdims=True)
    expected = np.maximum(expected, 0) if cam is GradCAM else expected
    assert_equal_to_rounding(found, expected, network)


@pytest.mark.parametrize("cam", ALL, ids=lambda cam: cam.__name__)
def test_tokens_and_the_grid_that_they_come_from_have_the_same_map(cam):
    network = transformer()
    found, expected = (
        mx.explain(network, images(), TARGETS, method=cam(layer)).maps
        for layer in ("tokens", "patches")
    )
    assert expected.any()
    assert_equal_to_rounding(found, expected, network)


@pytest.mark.parametrize("cam", ALL, ids=lambda cam: cam.__name__)
def test_every_cam_explains_a_transformer_with_a_class_token(cam):
    found = mx.explain(transformer(first=1, pool="class"), images(), TARGETS, method=cam())
    assert found.maps.shape == (3, SIDE, SIDE, 1)
    assert np.isfinite(found.maps).all()
    # A ReLU may leave nothing of a map; a signed one shows that the patches are reached.
    assert found.maps.any() or cam not in (HiResCAM, EigenCAM)


def test_a_map_of_larger_patches_is_stretched_over_the_image():
    image = keras.Input((8, 8, 1))
    x = layers.Reshape((16, WIDTH), name="tokens")(layers.Conv2D(WIDTH, 2, 2)(image))
    x = layers.LayerNormalization()(x)
    model = drawn(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))))
    assert mx.explain(model, images(8), TARGETS, method="gradcam").maps.shape == (3, 8, 8, 1)


class CutIntoPatches(layers.Layer):
    """Patches as a layer of the user's own makes them, in any order of the tokens."""

    def __init__(self, order, **more):
        super().__init__(**more)
        self.order = order

    def call(self, x):
        x = ops.reshape(x, (-1, SIDE, 2, SIDE, 2, 1))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, SIDE * SIDE, 4))
        return ops.take(x, np.array(self.order), axis=1)


@pytest.mark.parametrize("cam", [GradCAM, HiResCAM])
def test_the_grid_of_patches_is_found_by_changing_the_image(cam):
    order = np.random.default_rng(4).permutation(SIDE * SIDE).tolist()
    image = keras.Input((2 * SIDE, 2 * SIDE, 1))
    x = CutIntoPatches(order, name="cut")(image)
    x = layers.LayerNormalization(name="norm")(layers.Dense(WIDTH)(x))
    model = drawn(keras.Model(image, layers.Dense(3)(layers.Flatten()(x))))
    network = Network(model)
    assert last_layer_with_positions(network) == "norm"
    a, g, _ = network.layer_gradient(images(2 * SIDE), TARGETS, "norm")
    a, g = (t[:, np.argsort(order)].reshape(3, SIDE, SIDE, WIDTH) for t in (a, g))
    weights = g.mean(axis=(1, 2), keepdims=True) if cam is GradCAM else g
    expected = (weights * a).sum(-1, keepdims=True)
    expected = stretch(np.maximum(expected, 0) if cam is GradCAM else expected, (8, 8))
    found = mx.explain(network, images(2 * SIDE), TARGETS, method=cam()).maps
    assert_equal_to_rounding(found, expected, network)


def test_layers_without_positions_are_refused():
    for layer, gives in (("head", r"\(N, 3\)"), ("class", r"\(N, 1, 6\)")):
        with pytest.raises(ValueError, match=f"{layer}' gives {gives}"):
            mx.explain(transformer(first=1), images(), TARGETS, method=GradCAM(layer))


def test_tokens_of_which_the_patches_are_not_known_are_refused():
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.Reshape((16, WIDTH))(layers.Conv2D(WIDTH, 1)(image))
    x = layers.ZeroPadding1D(1)(x)
    mixed = layers.Permute((2, 1))(layers.Dense(20, name="mixing")(layers.Permute((2, 1))(x)))
    x = layers.LayerNormalization(name="mixed")(mixed)
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    with pytest.raises(mx.UnsupportedLayerError, match="which of its 20 tokens are the 16 patches"):
        mx.explain(model, images(), TARGETS, method=GradCAM("mixed"))
