"""Random small networks are explained or refused by a layer's name, and promised sums hold."""

import keras
import numpy as np
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.gradients.gradient import IntegratedGradients
from tests.properties.budget import examples

RELUS = ("relu", "leaky_relu", "linear")
SMOOTH = ("tanh", "gelu", "softplus", "sigmoid", "elu")


def network(draw, activations=RELUS + SMOOTH):
    """Draw a classifier of small images: a chain, with branches, or nested."""
    keras.utils.set_random_seed(draw(st.integers(0, 2**31 - 1)))
    image = keras.Input(
        (draw(st.integers(4, 12)), draw(st.integers(4, 12)), draw(st.integers(1, 3)))
    )
    x = image
    for _ in range(draw(st.integers(0, 4))):
        x = draw(st.sampled_from([conv, depthwise, pool, normalise, drop, residual, concatenated]))(
            draw, x, draw(st.sampled_from(activations))
        )
    flatten = [layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D]
    x = draw(st.sampled_from(flatten))()(x)
    if draw(st.booleans()):
        x = layers.Dense(draw(st.integers(1, 9)), draw(st.sampled_from(activations)))(x)
    x = ended(draw, x, draw(st.integers(2, 6)))
    model = keras.Model(image, x)
    for variable in model.non_trainable_variables:
        if "moving" in variable.path:  # BatchNorm statistics that are not the identity.
            variable.assign(np.random.default_rng(1).uniform(0.5, 1.5, variable.shape))
    if draw(st.booleans()):
        outer = keras.Input(image.shape[1:])
        model = keras.Model(outer, model(outer))
    return model


def conv(draw, x, activation):
    size = min(3, *x.shape[1:3])
    stride = draw(st.integers(1, 2))
    dilation = 1 if stride > 1 or size < 3 or min(x.shape[1:3]) < 5 else draw(st.integers(1, 2))
    return layers.Conv2D(
        draw(st.integers(1, 6)), draw(st.integers(1, size)), stride,
        draw(st.sampled_from(["same", "valid"])), dilation_rate=dilation,
        activation=activation, use_bias=draw(st.booleans()), bias_initializer="random_normal",
    )(x)  # fmt: skip


def depthwise(draw, x, activation):
    kind = draw(st.sampled_from([layers.DepthwiseConv2D, layers.SeparableConv2D]))
    filters = () if kind is layers.DepthwiseConv2D else (draw(st.integers(1, 5)),)
    return kind(*filters, draw(st.integers(1, 3)), padding="same", activation=activation)(x)


def pool(draw, x, activation):
    kind = draw(st.sampled_from([layers.MaxPooling2D, layers.AveragePooling2D]))
    size = draw(st.integers(1, min(3, *x.shape[1:3])))
    stride = draw(st.integers(1, 3))
    return kind(size, stride, draw(st.sampled_from(["same", "valid"])))(x)


def normalise(draw, x, activation):
    x = layers.BatchNormalization(center=draw(st.booleans()), scale=draw(st.booleans()))(x)
    return layers.Activation(activation)(x)


def drop(draw, x, activation):
    kind = draw(st.sampled_from([layers.Dropout, layers.SpatialDropout2D, layers.GaussianNoise]))
    return kind(0.5)(x)


def residual(draw, x, activation):
    y = layers.Conv2D(x.shape[-1], draw(st.integers(1, 3)), padding="same")(x)
    return layers.Activation(activation)(layers.Add()([x, layers.Activation(activation)(y)]))


def concatenated(draw, x, activation):
    y = layers.Conv2D(draw(st.integers(1, 3)), 1, activation=activation)(x)
    return layers.Concatenate()([x, y])


def ended(draw, x, classes):
    how = draw(st.sampled_from(["logits", "fused", "layer", "activation", "operation"]))
    if how == "fused":
        return layers.Dense(classes, "softmax")(x)
    x = layers.Dense(classes)(x)
    if how == "layer":
        return layers.Softmax()(x)
    if how == "activation":
        return layers.Activation("softmax")(x)
    return keras.ops.softmax(x) if how == "operation" else x


def explained(model, method):
    """Return the explanation of two images, or None when it is refused with a layer's name."""
    images = np.random.default_rng(0).random((2, *model.input_shape[1:]), np.float32)
    try:
        return mx.explain(mx.Network(model), images, [0, 1], method=method)
    except mx.UnsupportedLayerError as error:
        message = str(error)
    names = {layer.name for layer in model._flatten_layers()}
    assert any(name in message for name in names), message
    return None


def largest_part(explanation):
    """Return the largest part of each sum, the scale for its residual."""
    parts = [np.abs(explanation.differences), np.abs(explanation.maps).sum(axis=(1, 2, 3))]
    return np.max([*parts, *map(np.abs, explanation.absorbed.values())], axis=0) + 1e-6


@given(data=st.data())
@examples(8)
def test_softmax_of_the_logits_is_the_output_of_the_model(data):
    model = network(data.draw)
    images = np.random.default_rng(0).random((3, *model.input_shape[1:]), np.float32)
    z = mx.Network(model).logits(images)
    output = np.asarray(model(images, training=False))
    is_softmax = np.allclose(output.sum(axis=1), 1, atol=1e-4) and output.min() >= 0
    np.testing.assert_allclose(tf.nn.softmax(z) if is_softmax else z, output, rtol=1e-4, atol=1e-5)


@given(data=st.data())
@examples(6)
def test_relevance_and_the_named_losses_sum_to_the_score(data):
    model = network(data.draw)
    found = explained(model, "lrp_epsilon")
    assume(found is not None)  # At least one is explained, or Hypothesis fails.
    assert np.isfinite(found.maps).all()
    assert (np.abs(found.residuals) <= 1e-3 * largest_part(found)).all(), found.residuals


@given(data=st.data())
@examples(6)
def test_integrated_gradients_sum_to_the_difference_of_scores(data):
    model = network(data.draw)
    found = explained(model, IntegratedGradients(512))
    assume(found is not None)
    assert np.isfinite(found.maps).all()
    assert (np.abs(found.residuals) <= 0.02 * largest_part(found)).all(), found.residuals
