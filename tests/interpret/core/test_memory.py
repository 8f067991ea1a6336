"""The planned batch: from the layers' outputs, and small enough for large networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.core.memory import BUDGET, planned_batch
from tests.conftest import MODELS, shared_network


def test_the_batch_is_the_budget_over_the_bytes_of_all_outputs():
    shapes = {"a": (100, 100, 64), "b": (50, 50, 64), "c": (10,)}
    dtypes = dict.fromkeys(shapes, tf.float32) | {"b": tf.bfloat16}
    size = 4 * 640_000 + 2 * 160_000 + 4 * 10
    assert planned_batch(shapes, dtypes, (200, 200, 3)) == min(256, BUDGET // size)
    tenfold = {name: (10, *shape) for name, shape in shapes.items()}
    assert planned_batch(tenfold, dtypes, (200, 200, 3)) == BUDGET // (10 * size)


def test_a_batch_has_at_least_one_image_and_at_most_256():
    huge = {"a": (10**5, 10**5)}
    assert planned_batch(huge, {"a": tf.float32}, (9, 9, 1)) == 1
    assert planned_batch({"a": (1,)}, {"a": tf.float32}, (9, 9, 1)) == 256


def test_a_network_of_any_size_is_planned_for_images_of_224_pixels():
    shapes, dtypes = {"a": (32, 32, 1024)}, {"a": tf.float32}
    at_224 = planned_batch({"a": (224, 224, 1024)}, dtypes, (224, 224, 3))
    assert planned_batch(shapes, dtypes, (None, None, 3)) == at_224 == 5


@pytest.mark.parametrize("kind", MODELS)
def test_networks_for_digits_keep_batches_of_256(kind):
    assert shared_network(kind).batch_size == 256


def test_a_given_batch_size_is_kept_and_copies_keep_the_planned_one(cnn):
    assert mx.Network(cnn, batch_size=300).batch_size == 300
    large = keras.Sequential(
        [keras.Input((128, 128, 1)), layers.Conv2D(512, 3), layers.Flatten(), layers.Dense(2)]
    )
    network = mx.Network(large)
    assert 1 < network.batch_size < 32
    assert network.on_model(large).batch_size == network.batch_size


def test_maps_do_not_depend_on_the_planned_batch():
    image = keras.Input((20, 20, 3))
    x = layers.Conv2D(8, 3, activation="relu")(image)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    images = np.random.default_rng(0).random((4, 20, 20, 3), np.float32)
    for name in ("integrated_gradients", "smoothgrad", "vargrad", "occlusion", "rise"):
        found = [
            mx.explain(mx.Network(model, batch_size=size), images[:n], [0] * n, method=name).maps[0]
            for size, n in ((1, 1), (3, 4), (256, 1), (256, 4))
        ]
        for other in found[1:]:
            np.testing.assert_allclose(other, found[0], atol=1e-5 * np.abs(found[0]).max())
