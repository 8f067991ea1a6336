"""One contract for every metric of the registry."""

import dataclasses

import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.interpret.gradients import Gradient
from mnist_xai.quality import METRICS, Metric, Trial
from tests.quality.conftest import Given

every_metric = pytest.mark.parametrize("name", METRICS)


@pytest.fixture(scope="module")
def masks():
    found = np.zeros((5, 28, 28), np.bool_)
    found[:, 8:20, 6:16] = True
    return found


@pytest.fixture(scope="module")
def trial(network, images, masks):
    return Trial.of(network, images, Gradient(), masks=masks)


@pytest.fixture(scope="module")
def scores(trial):
    found = {}

    def score(name):
        if name not in found:
            found[name] = METRICS[name](trial)
        return found[name]

    return score


@every_metric
def test_every_image_has_a_finite_score_in_range(name, trial, scores):
    low, high = METRICS[name].traits.range
    values = scores(name).values
    assert values.shape == (len(trial),)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert low - 1e-9 <= values.min() <= values.max() <= high + 1e-9


@every_metric
def test_a_score_depends_neither_on_the_neighbours_nor_on_the_batch(name, trial, scores, images):
    whole = scores(name).values
    alone = METRICS[name](trial.take(slice(3, 4))).values
    small = mx.Network(trial.network.model, batch_size=2)
    split = METRICS[name](Trial.of(small, images, Gradient(), masks=trial.masks)).values
    np.testing.assert_allclose(alone, whole[3:4], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(split, whole, rtol=1e-4, atol=1e-6)


@every_metric
def test_scores_are_the_same_each_time(name, trial, scores):
    np.testing.assert_array_equal(METRICS[name](trial).values, scores(name).values)


@every_metric
def test_a_dead_map_is_refused_and_leaves_the_others_alone(name, trial, scores, images):
    maps = trial.maps.copy()
    maps[1] = 0
    maps[2, 0, 0, 0] = np.nan
    found = METRICS[name](
        Trial(trial.network, images, trial.targets, trial.method, maps, trial.masks)
    )
    assert found.refused[1] == "its map is zero everywhere"
    assert found.refused[2] == "its map holds NaN or infinite values"
    assert np.isnan(found.values[1:3]).all()
    np.testing.assert_allclose(found.values[[0, 3, 4]], scores(name).values[[0, 3, 4]], rtol=1e-5)


@every_metric
def test_dead_maps_alone_leave_no_score(name, network, images, masks):
    maps = np.zeros((5, 28, 28, 1), np.float32)
    found = METRICS[name](Trial.of(network, images, Given(maps), maps=maps, masks=masks))
    assert np.isnan(found.values).all()
    assert np.isnan(found.mean)
    assert len(found.refused) == 5


@every_metric
def test_masks_are_asked_for_by_name_where_they_are_needed_and_only_there(name, trial, scores):
    blind = dataclasses.replace(trial, masks=None)
    if METRICS[name].traits.needs == "masks":
        with pytest.raises(ValueError, match=r"masks: expected booleans .*; the trial has none"):
            METRICS[name](blind)
    else:
        np.testing.assert_array_equal(METRICS[name](blind).values, scores(name).values)


@every_metric
@pytest.mark.parametrize("marked", [False, True])
def test_a_mask_that_marks_nothing_or_everything_is_refused(name, trial, scores, marked):
    if METRICS[name].traits.needs != "masks":
        return
    masks = trial.masks.copy()
    masks[1] = marked
    found = METRICS[name](dataclasses.replace(trial, masks=masks))
    assert [*found.refused] == [1]
    assert "mask" in found.refused[1]
    assert np.isnan(found.values[1])
    np.testing.assert_array_equal(np.delete(found.values, 1), np.delete(scores(name).values, 1))


@every_metric
def test_the_network_is_not_changed(name, trial, images):
    before = [w.copy() for w in trial.network.model.get_weights()]
    METRICS[name](trial.take(slice(0, 2)))
    for old, new in zip(before, trial.network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@every_metric
def test_a_metric_says_what_it_measures(name):
    traits = METRICS[name].traits
    assert isinstance(METRICS[name], Metric)
    assert traits.measures
    assert traits.misleads
    assert any(c.isdigit() for c in traits.reference)
    assert METRICS[name] == type(METRICS[name])() or name not in traits.measures
    assert hash(METRICS[name]) == hash(METRICS[name])
