import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from sklearn.linear_model import Ridge

import mnist_xai as mx
from mnist_xai.interpret.methods.perturbation.ablation import FeatureAblation
from mnist_xai.interpret.methods.perturbation.features import Grid, Patches, Pixels, Segmentation
from mnist_xai.interpret.methods.perturbation.lime import LIME
from mnist_xai.interpret.methods.perturbation.occlusion import Occlusion
from mnist_xai.interpret.methods.perturbation.rise import RISE


@pytest.fixture
def linear():
    """`S_c(x) = w_c·x + b_c` on colour images."""
    model = keras.Sequential([keras.Input((5, 6, 2)), layers.Flatten(), layers.Dense(3)])
    w = np.random.default_rng(3).normal(size=(60, 3)).astype("f")
    model.set_weights([w, np.float32([1, 2, 3])])
    return model, w.T.reshape(3, 5, 6, 2)


@pytest.fixture
def points():
    return np.random.default_rng(4).random((3, 5, 6, 2), np.float32)


def run(method, model, points, targets=(0, 1, 2)):
    return mx.explain(model, points, list(targets), method=method).maps


# --- Occlusion ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "stride", "baseline"), [(4, 2, 0.0), (5, 3, 0.0), (7, 6, 0.3), (28, 1, 0.0)]
)
def test_occlusion_is_the_mean_fall_over_the_windows_on_a_pixel(
    cnn, images, patch, stride, baseline
):
    """Windows run out of the image and are cut off, as Captum has it: `ceil((28 - p) / s) + 1`."""
    network, x, targets = mx.Network(cnn), images[:2], [3, 7]
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
    found = run(method, network, x, targets)[..., 0]
    np.testing.assert_allclose(found, total / windows, atol=1e-5)


def test_occlusion_by_single_pixels_of_a_linear_network_is_its_terms(linear, points):
    model, w = linear
    found = run(Occlusion(patch=1, stride=1, baseline=0.25), model, points)
    expected = (w * (points - 0.25)).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- Feature ablation --------------------------------------------------------------------


@pytest.mark.parametrize("features", [Pixels(), Patches(2), Grid(3), "segmentation"])
def test_ablation_of_a_linear_network_is_the_sum_of_the_features_terms(linear, points, features):
    if features == "segmentation":
        features = Segmentation(np.random.default_rng(0).integers(0, 4, (5, 6)))
    model, w = linear
    labels = features.labels(5, 6)
    terms = (w * (points - 0.5)).sum(axis=-1)
    sums = [[terms[n][labels == k].sum() for k in range(labels.max() + 1)] for n in range(3)]
    found = run(FeatureAblation(features, baseline=0.5), model, points)[..., 0]
    np.testing.assert_allclose(found, np.array(sums)[:, labels], atol=1e-5)


def test_occlusion_without_overlap_is_feature_ablation(cnn, images):
    found = run(Occlusion(patch=4, stride=4), cnn, images[:3])
    np.testing.assert_allclose(found, run(FeatureAblation(Patches(4)), cnn, images[:3]), atol=1e-5)


# --- RISE --------------------------------------------------------------------------------


def test_rise_is_the_sum_of_masks_weighed_by_their_scores(cnn, images):
    method, network, targets = RISE(samples=20, probability=0.3, seed=5), mx.Network(cnn), [1, 2]
    total = np.zeros((2, 28, 28, 1))
    for mask in method.masks(28, 28)[..., np.newaxis]:
        total += network.scores(images[:2] * mask, targets)[:, None, None, None] * mask
    found = run(method, network, images[:2], targets)
    np.testing.assert_allclose(found, total / (20 * 0.3), atol=1e-5)


