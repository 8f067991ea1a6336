"""The contract that every registered metric must satisfy."""

import dataclasses
from functools import cache

import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.interpret.methods.gradients.gradient import Gradient
from mnist_xai.quality import METRICS, ExplainedBatch, Metric
from tests.quality.conftest import Given

every_metric = pytest.mark.parametrize("name", METRICS)
WITH_MASKS = [name for name in METRICS if METRICS[name].about.needs == "masks"]


@pytest.fixture(scope="module")
def masks():
    found = np.zeros((5, 28, 28), np.bool_)
    found[:, 8:20, 6:16] = True
    return found


@pytest.fixture(scope="module")
def batch(network, images, masks):
    return ExplainedBatch.of(network, images, Gradient(), masks=masks)


@pytest.fixture(scope="module")
def split_batch(network, images, masks):
    """The same batch on a network that takes four images at a time."""
    in_fours = mx.Network(network.model, batch_size=4)
    return ExplainedBatch.of(in_fours, images, Gradient(), masks=masks)


@pytest.fixture(scope="module")
def scores(batch):
    """Score the batch by each metric once: several tests look at the same scores."""
    return cache(lambda name: METRICS[name](batch))


@every_metric
def test_every_image_has_a_finite_score_in_range(name, batch, scores):
    low, high = METRICS[name].about.range
    values = scores(name).values
    assert values.shape == (len(batch),)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert low - 1e-9 <= values.min() <= values.max() <= high + 1e-9


@every_metric
def test_a_score_depends_neither_on_other_images_nor_on_the_batch_size(
    name, batch, split_batch, scores
):
    whole = scores(name).values
    alone = METRICS[name](batch.take(slice(3, 4))).values
    split = METRICS[name](split_batch).values
    np.testing.assert_allclose(alone, whole[3:4], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(split, whole, rtol=1e-4, atol=1e-6)


@every_metric
def test_scores_are_reproducible(name, batch, scores):
    np.testing.assert_array_equal(METRICS[name](batch).values, scores(name).values)


@every_metric
def test_zero_and_non_finite_maps_are_refused_and_other_scores_do_not_change(
    name, batch, scores, images
):
    maps = batch.maps.copy()
    maps[1] = 0
    maps[2, 0, 0, 0] = np.nan
    found = METRICS[name](
        ExplainedBatch(batch.network, images, batch.targets, batch.method, maps, batch.masks)
    )
    assert found.refused[1] == "its map is zero everywhere"
    assert found.refused[2] == "its map contains NaN or infinite values"
    assert np.isnan(found.values[1:3]).all()
    np.testing.assert_allclose(found.values[[0, 3, 4]], scores(name).values[[0, 3, 4]], rtol=1e-5)


@every_metric
def test_zero_maps_alone_give_no_score(name, network, images, masks):
    maps = np.zeros((5, 28, 28, 1), np.float32)
    found = METRICS[name](ExplainedBatch.of(network, images, Given(maps), maps=maps, masks=masks))
    assert np.isnan(found.values).all()
    assert np.isnan(found.mean)
    assert len(found.refused) == 5


@every_metric
def test_missing_masks_are_an_error_only_for_metrics_that_need_them(name, batch, scores):
    unmasked = dataclasses.replace(batch, masks=None)
    if METRICS[name].about.needs == "masks":
        with pytest.raises(ValueError, match=r"masks: expected booleans .*; the batch has none"):
            METRICS[name](unmasked)
    else:
        np.testing.assert_array_equal(METRICS[name](unmasked).values, scores(name).values)


@pytest.mark.parametrize("name", WITH_MASKS)
@pytest.mark.parametrize("marked", [False, True])
def test_empty_and_full_masks_are_refused(name, batch, scores, marked):
    masks = batch.masks.copy()
    masks[1] = marked
    found = METRICS[name](dataclasses.replace(batch, masks=masks))
    assert [*found.refused] == [1]
    assert "mask" in found.refused[1]
    assert np.isnan(found.values[1])
    np.testing.assert_array_equal(np.delete(found.values, 1), np.delete(scores(name).values, 1))


@every_metric
def test_the_network_does_not_change(name, batch, images):
    before = [w.copy() for w in batch.network.model.get_weights()]
    METRICS[name](batch.take(slice(0, 2)))
    for old, new in zip(before, batch.network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@every_metric
def test_a_metric_describes_itself_and_can_be_hashed(name):
    about = METRICS[name].about
    assert isinstance(METRICS[name], Metric)
    assert about.shows
    assert about.caveat
    assert any(c.isdigit() for c in about.reference)
    twin = dataclasses.replace(METRICS[name])
    assert twin == METRICS[name]
    assert hash(twin) == hash(METRICS[name])
