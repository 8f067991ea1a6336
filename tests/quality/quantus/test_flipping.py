"""Compare our curves of `cnn` with Quantus's, and show where Quantus differs from the papers."""

from pathlib import Path

import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.interpret.methods.perturbation.features import Grid
from mnist_xai.quality import (
    IROF,
    ROAD,
    Baseline,
    ExplainedBatch,
    NoisyImputation,
    PixelFlipping,
    RegionPerturbation,
    Selectivity,
    Uniform,
)
from tests.quality.conftest import Given
from tests.references import networks

FILE = Path(__file__).parents[2] / "references" / "quantus_flipping.npz"


@pytest.fixture(scope="module")
def quantus():
    with np.load(FILE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def batch(quantus):
    return batch_with_score(quantus, "logit")


def batch_with_score(quantus, score):
    network = mx.Network(networks.cnn())
    maps = quantus["maps"]
    batch = ExplainedBatch.of(network, quantus["images"], Given(maps), maps=maps, score=score)
    np.testing.assert_array_equal(batch.targets, quantus["targets"])
    return batch


def agree(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# --- Where Quantus follows the paper --------------------------------------------------------------


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_pixel_flipping_equals_quantuss_curve_after_the_whole_image(quantus, score):
    batch = batch_with_score(quantus, score)
    curves = PixelFlipping()(batch).curves
    agree(curves[:, 1:], quantus["pixel_flipping" + "_probability" * (score == "probability")])
    agree(curves[:, 0], batch.scores(batch.images))


@pytest.mark.parametrize(("order", "key"), [("most", "morf"), ("least", "lerf")])
def test_region_perturbation_has_quantus_drops(quantus, batch, order, key):
    found = RegionPerturbation(order=order, removal=Baseline())(batch)
    drops = quantus[f"region_perturbation_{key}"]
    agree(found.curves[:, :1] - found.curves[:, 1:], drops)
    agree(
        found.values, drops.sum(axis=1) / 50
    )  # 50 drops with that of the whole image, which is 0.


def test_region_perturbation_with_shared_noise_has_quantus_drops(quantus, batch):
    curves = RegionPerturbation(removal=Uniform(draws=1))(batch).curves
    agree(curves[:, :1] - curves[:, 1:], quantus["region_perturbation_noise"])


@pytest.mark.parametrize("side", [4, 7])
def test_selectivity_has_quantus_curve(quantus, batch, side):
    agree(Selectivity(side)(batch).curves[:, 1:], quantus[f"selectivity_{side}"])


def test_road_has_quantus_hits_and_imputed_image(quantus, batch):
    np.testing.assert_array_equal(ROAD()(batch).curves, quantus["road_hits"])
    assert 0 < quantus["road_hits"].mean() < 1
    order = np.argsort(-batch.maps[0].ravel())
    removed = np.isin(np.arange(784), order[:392]).reshape(1, 28, 28)
    found = NoisyImputation().impute(batch.images[0], removed)[0, ..., 0]
    agree(found, quantus["road_imputed"])


# --- Where it does not ----------------------------------------------------------------------------


def test_quantus_reports_road_of_its_first_batch_only(quantus, batch):
    ours = ROAD()(batch).curves
    np.testing.assert_allclose(quantus["road"], ours.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(quantus["road_two_at_a_time"], ours[:2].mean(axis=0), atol=1e-6)
    assert np.abs(quantus["road_two_at_a_time"] - ours.mean(axis=0)).max() > 0.1


def test_quantus_gives_an_area_over_a_curve_that_never_falls(quantus, batch):
    curves = IROF()(batch).curves
    ratios = curves / curves[:, :1]
    steps = ratios.shape[1] - 1
    # Its curve has L points, so L - 1 steps. It subtracts the area from L and does not divide.
    agree(quantus["irof"], steps - np.trapezoid(ratios[:, 1:], axis=1))
    paper = 1 - np.trapezoid(ratios, axis=1) / steps
    agree(IROF()(batch).values, paper)
    assert quantus["irof_unchanged"].tolist() == [1, 1, 1]
    assert 1 - np.trapezoid(np.ones(steps + 1)) / steps == pytest.approx(0)


def test_a_score_of_quantus_irof_depends_on_the_other_images(quantus, batch):
    alone = quantus["irof_alone"]
    np.testing.assert_allclose(quantus["irof_with_equals"], alone, rtol=1e-5)
    assert abs(quantus["irof_with_finer"] - alone) > 0.1  # The other images have more segments.
    of_mean = "irof_{}_of_their_mean".format
    assert abs(quantus[of_mean("with_equals")] - quantus[of_mean("alone")]) > 1e-3
    ours = IROF(Grid(2))
    agree(ours(batch.take(slice(0, 1))).values, ours(batch).values[:1])


def test_quantus_fills_a_patch_with_one_grey_although_the_paper_draws_every_pixel(quantus):
    assert [len(np.unique(patch)) for patch in quantus["uniform_patch"]] == [1, 1, 1]
    noise = next(Uniform().fills(np.zeros((3, 28, 28, 1), np.float32)))
    assert len(np.unique(noise[0, :4, :4])) == 16


def test_quantus_calls_a_smaller_drop_better(quantus, batch):
    """A correct map makes the score fall: its drops are larger, not smaller."""
    assert str(quantus["region_direction"]) == "lower"
    metric = RegionPerturbation(removal=Baseline())
    bright = ExplainedBatch.of(batch.network, batch.images, batch.method, maps=batch.images)
    dark = ExplainedBatch.of(batch.network, batch.images, batch.method, maps=-batch.images)
    assert (metric(bright).values > metric(dark).values).all()
    assert metric.about.higher_is_better