@pytest.mark.parametrize(("height", "width", "cells"), [(28, 28, 7), (20, 33, 7), (9, 9, 2)])
def test_rise_masks_are_grids_resized_by_tensorflow_and_cut_out(height, width, cells):
    method = RISE(samples=6, cells=cells, seed=2)
    rng = np.random.default_rng(2)
    grids = rng.random((6, cells, cells)) < 0.5
    down, across = -(-height // cells), -(-width // cells)
    tops, lefts = (rng.integers(0, cell, 6, endpoint=True) for cell in (down, across))
    size = ((cells + 1) * down, (cells + 1) * across)
    large = tf.image.resize(grids[..., np.newaxis].astype("f"), size, "bilinear").numpy()[..., 0]
    cut = [m[t : t + height, s : s + width] for m, t, s in zip(large, tops, lefts, strict=True)]
    np.testing.assert_allclose(method.masks(height, width), cut, atol=1e-5)


def test_rise_masks_keep_a_pixel_with_its_probability():
    masks = RISE(samples=8000, probability=0.3).masks(28, 28)
    assert masks.min() >= 0
    assert masks.max() <= 1
    np.testing.assert_allclose(masks.mean(axis=0), 0.3, atol=0.03)


# --- LIME --------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [1.0, 1e-3])
def test_lime_is_scikit_learns_ridge_on_the_same_samples(cnn, images, alpha):
    method = LIME(Grid(4), samples=60, alpha=alpha, kernel_width=0.4, baseline=0.1, seed=3)
    labels = Grid(4).labels(28, 28)
    kept = np.random.default_rng(3).random((60, 16)) < 0.5
    kept[0] = True
    cosine = kept.sum(axis=1) / (np.sqrt(kept.sum(axis=1)) * 4)
    weights = np.sqrt(np.exp(-((1 - cosine) ** 2) / 0.4**2))
    network, expected = mx.Network(cnn), []
    for i, target in enumerate([3, 6]):
        mask = kept[:, labels][..., np.newaxis]
        scores = network.scores(np.where(mask, images[i], np.float32(0.1)), [target] * 60)
        expected.append(Ridge(alpha).fit(kept, scores, sample_weight=weights).coef_)
    found = run(method, network, images[:2], [3, 6])[..., 0]
    np.testing.assert_allclose(found * 49, np.array(expected)[:, labels], atol=1e-4)


def test_lime_of_a_linear_network_finds_its_terms(linear, points):
    model, w = linear
    found = run(LIME(Grid(2), samples=200, alpha=1e-6), model, points)
    labels, terms = Grid(2).labels(5, 6), (w * points).sum(axis=-1)
    for k in range(4):
        cell = labels == k
        np.testing.assert_allclose(
            found[:, cell, 0].sum(axis=1), terms[:, cell].sum(axis=1), atol=1e-3
        )


def test_lime_gives_no_features_at_all_the_distance_one():
    weights = LIME(kernel_width=0.5).weights(np.array([[True] * 4, [False] * 4, [True, False] * 2]))
    np.testing.assert_allclose(weights, np.exp([0, -2, -2 * (1 - 0.5**0.5) ** 2]))


@pytest.mark.parametrize("method", [RISE, LIME])
def test_another_seed_gives_other_masks(method):
    arguments = (28, 28) if method is RISE else (49,)
    first, again, other = (method(seed=s).masks(*arguments) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Occlusion(patch=0), "patch: expected at least 1; got 0"),
        (lambda: Occlusion(stride=0), "stride: expected at least 1; got 0"),
        (lambda: Occlusion(patch=2, stride=3), "stride: expected at most the patch, 2"),
        (lambda: Occlusion(baseline=2), r"baseline: expected a pixel in \[0, 1\]; got 2"),
        (lambda: FeatureAblation(baseline=-1), "baseline: expected a pixel"),
        (lambda: RISE(samples=0), "samples: expected at least 1; got 0"),
        (lambda: RISE(cells=0), "cells: expected at least 1; got 0"),
        (lambda: RISE(probability=0), r"probability: expected a share in \(0, 1\]; got 0"),
        (lambda: LIME(samples=0), "samples: expected at least 1; got 0"),
        (lambda: LIME(kernel_width=0), "kernel_width: expected above 0; got 0"),
        (lambda: LIME(alpha=0), "alpha: expected above 0; got 0"),
        (lambda: LIME(baseline=1.5), "baseline: expected a pixel"),
    ],
)
def test_bad_hyper_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_window_larger_than_the_image_is_refused(cnn, images):
    with pytest.raises(ValueError, match="patch: expected at most the image's side, 28 pixels"):
        mx.explain(cnn, images, method=Occlusion(patch=29))
