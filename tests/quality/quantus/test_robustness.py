"""Compare our robustness and randomisation with Quantus's, and show where Quantus is wrong."""

import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.interpret.methods.gradients.gradient import Gradient
from mnist_xai.quality import (
    AvgSensitivity,
    EfficientParameterRandomisation,
    ExplainedBatch,
    LocalLipschitz,
    MaxSensitivity,
    ParameterRandomisation,
    RandomLogit,
    RelativeInputStability,
    RelativeOutputStability,
    SmoothParameterRandomisation,
    randomised_layers,
)
from mnist_xai.quality.randomisation import random_networks, sanity_checks
from mnist_xai.quality.randomisation.similarity import similarities
from tests.references.networks import case
from tests.rounding import assert_equal_to_rounding

SAMPLES = 6
TINY = 1e-12  # All magnitudes of these maps are larger, so that the floor has no effect.


@cache
def quantus():
    with np.load(Path(__file__).parents[2] / "references" / "quantus_robustness.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def batch():
    network = mx.Network(case("residual").model)
    kept = quantus()
    return ExplainedBatch.of(
        network, kept["images"], Gradient(), kept["targets"], maps=kept["maps"]
    )


@pytest.fixture
def quantuss_weights(monkeypatch):
    """Layers get the same random weights as in the reference values of Quantus."""

    def randomise(layer, seed, number):
        for weight in layer.weights:
            rng = np.random.default_rng(zlib.crc32(f"residual/{layer.name}/{weight.name}".encode()))
            drawn = rng.uniform(0.2, 1, weight.shape) * rng.choice([-1, 1], weight.shape)
            positive = weight.name in ("gamma", "moving_variance")
            weight.assign(np.abs(drawn) if positive else drawn)

    monkeypatch.setattr(random_networks, "_randomise_layer", randomise)


def agree(ours, key, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(ours, quantus()[key], rtol=rtol, atol=atol)


def test_the_twins_have_equal_logits_and_gradients(batch):
    network = batch.network
    assert_equal_to_rounding(network.logits(batch.images), quantus()["logits"], network)
    made = Gradient()(network, batch.images, batch.targets)
    assert_equal_to_rounding(made, batch.maps, network)


@pytest.mark.parametrize(
    ("metric", "key"),
    [
        (MaxSensitivity(0.1, SAMPLES), "max_sensitivity"),
        (AvgSensitivity(0.1, SAMPLES), "avg_sensitivity"),
        (LocalLipschitz(0.1, SAMPLES), "local_lipschitz"),
    ],
)
def test_sensitivities_equal_quantuss(batch, metric, key):
    agree(metric(batch).values, key)


@pytest.mark.parametrize(
    ("metric", "key", "rtol"),
    [
        # The logits differ by about 0.01, which has four digits in float32.
        (RelativeInputStability(0.1, SAMPLES, floor=TINY), "relative_input_stability", 1e-3),
        (RelativeOutputStability(0.1, SAMPLES, floor=TINY), "relative_output_stability", 1e-3),
    ],
)
def test_stabilities_equal_quantuss_up_to_round_off(batch, metric, key, rtol):
    agree(metric(batch).values, key, rtol=rtol)


@pytest.mark.parametrize("side", ["input", "output"])
def test_quantus_gives_no_score_if_the_prediction_of_one_copy_differs(batch, side):
    theirs = quantus()[f"relative_{side}_stability_wide"]
    kinds = {"input": RelativeInputStability, "output": RelativeOutputStability}
    found = kinds[side](0.19, SAMPLES, floor=TINY)(batch)
    kept = np.isfinite(found.curves).sum(axis=1)
    np.testing.assert_array_equal(np.isnan(theirs), kept < SAMPLES)
    assert np.isnan(theirs).sum() == 1
    assert (kept > 0).all()
    assert np.isfinite(found.values).all()
    whole = kept == SAMPLES
    np.testing.assert_allclose(found.values[whole], theirs[whole], rtol=1e-3)


def test_quantuss_noise_for_stability_is_never_negative():
    assert quantus()["relative_stability_noise"].tolist() == [0.02, 0.2]


def test_quantuss_lipschitz_constant_depends_on_the_other_images_and_ours_does_not(batch):
    alone, among_others = quantus()["local_lipschitz_alone_and_not"]
    assert among_others < 0.6 * alone
    metric = LocalLipschitz(0.1, SAMPLES)
    whole = metric(batch).values
    np.testing.assert_allclose(metric(batch.take(slice(0, 1))).values, whole[:1], rtol=1e-5)


def test_quantuss_consistency_does_not_depend_on_the_maps():
    kept = quantus()
    of_class = kept["targets"][:, None] == kept["targets"]
    share = (of_class.sum(axis=1) - 1) / 3
    for key in ("consistency_of_maps", "consistency_of_other_maps"):
        np.testing.assert_allclose(kept[key], share, rtol=1e-6)


# --- Randomisation --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["cascading", "independent"])
@pytest.mark.parametrize("similarity", ["rank_of_magnitudes", "rank"])
def test_parameter_randomisation_equals_quantuss(batch, quantuss_weights, order, similarity):
    layers = quantus()[f"mprt_{order}_layers"].tolist()
    columns = [layers.index(name) for name in randomised_layers(batch.network)]
    theirs = quantus()[f"mprt_{order}_{similarity}"][:, columns]
    found = ParameterRandomisation(order, similarity)(batch)
    last = ParameterRandomisation(order, similarity, "last")(batch).values
    for ours, expected in (
        (found.curves, theirs),
        (found.values, theirs.mean(axis=1)),
        (last, theirs[:, -1]),
    ):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=batch.network.runner.rounding)


def test_the_rise_of_entropy_equals_quantuss(batch, quantuss_weights):
    agree(EfficientParameterRandomisation()(batch).values, "emprt")


def test_quantuss_bins_depend_on_the_other_images(batch):
    """If the map of one image has another unit, the scores of the three others change."""
    before, after = quantus()["emprt_by_rule"], quantus()["emprt_by_rule_of_a_neighbour"]
    assert (np.abs(after - before)[:3] > 0.001).all()
    maps = batch.maps * np.float32([1, 1, 1, 100])[:, None, None, None]
    metric = EfficientParameterRandomisation()
    np.testing.assert_allclose(
        metric(replace(batch, maps=maps)).values, metric(batch).values, rtol=1e-4, atol=1e-6
    )


def test_smooth_randomisation_equals_quantuss_if_it_smooths_both_maps(
    batch, quantuss_weights, monkeypatch
):
    noise = np.random.default_rng(0).standard_normal((SAMPLES, 28, 28, 1), np.float32)
    noise[-1] = 0  # Quantus's last copy is the image.
    monkeypatch.setattr(sanity_checks, "normal_noise", lambda *_: noise)
    metric = SmoothParameterRandomisation(SAMPLES, 0.02, similarity="rank")
    curves = metric(batch).curves
    rounding = batch.network.runner.rounding
    np.testing.assert_allclose(curves, quantus()["smprt"], rtol=0, atol=rounding)
    # If the maps are given, Quantus compares them, unsmoothed, with smoothed ones.
    assert np.abs(curves - quantus()["smprt_maps_given"]).max() > 0.005


def test_quantus_gives_layers_of_equal_shape_the_same_weights(batch):
    assert quantus()["mprt_conv2_less_conv3"].tolist() == [0]
    with random_networks.fully_random(batch.network, 42) as made:
        layers = [made.model.get_layer(name) for name in ("conv2", "conv3")]
        kernels = [layer.kernel.numpy().ravel() for layer in layers]
    assert abs(np.corrcoef(*kernels)[0, 1]) < 0.1


def test_random_logit_with_ranks_equals_quantuss(batch):
    agree(RandomLogit(1, "rank")(batch).values, "random_logit_rank")


def test_quantuss_structural_similarity_is_of_flattened_maps_and_ours_equals_skimages(batch):
    ours = RandomLogit(1, "ssim")(batch).values
    agree(ours, "skimage_ssim")
    assert np.abs(ours - quantus()["random_logit_ssim"]).max() > 0.01


def test_quantuss_other_class_depends_on_the_position_in_the_batch(batch):
    first, last = quantus()["random_logit_first_and_last"]
    assert abs(first - last) > 0.01
    metric = RandomLogit(1)
    forward, backward = metric(batch).values, metric(batch.take(np.arange(4)[::-1])).values
    np.testing.assert_allclose(forward, backward[::-1], rtol=1e-5)


def test_a_cascade_that_starts_from_a_clone_starts_with_random_weights(batch):
    """Quantus's cascade on TensorFlow starts from `clone_model`, which copies no weights."""
    import keras

    clone = keras.models.clone_model(batch.network.model)
    kernels = [model.get_layer("conv1").kernel.numpy() for model in (clone, batch.network.model)]
    assert not np.allclose(*kernels)
    first = ParameterRandomisation(similarity="rank")(batch).curves[:, 0]
    cascade = random_networks.randomised(batch.network, "cascading", 0)
    _, made = next(cascade)
    np.testing.assert_array_equal(made.model.get_layer("conv1").kernel, kernels[1])
    logits = made.model.get_layer("logits").get_weights()
    clone.get_layer("logits").set_weights(logits)
    maps = Gradient()(mx.Network(clone), batch.images, batch.targets)[..., 0].astype(float)
    ours = Gradient()(made, batch.images, batch.targets)[..., 0].astype(float)
    np.testing.assert_allclose(similarities("rank", batch.relevance, ours), first, atol=1e-5)
    assert np.abs(similarities("rank", batch.relevance, maps) - first).max() > 0.02
