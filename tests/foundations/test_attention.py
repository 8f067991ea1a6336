import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mnist_xai as mx
from mnist_xai.foundations import attention as att
from tests.foundations.differences import central_differences

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4))
W, B = RNG.normal(size=(4, 2)), RNG.normal(size=2)
G = RNG.normal(size=(3, 2, 4))  # Gradient of a loss by the pooled vectors.


def pooled(x, w=W, b=B):
    return att.attention_pool(att.attention_weights(att.attention_scores(x, w, b)), x)


def test_scores_weights_and_pooling_match_keras_dense_softmax_and_dot():
    dense = layers.Dense(2, dtype="float64")
    dense.build((None, 5, 4))
    dense.set_weights([W, B])
    e = att.attention_scores(X, W, B)
    np.testing.assert_allclose(e, dense(X), rtol=1e-10)
    alpha = att.attention_weights(e)
    np.testing.assert_allclose(alpha, layers.Softmax(axis=1, dtype="float64")(e), rtol=1e-10)
    np.testing.assert_allclose(
        att.attention_pool(alpha, X), layers.Dot(axes=1, dtype="float64")([alpha, X]), rtol=1e-10
    )


def test_the_gradients_match_tensorflow():
    x, w, b = tf.constant(X), tf.constant(W), tf.constant(B)
    with tf.GradientTape() as tape:
        tape.watch([x, w, b])
        alpha = tf.nn.softmax(x @ w + b, axis=1)
        loss = tf.reduce_sum(G * tf.einsum("nph,npc->nhc", alpha, x))
    theirs = tape.gradient(loss, [x, w, b])
    for ours, their in zip(att.attention_backward(G, X, W, B), theirs, strict=True):
        np.testing.assert_allclose(ours, their, rtol=1e-10, atol=1e-14)


def test_the_gradients_match_central_differences():
    ours = att.attention_backward(G, X, W, B)
    losses = (
        (lambda x: np.sum(G * pooled(x)), X),
        (lambda w: np.sum(G * pooled(X, w)), W),
        (lambda b: np.sum(G * pooled(X, W, b)), B),
    )
    for gradient, (loss, at) in zip(ours, losses, strict=True):
        np.testing.assert_allclose(gradient, central_differences(loss, at), rtol=1e-6, atol=1e-8)


def test_the_parts_of_the_backward_pass_match_tensorflow():
    e = att.attention_scores(X, W, B)
    alpha = att.attention_weights(e)
    a, x = tf.constant(alpha), tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch([a, x])
        loss = tf.reduce_sum(G * tf.einsum("nph,npc->nhc", a, x))
    ours = att.attention_pool_backward(G, alpha, X)
    for our, their in zip(ours, tape.gradient(loss, [a, x]), strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-10, atol=1e-14)
    scores = tf.constant(e)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = tf.reduce_sum(ours[0] * tf.nn.softmax(scores, axis=1))
    np.testing.assert_allclose(
        att.attention_weights_backward(ours[0], e), tape.gradient(loss, scores), atol=1e-14
    )


def test_a_bias_does_not_change_attention():
    np.testing.assert_allclose(pooled(X, W, B), pooled(X, W, B + 3), rtol=1e-12)
    np.testing.assert_allclose(att.attention_backward(G, X, W, B)[2], 0, atol=1e-14)


@pytest.fixture(scope="module")
def network():
    return mx.build_model("attention_cnn", seed=0)


def test_the_attention_network_computes_these_formulas(network, images):
    names = ("positions", "attention_scores", "attention", "attention_pool")
    outputs = mx.layer_outputs(network, images, names)
    w, b = network.get_layer("attention_scores").get_weights()
    e = att.attention_scores(outputs["positions"], w, b)
    np.testing.assert_allclose(e, outputs["attention_scores"], rtol=1e-5, atol=1e-6)
    alpha = att.attention_weights(e)
    np.testing.assert_allclose(alpha, outputs["attention"], rtol=1e-5)
    pool = att.attention_pool(alpha, outputs["positions"])
    np.testing.assert_allclose(pool, outputs["attention_pool"], rtol=1e-5, atol=1e-6)


