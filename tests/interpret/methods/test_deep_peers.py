"""Deep networks against Captum, Zennit and LXT: see `tests/references/README.md`."""

from functools import cache

import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.interpret import LRP, IntegratedGradients, Network, ZPlus
from tests.references import deep_networks, reference, roundoff

CONVOLUTIONAL = {
    "zennit_epsilon": LRP(),
    "zennit_z_plus": LRP(ZPlus(), ZPlus()),
    "zennit_epsilon_plus_flat": "epsilon_plus_flat",
    "zennit_epsilon_gamma_box": "epsilon_gamma_box",
    "zennit_epsilon_alpha2_beta1": "epsilon_alpha2_beta1",
    "captum_saliency": "gradient",
    "captum_integrated_gradients": IntegratedGradients(steps=64),
    "captum_guided_backprop": "guided_backprop",
    "captum_deconvolution": "deconvnet",
    "captum_deeplift": "deeplift_rescale",
}
TRANSFORMER = {
    "lxt_attn_lrp": LRP(),
    "lxt_cp_lrp": LRP(products="signal"),
}
# ResNet50 meets those methods that its additions and its depth could break.
CASES = [
    *(("vgg16", key) for key in CONVOLUTIONAL),
    ("resnet50", "zennit_z_plus"),
    ("resnet50", "zennit_epsilon_plus_flat"),
    ("resnet50", "zennit_epsilon_gamma_box"),
    ("resnet50", "captum_guided_backprop"),
    *(("vit", key) for key in TRANSFORMER),
]


@cache
def case(name):
    model, images, targets = deep_networks.case(name)
    return Network(model), images, targets


@pytest.mark.parametrize("name", deep_networks.NETWORKS)
def test_the_references_are_for_the_same_logits(name):
    network, images, _ = case(name)
    expected = reference("deep", name, "logits")
    np.testing.assert_allclose(
        network.logits(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize(("name", "key"), CASES)
def test_maps_equal_those_of_other_libraries(name, key):
    network, images, targets = case(name)
    method = (CONVOLUTIONAL | TRANSFORMER)[key]
    found = mx.explain(network, images, targets, method=method).maps
    expected = reference("deep", name, key)
    # Where float32 alone changes the library's own value by more, nothing closer can be asked.
    share = max(1e-5, 3 * roundoff("deep", name, key))
    assert np.abs(found - expected).max() / np.abs(expected).max() < share


def test_deeplift_is_complete_where_pooling_windows_overlap():
    """ResNet50's first pooling: Captum 0.9.0 undoes it with `max_unpool`, which loses a part."""
    network, images, targets = case("resnet50")
    black = network.scores(0 * images, targets)
    expected = network.scores(images, targets) - black
    theirs = reference("deep", "resnet50", "captum_deeplift").sum(axis=(1, 2, 3))
    assert (np.abs(theirs - expected) > 0.3 * np.abs(expected)).all()
    found = mx.explain(network, images, targets, method="deeplift_rescale")
    np.testing.assert_allclose(found.maps.sum(axis=(1, 2, 3)), expected, rtol=0, atol=1e-5)
