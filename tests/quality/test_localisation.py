import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mnist_xai.quality import (
    METRICS,
    LocalisationAUC,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    TopKIntersection,
)
from tests.quality.conftest import batch_of

ALL = [METRICS[name] for name in METRICS if METRICS[name].about.family == "localisation"]
every_metric = pytest.mark.parametrize("metric", ALL, ids=lambda m: type(m).__name__)
PLACES = 28 * 28


@pytest.fixture
def masks():
    """Boxes of 60 places."""
    found = np.zeros((4, 28, 28), np.bool_)
    for k, mask in enumerate(found):
        mask[5 + k : 15 + k, 9:15] = True
    return found


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(size=(4, 28, 28, 1)).astype(np.float32)


def values(network, metric, maps, masks):
    return metric(batch_of(network, np.float32(maps), masks=masks)).values


# --- Against the papers' formulas ------------------------------------------------------------


def slow_top(relevance, mask, k):
    order = sorted(range(PLACES), key=lambda place: -relevance.ravel()[place])
    return sum(mask.ravel()[place] for place in order[:k])


def test_counts_of_the_top_are_those_of_a_sorted_list(network, maps, masks):
    rows = list(zip(maps, masks, strict=True))
    for k in (1, 50, PLACES):
        expected = [slow_top(r, m, k) / k for r, m in rows]
        np.testing.assert_allclose(values(network, TopKIntersection(k), maps, masks), expected)
    expected = [slow_top(r, m, 60) / 60 for r, m in rows]
    assert min(expected) > 0
    np.testing.assert_allclose(values(network, RelevanceRank(), maps, masks), expected)


def test_the_mass_is_that_of_the_positive_relevance(network, maps, masks):
    expected = []
    for relevance, mask in zip(maps[..., 0].astype(float), masks, strict=True):
        inside = [r for r in relevance[mask] if r > 0]
        expected.append(sum(inside) / sum(r for r in relevance.ravel() if r > 0))
    np.testing.assert_allclose(values(network, RelevanceMass(), maps, masks), expected)
    np.testing.assert_allclose(
        values(network, RelevanceMass(), np.where(maps < 0, 9 * maps, maps), masks), expected
    )


@pytest.mark.parametrize("decimals", [7, 0])
def test_the_auc_is_scikit_learns_also_with_ties(network, maps, masks, decimals):
    maps = np.round(maps, decimals)
    expected = [roc_auc_score(m.ravel(), r.ravel()) for m, r in zip(masks, maps, strict=True)]
    np.testing.assert_allclose(values(network, LocalisationAUC(), maps, masks), expected)


def test_the_pointing_game_is_hit_within_its_tolerance(network):
    maps, masks = np.zeros((3, 28, 28, 1)), np.zeros((3, 28, 28), np.bool_)
    masks[:, 10:15, 10:15] = True
    for relevance, place in zip(maps, [(12, 12), (17, 18), (14, 17)], strict=True):
        relevance[place] = 1  # Inside; 5 pixels off, 3 down and 4 right; 3 right.
    maps[:, 20, 20] = -2
    for tolerance, hits in ((0, [1, 0, 0]), (2.9, [1, 0, 0]), (3, [1, 0, 1]), (5, [1, 1, 1])):
        assert values(network, PointingGame(tolerance), maps, masks).tolist() == hits


# --- Maps whose score is known ---------------------------------------------------------------


@every_metric
def test_the_mask_is_the_best_map_and_its_opposite_the_worst(network, maps, masks, metric):
    best = masks[..., None] + 0.1 * np.abs(maps) * masks[..., None]
    np.testing.assert_allclose(values(network, metric, best, masks), 1)
    worst = (0.1 + np.abs(maps)) * ~masks[..., None]
    np.testing.assert_allclose(values(network, metric, worst, masks), 0, atol=1e-12)


@every_metric
@pytest.mark.parametrize("unit", [1e-20, 1e10])
def test_the_unit_of_a_map_does_not_count(network, maps, masks, metric, unit):
    expected = values(network, metric, maps, masks)
    np.testing.assert_allclose(values(network, metric, unit * maps, masks), expected, rtol=1e-6)


def test_ties_count_as_a_random_choice_does_on_average(network, masks):
    maps = np.zeros((4, 28, 28, 1))
    maps[:, :, 12] = 1  # 28 places, 10 of them in the mask; then come 784 - 28 zeros.
    assert values(network, PointingGame(), maps, masks) == pytest.approx(10 / 28)
    assert values(network, TopKIntersection(7), maps, masks) == pytest.approx(10 / 28)
    zeros = 50 / (PLACES - 28)  # In the mask, of those that share rank 29.
    assert values(network, RelevanceRank(), maps, masks) == pytest.approx(
        (10 + (60 - 28) * zeros) / 60
    )
    rng = np.random.default_rng(0)
    tossed = [maps + 1e-4 * rng.random(maps.shape) for _ in range(200)]
    mean = np.mean([values(network, RelevanceRank(), m, masks) for m in tossed])
    assert mean == pytest.approx((10 + 32 * zeros) / 60, abs=0.01)


def test_channels_are_summed_before_anything_is_compared(masks):
    import mnist_xai as mx
    from tests.references import networks

    network = mx.Network(networks.colour())
    maps = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    for metric in ALL:
        both = [
            values(network, metric, m, masks[:, 4:20, 4:20])
            for m in (maps, maps.sum(-1, keepdims=True))
        ]
        np.testing.assert_allclose(*both, rtol=1e-5)


# --- What has no score -----------------------------------------------------------------------


@every_metric
def test_masks_that_tell_no_places_apart_are_refused(network, maps, masks, metric):
    whole = values(network, metric, maps, masks)
    masks[0], masks[2] = False, True
    scores = metric(batch_of(network, maps, masks=masks))
    assert scores.refused == {0: "its mask is empty", 2: "its mask covers the whole image"}
    assert np.isnan(scores.values[[0, 2]]).all()
    np.testing.assert_array_equal(scores.values[[1, 3]], whole[[1, 3]])


def test_a_tolerance_that_reaches_everywhere_is_refused_and_widens_no_empty_mask(
    network, maps, masks
):
    masks[0] = False
    scores = PointingGame(40)(batch_of(network, maps, masks=masks))
    assert scores.refused == {
        0: "its mask is empty",
        **dict.fromkeys((1, 2, 3), "its mask covers the whole image"),
    }


@every_metric
def test_maps_that_point_nowhere_are_refused(network, maps, masks, metric):
    maps[1] = 0.5
    maps[2] = -np.abs(maps[2])
    maps[2, 0] = 0
    refused = metric(batch_of(network, maps, masks=masks)).refused
    only_order = isinstance(metric, TopKIntersection | RelevanceRank | LocalisationAUC)
    constant, nothing = "its map is the same everywhere", "it has no positive relevance"
    expected = {
        PointingGame: {1: constant, 2: nothing},
        RelevanceMass: {2: nothing},  # A constant map has the mask's share: that is right.
    }
    assert refused == expected.get(type(metric), {1: constant})
    assert only_order == (2 not in refused)


def test_parameters_out_of_range_are_refused_by_name(network, maps, masks):
    with pytest.raises(ValueError, match="k: expected at least 1; got 0"):
        TopKIntersection(0)
    with pytest.raises(ValueError, match="k: expected at most the 784 pixels of an image; got 785"):
        values(network, TopKIntersection(785), maps, masks)
    for tolerance in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="tolerance: expected at .*; got"):
            PointingGame(tolerance)
