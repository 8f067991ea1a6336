"""Superpixels: each image has its own features; methods give each one value."""

import sys

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import (
    HSIC,
    LIME,
    ExactShapley,
    FeatureAblation,
    Grid,
    KernelSHAP,
    Segmentation,
    ShapleySampling,
    Sobol,
    Superpixels,
)
from mnist_xai.quality import IROF, ExplainedBatch


def quarters(*colours):
    """Return an image of four flat quarters."""
    image = np.zeros((16, 16, 3), np.float32)
    for i, colour in enumerate(colours):
        image[8 * (i // 2) :, 8 * (i % 2) :] = colour
    return image


@pytest.fixture(scope="module")
def coloured():
    first = quarters([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0])
    second = np.roll(first, (3, 2), axis=(0, 1))
    return np.stack([first, second])


@pytest.fixture(scope="module")
def colour_network():
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, activation="relu")(image)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    return mx.Network(model)


def test_superpixels_of_flat_quarters_are_the_quarters(coloured):
    labels = Superpixels(4).labels_of(coloured[0])
    np.testing.assert_array_equal(labels, Grid(2).labels(16, 16))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("segments", [1, 7, 40, 3000])
def test_superpixels_are_no_more_than_asked_for_numbered_from_0_and_the_same_each_time(
    channels, segments
):
    image = np.random.default_rng(channels).random((30, 41, channels), np.float32)
    features = Superpixels(segments)
    labels = features.labels_of(image)
    assert labels.shape == (30, 41)
    assert labels.dtype == np.int32
    numbers = np.unique(labels)
    assert len(numbers) <= features.count(30, 41)
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    np.testing.assert_array_equal(features.labels_of(image), labels)


def test_no_superpixel_of_a_gray_image_crosses_a_sharp_edge():
    image = np.zeros((32, 32, 1), np.float32)
    image[:, 13:] = 1
    labels = Superpixels(16).labels_of(image)
    assert len(np.unique(labels)) > 2
    assert not set(labels[:, :13].ravel()) & set(labels[:, 13:].ravel())


METHODS = [
    LIME(Superpixels(6), samples=40),
    KernelSHAP(Superpixels(6), samples=30),
    ShapleySampling(Superpixels(6), permutations=4),
    ExactShapley(Superpixels(6)),
    FeatureAblation(Superpixels(6)),
    Sobol(Superpixels(6), designs=4),
    HSIC(Superpixels(6), samples=20),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_a_method_gives_each_image_the_map_of_its_own_segmentation(
    method, colour_network, coloured
):
    from dataclasses import replace

    found = mx.explain(colour_network, coloured, [0, 1], method=method).maps
    for i, image in enumerate(coloured):
        mask = Superpixels(6).labels_of(image)
        alone = replace(method, features=Segmentation(mask.tolist()))
        expected = mx.explain(colour_network, image[None], [i], method=alone).maps[0]
        np.testing.assert_allclose(found[i], expected, atol=1e-5 * np.abs(expected).max())
    assert method.passes(colour_network) >= 6


def test_irof_of_superpixels_is_that_of_each_images_own_segmentation(colour_network, coloured):
    maps = np.random.default_rng(0).random((2, 16, 16, 1), np.float32)
    targets = colour_network.logits(coloured).argmax(axis=1)
    method = mx.METHODS["gradient"]
    batch = ExplainedBatch.of(
        colour_network, coloured, method, targets, maps=maps, score="probability"
    )
    found = IROF(Superpixels(6))(batch)
    for i, image in enumerate(coloured):
        alone = IROF(Segmentation(Superpixels(6).labels_of(image).tolist()))
        expected = alone(batch.take(slice(i, i + 1))).values
        assert found.values[i] == pytest.approx(expected[0], abs=1e-6)


def test_what_needs_features_that_all_images_share_refuses_superpixels():
    with pytest.raises(ValueError, match="features: expected some that all images share"):
        Superpixels().labels(8, 8)


def test_without_scikit_image_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mnist-xai\[superpixels\]'"):
        Superpixels()


def test_bad_hyper_parameters_are_refused():
    with pytest.raises(ValueError, match="segments: expected at least 1; got 0"):
        Superpixels(0)
    with pytest.raises(ValueError, match="compactness: expected above 0; got 0"):
        Superpixels(4, 0)
