"""`explain` runs the network no more often than the method's definition needs."""

import numpy as np
import pytest
import tensorflow as tf

import mnist_xai as mx
from mnist_xai.interpret import METHODS
from mnist_xai.interpret.core.inputs import PREDICTED
from mnist_xai.interpret.methods.base import OnePass
from tests.conftest import shared_network

ONE_PASS = [name for name, method in METHODS.items() if isinstance(method, OnePass)]


@pytest.mark.parametrize("name", ONE_PASS)
@pytest.mark.parametrize("kind", ["cnn", "residual"])
def test_one_pass_finds_the_predicted_class_and_its_score(name, kind, images):
    network = shared_network(kind)
    if kind == "residual" and "guided" in name:
        images = images[:1]
    z = network.logits(images)
    found = mx.explain(network, images, method=name)
    np.testing.assert_array_equal(found.targets, z.argmax(axis=1))
    np.testing.assert_allclose(found.scores, z.max(axis=1), rtol=1e-5)
    given = mx.explain(network, images, z.argmax(axis=1), method=name)
    np.testing.assert_array_equal(given.maps, found.maps)


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_a_pass_takes_targets_and_predicted_classes_side_by_side(score, network, images):
    predicted = network.logits(images).argmax(axis=1)
    mixed = np.int32([3, PREDICTED, 4, PREDICTED, 0])
    whole = np.where(mixed < 0, predicted, mixed).astype(np.int32)
    for name in ONE_PASS:
        method = METHODS[name]
        maps, _, z = method.explain_with_logits(network, images, mixed, score=score)
        expected = method(network, images, whole, score=score)
        np.testing.assert_array_equal(maps, expected)
        np.testing.assert_allclose(z, network.logits(images), atol=1e-5)


def count_images(network, monkeypatch):
    """Record the number of images of each run of the network."""
    sizes, run = [], network.runner.run

    def counted(x, *caller, **options):
        tf.py_function(lambda n: sizes.append(int(n)), [tf.shape(x)[0]], [])
        return run(x, *caller, **options)

    monkeypatch.setattr(network.runner, "run", counted)
    return sizes


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("gradient", 5),
        ("input_x_gradient", 5),
        ("gradcam", 5),
        ("layercam", 5),
        ("lrp_epsilon", 5),
        ("epsilon_plus_flat", 5),
        ("guided_backprop", 5),
        ("guided_gradcam", 10),
        ("deeplift_rescale", 7),  # And the baseline, in the pass and for the promised sum.
        ("smoothgrad", 5 * 51),  # And the scores.
        ("integrated_gradients", 5 * 257 + 1),  # And the scores, and that of the baseline.
    ],
)
def test_the_network_runs_as_often_as_the_definition_needs(name, runs, cnn, images, monkeypatch):
    network = mx.Network(cnn)
    sizes = count_images(network, monkeypatch)
    mx.explain(network, images, method=name)
    assert sum(sizes) == runs


def test_the_promised_sum_of_an_image_equal_to_the_baseline_is_exactly_zero(network, images):
    black = np.zeros_like(images[:1])
    found = mx.explain(network, np.concatenate([black, images]), method="deeplift_rescale")
    assert found.differences[0] == 0
    assert (found.differences[1:] != 0).all()
