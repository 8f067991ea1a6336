"""One network behind every convention of pixels has the same maps, up to the change of units."""

from functools import cache

import numpy as np
import pytest
import tensorflow as tf

import mnist_xai as mx
from mnist_xai.interpret import METHODS, InputXGradient, Network, UnsupportedLayerError
from mnist_xai.interpret.methods.base import pixel_power
from tests.zoo.conventions import CONVENTIONS, SPECIMENS, Convention, pictures

TARGETS = np.array([0, 1, 3])
_TOLERANCE = 5e-3  # Of the largest value: a ReLU at its kink may switch by rounding.
# This path turns to the pixels with the smallest gradients, so a last digit may turn it elsewhere.
_ADAPTIVE_TOLERANCE = 0.1

# Every method behind two conventions, inside and outside; one method of each kind behind all.
_EVERY_METHOD = ("caffe mode in the graph", "bounds of each channel")
_SOME_METHODS = (
    "gradient", "integrated_gradients", "smoothgrad", "gradcam", "guided_backprop", "lrp_epsilon",
    "lrp_z_box", "deeplift_rescale", "occlusion", "rise",
)  # fmt: skip
_CASES = [
    (convention, method)
    for convention in CONVENTIONS
    for method in (METHODS if convention in _EVERY_METHOD else _SOME_METHODS)
    if method != "input_x_gradient"  # It depends on the origin of the pixels: see below.
]


@cache
def network_behind(convention):
    """Return the network behind a convention, told the range where the model does not show it."""
    return Network(CONVENTIONS[convention].model(), pixels=CONVENTIONS[convention].pixels)


@cache
def unit_maps(method, blue_first):
    """Return the maps of the network that takes pixels in [0, 1]."""
    unit = Convention(blue_first=blue_first)
    network = network_behind("[0, 1]") if not blue_first else _blue_first_network()
    return mx.explain(network, unit.values(pictures()), TARGETS, method=method).maps


@cache
def _blue_first_network():
    return Network(Convention(blue_first=True).model())


@pytest.mark.parametrize(("name", "method"), _CASES)
def test_maps_are_the_same_up_to_the_change_of_units(name, method):
    convention = CONVENTIONS[name]
    images = convention.values(pictures())
    found = mx.explain(network_behind(name), images, TARGETS, method=method).maps
    width = np.asarray(convention.high, np.float32) - np.asarray(convention.low, np.float32)
    power = pixel_power(METHODS[method])
    expected = unit_maps(method, convention.blue_first)
    if power:
        expected = expected / width**power
    tolerance = _ADAPTIVE_TOLERANCE if method == "guided_integrated_gradients" else _TOLERANCE
    limit = tolerance * np.abs(expected).max()
    assert limit > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_input_times_gradient_multiplies_the_values_that_the_model_takes(name):
    network, images = network_behind(name), CONVENTIONS[name].values(pictures())
    expected = images * mx.explain(network, images, TARGETS, method="gradient").maps
    found = mx.explain(network, images, TARGETS, method=InputXGradient()).maps
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_network_answers_as_the_model_does(name):
    network, images = network_behind(name), CONVENTIONS[name].values(pictures())
    expected = np.asarray(network.model(images))
    np.testing.assert_allclose(tf.nn.softmax(network.logits(images)), expected, atol=1e-5)
    np.testing.assert_allclose(network.probabilities(images), expected, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in SPECIMENS if n.startswith("preprocess=")])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "occlusion"])
def test_maps_of_raw_pictures_are_those_of_bytes(name, method):
    given = SPECIMENS[name]()
    network = Network(given.model, **given.needs)
    if "NumPy" in name and "gradient" in method:
        with pytest.raises(UnsupportedLayerError, match="no gradient reaches the image"):
            mx.explain(network, given.images, TARGETS, method=method)
        return
    found = mx.explain(network, given.images, TARGETS, method=method).maps
    expected = unit_maps(method, blue_first=False) / 255 ** pixel_power(METHODS[method])
    limit = _TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
