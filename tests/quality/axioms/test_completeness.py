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
    """Convolution, ReLU, dense; the last two columns of the image are not read."""
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


# --- Completeness --------------------------------------------------------------------------


def test_what_is_missing_is_a_share_of_the_difference(small, pictures):
    whole = IntegratedGradients()(small, pictures, np.zeros(3, np.int32))
    for factor, missing in ((1, 0), (1.25, 0.25), (-1, 2)):
        batch = ExplainedBatch.of(
            small, pictures, IntegratedGradients(), np.zeros(3, int), maps=factor * whole
        )
        np.testing.assert_allclose(Completeness()(batch).values, missing, atol=2e-3)


def test_it_is_the_residual_that_an_explanation_reports(small, pictures):
    for method in (IntegratedGradients(4), IntegratedGradients(4, baseline=0.5), LRP()):
        for score in ("logit", "probability"):
            told = mx.explain(small, pictures, method=method, score=score)
            batch = ExplainedBatch.of(small, pictures, method, score=score)
            expected = np.abs(told.residuals / told.differences)
            np.testing.assert_allclose(Completeness()(batch).values, expected, rtol=1e-5, atol=1e-7)


def test_what_relevance_propagation_names_as_lost_is_not_missing(small, pictures):
    batch = ExplainedBatch.of(small, pictures, LRP())
    assert Completeness()(batch).values.max() < 1e-4
    missing = batch.relevance.sum(axis=(1, 2)) - batch.scores(pictures)
    assert np.abs(missing).min() > 0.01  # The biases have it.


@pytest.mark.parametrize("baseline", [0.0, 0.75])
def test_a_method_that_promises_nothing_is_held_to_a_colour(small, pictures, baseline):
    batch = ExplainedBatch.of(small, pictures, Gradient())
    start = np.full_like(pictures, baseline)
    difference = batch.scores(pictures) - batch.scores(start)
    expected = np.abs(batch.relevance.sum(axis=(1, 2)) - difference) / np.abs(difference)
    found = Completeness(baseline)(batch).values
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_an_image_that_is_the_baseline_has_nothing_to_share_out(small, pictures):
    images = pictures.copy()
    images[1] = 0
    found = Completeness()(batch_of(small, np.ones_like(images), images))
    assert found.refused == {
        1: "its score equals that of the baseline, so there is no difference to explain"
    }
    assert np.isfinite(found.values[[0, 2]]).all()


# --- Non-sensitivity -----------------------------------------------------------------------


def disagreements(network, image, target, places, epsilon, levels):
    """The paper's symmetric difference, one place and one value at a time."""
    score = network.logits(image[np.newaxis])[0, target]
    change = np.zeros((SIDE, SIDE))
    for row in range(SIDE):
        for column in range(SIDE):
            for value in np.linspace(0, 1, levels, dtype=np.float32):
                other = image.copy()
                other[row, column] = value
                moved = abs(network.logits(other[np.newaxis])[0, target] - score)
                change[row, column] = max(change[row, column], moved)
    irrelevant = np.abs(places) <= epsilon * np.abs(places).max()
    return (irrelevant != (change <= epsilon * change.max())).mean()


@pytest.mark.parametrize(("epsilon", "levels"), [(1e-4, 2), (0.2, 3)])
def test_the_share_is_that_of_the_slow_formula(small, pictures, epsilon, levels):
    batch = ExplainedBatch.of(small, pictures, InputXGradient())
    expected = [
        disagreements(small, image, target, places, epsilon, levels)
        for image, target, places in zip(pictures, batch.targets, batch.relevance, strict=True)
    ]
    found = NonSensitivity(epsilon, levels)(batch).values
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found.min() > 0  # A black row matters, and has no relevance here.


def test_the_right_places_score_0_and_the_opposite_ones_1(small, pictures):
    used = np.zeros((3, SIDE, SIDE, 1), np.float32)
    used[:, :, :-2] = -1.5
    assert NonSensitivity()(batch_of(small, used, pictures)).values.tolist() == [0] * 3
    assert NonSensitivity()(batch_of(small, 1.5 + used, pictures)).values.tolist() == [1] * 3


def test_patches_are_changed_together_and_as_relevant_as_their_largest(small, pictures):
    maps = np.zeros((3, SIDE, SIDE, 1), np.float32)
    maps[:, ::2, :-2:2] = 1  # One pixel of each patch that is read.
    metric = NonSensitivity(features=Patches(2))
    assert metric(batch_of(small, maps, pictures)).values.tolist() == [0] * 3
    maps[:, 0, -1] = 0.5
    np.testing.assert_allclose(metric(batch_of(small, maps, pictures)).values, 1 / 9)


def test_a_score_that_depends_on_no_place_is_refused(pictures):
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
def test_hyper_parameters_out_of_range_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
