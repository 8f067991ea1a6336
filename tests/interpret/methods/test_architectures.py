"""Maps of the relevance family sum to what they promise, on the blocks of today's architectures."""

from functools import cache

import keras
import numpy as np
import pytest
from keras import layers, ops

import mnist_xai as mx
from mnist_xai.interpret import LRP, Background, DeepLIFT, DeepSHAP, Network
from tests.rounding import assert_complete_to_rounding

SIDE, WIDTH = 8, 8
TARGETS = [0, 1, 2]


def images():
    return np.random.default_rng(0).random((3, SIDE, SIDE, 3), np.float32)


def drawn(model):
    rng = np.random.default_rng(1)
    for variable in model.variables:
        low, high = (-0.5, 0.5)
        if "gamma" in variable.path or "variance" in variable.path:
            low, high = (0.5, 1.5)
        if "seed" not in variable.path:
            variable.assign(rng.uniform(low, high, variable.shape))
    return model


def pooled(x):
    return layers.Dense(3)(layers.GlobalAveragePooling2D()(x))


def mlp(x, activation="gelu"):
    return layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, activation=activation)(x))


def tokens(image):
    """Patches of two pixels, a class token and learned positions."""
    x = layers.Reshape((16, WIDTH))(layers.Conv2D(WIDTH, 2, 2)(image))
    first = layers.Embedding(1, WIDTH)(ops.zeros_like(x[:, :1, 0], dtype="int32"))
    x = layers.Concatenate(axis=1)([first, x])
    return x + layers.Embedding(17, WIDTH)(np.arange(17)[None])


def vision_transformer(norm, pool="class"):
    def build(image):
        x = tokens(image)
        y = norm()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
        x = norm()(layers.Add()([x, mlp(norm()(x))]))
        return layers.Dense(3)(x[:, 0] if pool == "class" else layers.GlobalMaxPooling1D()(x))

    return build


def gated_transformer(image):
    """RMS normalisation, a SwiGLU block, scores that are written out, masked attention."""
    x = tokens(image)
    y = layers.RMSNormalization()(x)
    q, k, v = ops.split(layers.Dense(3 * WIDTH)(y), 3, axis=-1)
    scores = ops.matmul(q, ops.transpose(k, (0, 2, 1))) / WIDTH**0.5
    x = x + layers.Dense(WIDTH)(ops.matmul(ops.softmax(scores), v))
    x = x + layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    y = layers.RMSNormalization()(x)
    x = x + layers.Dense(WIDTH)(ops.silu(layers.Dense(12)(y)) * layers.Dense(12)(y))
    return layers.Dense(3)(ops.mean(x, axis=1))


def convnext(image):
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(WIDTH, 2, 2)(image))
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    y = mlp(layers.LayerNormalization(epsilon=1e-6)(y)) * np.linspace(0.5, 1.5, WIDTH, dtype="f")
    return pooled(layers.Add()([x, y]))


def squeezed(x, activation):
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(4, 1, activation="relu")(s)
    s = layers.Conv2D(x.shape[-1], 1)(s)
    return layers.Multiply()([x, activation(s)])


def efficientnet(image):
    x = layers.Conv2D(WIDTH, 3, padding="same")(image)
    y = layers.Activation("silu")(layers.BatchNormalization()(layers.Conv2D(12, 1)(x)))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = layers.Activation("silu")(layers.BatchNormalization()(y))
    y = layers.Conv2D(WIDTH, 1)(squeezed(y, ops.sigmoid))
    return pooled(layers.Add()([x, layers.BatchNormalization()(y)]))


def mobilenet_v3(image):
    def hard_sigmoid(s):
        return layers.ReLU(6.0)(s + 3.0) * (1.0 / 6.0)

    x = layers.Activation("hard_silu")(layers.Conv2D(WIDTH, 3, 2, padding="same")(image))
    y = layers.Conv2D(12, 1)(x)
    y = y * hard_sigmoid(y)
    return pooled(layers.Conv2D(WIDTH, 1)(squeezed(y, hard_sigmoid)) + x)


