import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.interpret.methods.perturbation.ablation import FeatureAblation
from mnist_xai.interpret.methods.perturbation.features import Patches
from mnist_xai.interpret.methods.perturbation.occlusion import Occlusion
from tests.interpret.methods.conftest import maps_of


@pytest.mark.parametrize(
    ("patch", "stride", "baseline"), [(4, 2, 0.0), (5, 3, 0.0), (7, 6, 0.3), (28, 1, 0.0)]
)
def test_occlusion_is_the_mean_fall_over_the_windows_on_a_pixel(
    network, images, patch, stride, baseline
):
    """Windows that leave the image are cut off as in Captum: `ceil((28 - p) / s) + 1` a side."""
    x, targets = images[:2], [3, 7]
    total, windows = np.zeros((2, 28, 28)), np.zeros((28, 28))
    count = -(-(28 - patch) // stride) + 1
    whole = network.scores(x, targets)
    for top in range(0, count * stride, stride):
        for left in range(0, count * stride, stride):
            window = np.s_[top : top + patch, left : left + patch]
            masked = x.copy()
            masked[:, *window] = baseline
            total[:, *window] += (whole - network.scores(masked, targets))[:, None, None]
            windows[window] += 1
    method = Occlusion(patch, stride, baseline)
    assert method.passes(network) == count**2 + 1
    found = maps_of(method, network, x, targets)[..., 0]
    np.testing.assert_allclose(found, total / windows, atol=1e-5)


def test_occlusion_with_windows_of_one_pixel_gives_the_terms_of_a_linear_network(linear, points):
    model, w = linear
    found = maps_of(Occlusion(patch=1, stride=1, baseline=0.25), model, points)
    expected = (w * (points - 0.25)).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_occlusion_without_overlap_is_feature_ablation(network, images):
    found = maps_of(Occlusion(patch=4, stride=4), network, images[:3])
    expected = maps_of(FeatureAblation(Patches(4)), network, images[:3])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Occlusion(patch=0), "patch: expected at least 1; got 0"),
        (lambda: Occlusion(stride=0), "stride: expected at least 1; got 0"),
        (lambda: Occlusion(patch=2, stride=3), "stride: expected at most the patch, 2"),
        (lambda: Occlusion(baseline=2), r"baseline: expected a pixel in \[0, 1\]; got 2"),
    ],
)
def test_bad_hyper_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_window_larger_than_the_image_is_refused(network, images):
    with pytest.raises(ValueError, match="patch: expected at most the image's side, 28 pixels"):
        mx.explain(network, images, method=Occlusion(patch=29))
