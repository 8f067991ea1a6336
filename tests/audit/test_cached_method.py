import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.audit.cached_method import CachedMethod
from mnist_xai.interpret.methods.base import Complete, Conservative
from mnist_xai.quality import METRICS, ExplainedBatch
from tests.audit.conftest import Refuses


class Counting:
    """A method that counts the images it explains."""

    def __init__(self, method):
        self.method, self.explained = method, 0
        self.about, self.passes = method.about, method.passes

    def __call__(self, network, images, targets, *, score="logit"):
        self.explained += len(images)
        return self.method(network, images, targets, score=score)


@pytest.fixture
def network(model):
    return mx.Network(model)


def test_only_the_same_images_targets_and_score_on_the_same_network_come_from_the_cache(network):
    images = np.random.default_rng(0).random((3, 14, 14, 1), np.float32)
    targets = np.zeros(3, np.int32)
    method = Counting(mx.METHODS["gradient"])
    cached = CachedMethod(method, network)
    first = cached(network, images, targets)
    np.testing.assert_array_equal(cached(network, images.copy(), targets), first)
    assert method.explained == 3
    assert not np.array_equal(cached(network, images, targets + 1), first)
    assert not np.array_equal(cached(network, images[::-1], targets), first)
    assert not np.array_equal(cached(network, images, targets, score="probability"), first)
    assert method.explained == 12
    cached(network.experiments.twin(), images, targets)
    cached(network.experiments.twin(), images, targets)
    assert method.explained == 18


def test_metrics_that_use_the_same_noisy_copies_share_their_maps(network):
    images = np.random.default_rng(0).random((3, 14, 14, 1), np.float32)
    method = Counting(mx.METHODS["gradient"])
    batch = ExplainedBatch.of(network, images, CachedMethod(method, network))
    uncached = ExplainedBatch.of(network, images, mx.METHODS["gradient"])
    for name in ("max_sensitivity", "avg_sensitivity", "local_lipschitz"):
        np.testing.assert_array_equal(METRICS[name](batch).values, METRICS[name](uncached).values)
    assert method.explained == 3 + 3 * METRICS["max_sensitivity"].samples


@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "lrp_epsilon"])
def test_a_cached_method_is_complete_or_conservative_as_the_method_is(name, network):
    method = mx.METHODS[name]
    cached = CachedMethod(method, network)
    assert cached.about == method.about
    assert isinstance(cached, Complete) == isinstance(method, Complete)
    assert isinstance(cached, Conservative) == isinstance(method, Conservative)


def test_errors_of_the_method_are_passed_on(network):
    images = np.zeros((1, 14, 14, 1), np.float32)
    with pytest.raises(mx.UnsupportedLayerError, match="not supported by this method"):
        CachedMethod(Refuses(), network)(network, images, np.zeros(1, np.int32))
