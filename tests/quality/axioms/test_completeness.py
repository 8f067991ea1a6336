import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.gradients.gradient import (
    Gradient,
    InputXGradient,
    IntegratedGradients,
)
from mnist_xai.interpret.methods.perturbation.features import Patches
from mnist_xai.interpret.methods.relevance.lrp import LRP
from mnist_xai.quality import Completeness, ExplainedBatch, NonSensitivity
from tests.quality.conftest import batch_of

SIDE = 6


def small_network():
    """Return convolution, ReLU, dense; the last two columns of the image are not used."""
    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 1))
    biased = {"bias_initializer": keras.initializers.RandomNormal(stddev=0.2)}
    x = layers.Cropping2D(((0, 0), (0, 2)))(image)
    x = layers.Conv2D(3, 3, activation="relu", **biased)(x)
    return keras.Model(image, layers.Dense(4, **biased)(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def small():
    return mx.Network(small_network())


@pytest.fixture(scope="module")
def pictures():
    found = np.random.default_rng(2).random((3, SIDE, SIDE, 1), np.float32)
    found[:, 0] = 0
    return found


# --- Completeness ---------------------------------------------------------------------------------


def test_completeness_is_the_missing_share_of_the_difference(small, pictures):
    whole = IntegratedGradients()(small, pictures, np.zeros(3, np.int32))
    for factor, missing in ((1, 0), (1.25, 0.25), (-1, 2)):
        batch = ExplainedBatch.of(
            small, pictures, IntegratedGradients(), np.zeros(3, int), maps=factor * whole
        )
        np.testing.assert_allclose(Completeness()(batch).values, missing, atol=2e-3)


def test_completeness_agrees_with_the_residual_of_an_explanation(small, pictures):
    for method in (IntegratedGradients(4), IntegratedGradients(4, baseline=0.5), LRP()):
        for score in ("logit", "probability"):
            told = mx.explain(small, pictures, method=method, score=score)
            batch = ExplainedBatch.of(small, pictures, method, score=score)
            expected = np.abs(told.residuals / told.differences)
            np.testing.assert_allclose(Completeness()(batch).values, expected, rtol=1e-5, atol=1e-7)


def test_absorbed_relevance_is_not_missing(small, pictures):
    batch = ExplainedBatch.of(small, pictures, LRP())
    assert Completeness()(batch).values.max() < 1e-4
    missing = batch.relevance.sum(axis=(1, 2)) - batch.scores(pictures)
    assert np.abs(missing).min() > 0.01  # The biases absorbed it.


@pytest.mark.parametrize("baseline", [0.0, 0.75])
def test_methods_without_a_baseline_are_compared_with_one_colour(small, pictures, baseline):
    batch = ExplainedBatch.of(small, pictures, Gradient())
    start = np.full_like(pictures, baseline)
    difference = batch.scores(pictures) - batch.scores(start)
    expected = np.abs(batch.relevance.sum(axis=(1, 2)) - difference) / np.abs(difference)
    found = Completeness(baseline)(batch).values
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_an_image_that_equals_the_baseline_is_refused(small, pictures):
    images = pictures.copy()
    images[1] = 0
    found = Completeness()(batch_of(small, np.ones_like(images), images))
    assert found.refused == {
        1: "its score equals that of the baseline, so there is no difference to explain"
    }
    assert np.isfinite(found.values[[0, 2]]).all()


# --- Non-sensitivity ------------------------------------------------------------------------------


def disagreements(network, image, target, relevance, epsilon, levels):
    """Return the paper's symmetric difference, one pixel and one value at a time."""
    score = network.logits(image[np.newaxis])[0, target]
    change = np.zeros((SIDE, SIDE))
    for row in range(SIDE):
        for column in range(SIDE):
            for value in np.linspace(0, 1, levels, dtype=np.float32):
                other = image.copy()
                other[row, column] = value
                moved = abs(network.logits(other[np.newaxis])[0, target] - score)
                change[row, column] = max(change[row, column], moved)
    irrelevant = np.abs(relevance) <= epsilon * np.abs(relevance).max()
    return (irrelevant != (change <= epsilon * change.max())).mean()


@pytest.mark.parametrize(("epsilon", "levels"), [(1e-4, 2), (0.2, 3)])
def test_non_sensitivity_equals_the_papers_formula(small, pictures, epsilon, levels):
    batch = ExplainedBatch.of(small, pictures, InputXGradient())
    expected = [
        disagreements(small, image, target, relevance, epsilon, levels)
        for image, target, relevance in zip(pictures, batch.targets, batch.relevance, strict=True)
    ]
    found = NonSensitivity(epsilon, levels)(batch).values
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found.min() > 0  # The black row matters, but input × gradient gives it no relevance.


def test_the_correct_map_scores_0_and_its_complement_1(small, pictures):
    used = np.zeros((3, SIDE, SIDE, 1), np.float32)
    used[:, :, :-2] = -1.5
    assert NonSensitivity()(batch_of(small, used, pictures)).values.tolist() == [0] * 3
    assert NonSensitivity()(batch_of(small, 1.5 + used, pictures)).values.tolist() == [1] * 3


def test_patches_change_together_and_have_their_largest_relevance(small, pictures):
    maps = np.zeros((3, SIDE, SIDE, 1), np.float32)
    maps[:, ::2, :-2:2] = 1  # One pixel of each patch that the network uses.
    metric = NonSensitivity(features=Patches(2))
    assert metric(batch_of(small, maps, pictures)).values.tolist() == [0] * 3
    maps[:, 0, -1] = 0.5
    np.testing.assert_allclose(metric(batch_of(small, maps, pictures)).values, 1 / 9)


def test_a_score_that_depends_on_no_pixel_is_refused(pictures):
    image = keras.Input((SIDE, SIDE, 1))
    dense = layers.Dense(2, kernel_initializer="zeros")
    network = mx.Network(keras.Model(image, dense(layers.Flatten()(image))))
    found = NonSensitivity()(batch_of(network, np.ones_like(pictures), pictures))
    assert set(found.refused.values()) == {"its score depends on no single pixel"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Completeness(2), r"baseline: expected a pixel in \[0, 1\]; got 2"),
        (lambda: NonSensitivity(1), r"epsilon: expected a share in \[0, 1\); got 1"),
        (lambda: NonSensitivity(levels=1), "levels: expected at least 2; got 1"),
    ],
)
def test_errors_name_the_hyper_parameter_that_is_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