def test_the_articles_output_lacks_the_sum():
    alpha = att.attention_weights(att.attention_scores(X, W[:, :1], B[:1]))
    articles = alpha * X
    assert articles.shape == X.shape  # The positions are not pooled.
    np.testing.assert_allclose(articles.sum(axis=1), att.attention_pool(alpha, X)[:, 0])


def test_softmax_along_the_last_axis_gives_every_position_the_weight_one():
    e = att.attention_scores(X, W[:, :1], B[:1])
    with pytest.warns(UserWarning, match="softmax operation will always return"):
        assert np.all(layers.Softmax(dtype="float64")(e) == 1)  # The default is axis=-1.
    assert np.ptp(att.attention_weights(e), axis=1).min() > 0.1
    with pytest.raises(ValueError, match="alpha: .* sum to 1; got a sum of 5"):
        att.attention_pool(np.ones_like(e), X)


def test_equal_scores_give_the_mean_and_one_large_score_selects_its_position():
    np.testing.assert_allclose(pooled(X, 0 * W)[:, 0], X.mean(axis=1), rtol=1e-12)
    e = np.zeros((3, 5, 1))
    e[:, 2] = 1000
    np.testing.assert_array_equal(att.attention_pool(att.attention_weights(e), X)[:, 0], X[:, 2])


def test_scaled_dot_product_attention_matches_keras():
    q, k, v = RNG.normal(size=(2, 3, 6)), RNG.normal(size=(2, 5, 6)), RNG.normal(size=(2, 5, 4))
    output, alpha = att.scaled_dot_product(q, k, v)
    np.testing.assert_allclose(alpha.sum(axis=2), 1, rtol=1e-12)
    layer = layers.Attention(dtype="float64")  # Keras's layer omits the division by √d.
    theirs, weights = layer([q / np.sqrt(6), v, k], return_attention_scores=True)
    np.testing.assert_allclose(output, theirs, rtol=1e-10)
    np.testing.assert_allclose(alpha, weights, rtol=1e-10)
    heads = [t[:, :, None] for t in (q, k, np.pad(v, ((0, 0), (0, 0), (0, 2))))]
    theirs = keras.ops.dot_product_attention(*heads)
    np.testing.assert_allclose(
        output, theirs[:, :, 0, :4], rtol=1e-5
    )  # Keras's softmax is float32.


def test_without_the_root_of_d_dot_products_of_long_vectors_saturate_softmax():
    q, k = RNG.normal(size=(1, 200, 512)), RNG.normal(size=(1, 10, 512))
    _, scaled = att.scaled_dot_product(q, k, k)
    _, unscaled = att.scaled_dot_product(q * np.sqrt(512), k, k)
    assert np.median(scaled.max(axis=2)) < 0.5
    assert np.median(unscaled.max(axis=2)) > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: att.attention_scores(X[0], W, B), r"x: .*\(any, any, any\); got \(5, 4\)"),
        (lambda: att.attention_scores(X, W[:3], B), r"W: .*\(4, any\); got \(3, 2\)"),
        (lambda: att.attention_scores(X, W, B[:1]), r"b: .*\(2\); got \(1,\)"),
        (lambda: att.attention_weights(np.zeros((2, 0, 1))), "at least one score along axis 1"),
        (lambda: att.attention_weights(np.zeros((2, 3))), r"e: .*got \(2, 3\)"),
        (lambda: att.attention_pool(np.ones((3, 4, 1)) / 4, X), r"alpha: .*\(3, 5, any\); got"),
        (
            lambda: att.attention_pool_backward(G[:, :1], np.full((3, 5, 2), 0.2), X),
            r"gradient: .*\(3, 2, 4\); got \(3, 1, 4\)",
        ),
        (lambda: att.scaled_dot_product(X, X[..., :3], X), r"K: .*\(3, any, 4\); got \(3, 5, 3\)"),
        (lambda: att.scaled_dot_product(X, X, X[:, :4]), r"V: .*\(3, 5, any\); got \(3, 4, 4\)"),
        (lambda: att.scaled_dot_product(X[..., :0], X[..., :0], X), "Q: .* at least one number"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