def densenet(image):
    x = layers.Conv2D(WIDTH, 3, padding="same")(image)
    for _ in range(2):
        y = layers.Conv2D(4, 1, use_bias=False)(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Concatenate()([x, y])
    return pooled(layers.AveragePooling2D(2)(x))


def swin(image):
    """Attention inside shifted windows of 2 x 2 patches."""
    x = layers.Conv2D(WIDTH, 2, 2)(image)
    y = ops.roll(layers.LayerNormalization()(x), (-1, -1), axis=(1, 2))
    y = ops.transpose(ops.reshape(y, (-1, 2, 2, 2, 2, WIDTH)), (0, 1, 3, 2, 4, 5))
    y = ops.reshape(y, (-1, 4, WIDTH))
    y = layers.MultiHeadAttention(2, 4)(y, y)
    y = ops.transpose(ops.reshape(y, (-1, 2, 2, 2, 2, WIDTH)), (0, 1, 3, 2, 4, 5))
    x = x + ops.roll(ops.reshape(y, (-1, 4, 4, WIDTH)), (1, 1), axis=(1, 2))
    return pooled(x + mlp(layers.LayerNormalization()(x)))


def mixer(image):
    x = layers.Reshape((16, WIDTH))(layers.Conv2D(WIDTH, 2, 2)(image))
    y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
    x = x + layers.Permute((2, 1))(layers.Dense(16)(layers.Dense(6, activation="gelu")(y)))
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(mlp(layers.LayerNormalization()(x))))


def small_attention(image):
    """The layers `Attention` and `AdditiveAttention`, and a product of an image with itself."""
    x = layers.Reshape((16, WIDTH))(layers.Conv2D(WIDTH, 2, 2)(image))
    x = layers.Attention(use_scale=True)([x, x]) + layers.Attention(score_mode="concat")([x, x])
    x = layers.AdditiveAttention()([x, x, x]) + layers.EinsumDense("abc,cd->abd", (None, WIDTH))(x)
    return layers.Dense(3)(ops.einsum("nac,nbc->nab", x, x)[:, 0])


BUILDERS = {
    "vit": vision_transformer(lambda: layers.LayerNormalization(epsilon=1e-6)),
    "group norm": vision_transformer(lambda: layers.GroupNormalization(4), "max"),
    "unit norm": vision_transformer(layers.UnitNormalization),
    "gated": gated_transformer,
    "convnext": convnext,
    "efficientnet": efficientnet,
    "mobilenet_v3": mobilenet_v3,
    "densenet": densenet,
    "swin": swin,
    "mixer": mixer,
    "attention": small_attention,
}
METHODS = {
    "uniform": LRP(),
    "signal": LRP(products="signal"),
    "epsilon_plus_flat": mx.METHODS["epsilon_plus_flat"],
    "deep_taylor": mx.METHODS["deep_taylor"],
    "rescale": DeepLIFT(baseline=0.5),
    "reveal_cancel": DeepLIFT("reveal_cancel"),
}


@cache
def network(name):
    image = keras.Input((SIDE, SIDE, 3))
    model = drawn(keras.Model(image, BUILDERS[name](2.0 * image - 1.0)))
    return Network(model)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BUILDERS)
def test_a_map_sums_to_the_score_or_its_difference(name, method):
    found = mx.explain(network(name), images(), TARGETS, method=METHODS[method])
    assert np.isfinite(found.maps).all()
    assert found.maps.any()
    assert_complete_to_rounding(found, network(name))


@pytest.mark.parametrize("name", ["vit", "swin", "efficientnet"])
def test_a_map_of_several_baselines_is_the_mean_of_the_maps_of_each(name):
    others = np.random.default_rng(3).random((2, SIDE, SIDE, 3), np.float32)
    found = mx.explain(network(name), images(), TARGETS, method=DeepSHAP(Background(others)))
    assert_complete_to_rounding(found, network(name))
    each = [
        mx.explain(network(name), images(), TARGETS, method=DeepSHAP(Background(other[None]))).maps
        for other in others
    ]
    np.testing.assert_allclose(found.maps, np.mean(each, axis=0), atol=1e-4 * np.abs(each).max())


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_an_image_has_the_same_map_alone_and_in_a_batch(name):
    for method in ("uniform", "rescale"):
        whole = mx.explain(network(name), images(), TARGETS, method=METHODS[method]).maps
        for k, target in enumerate(TARGETS):
            alone = mx.explain(network(name), images()[[k]], target, method=METHODS[method]).maps
            limit = network(name).runner.rounding * np.abs(whole).max()
            np.testing.assert_allclose(alone[0], whole[k], rtol=0, atol=limit)


def test_conservative_attention_gives_queries_and_keys_nothing():
    """So no relevance reaches a softmax, which would absorb some, and the certificate says so."""
    found = mx.explain(network("vit"), images(), TARGETS, method=LRP(products="signal"))
    assert "softmax" not in found.absorbed
    assert "products='signal'" in str(found)
    uniform = mx.explain(network("vit"), images(), TARGETS, method=LRP())
    assert np.abs(uniform.absorbed["softmax"]).max() > 0
