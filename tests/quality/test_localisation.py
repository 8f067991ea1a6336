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
PIXELS = 28 * 28


@pytest.fixture
def masks():
    """Return masks with boxes of 60 pixels."""
    masks = np.zeros((4, 28, 28), np.bool_)
    for k, mask in enumerate(masks):
        mask[5 + k : 15 + k, 9:15] = True
    return masks


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(size=(4, 28, 28, 1)).astype(np.float32)


def values(network, metric, maps, masks):
    return metric(batch_of(network, np.float32(maps), masks=masks)).values


# --- Against the papers' formulas -----------------------------------------------------------------


def slow_top(relevance, mask, k):
    order = sorted(range(PIXELS), key=lambda pixel: -relevance.ravel()[pixel])
    return sum(mask.ravel()[pixel] for pixel in order[:k])


def test_pixels_in_the_top_are_counted_as_in_a_sorted_list(network, maps, masks):
    rows = list(zip(maps, masks, strict=True))
    for k in (1, 50, PIXELS):
        expected = [slow_top(r, m, k) / k for r, m in rows]
        np.testing.assert_allclose(values(network, TopKIntersection(k), maps, masks), expected)
    expected = [slow_top(r, m, 60) / 60 for r, m in rows]
    assert min(expected) > 0
    np.testing.assert_allclose(values(network, RelevanceRank(), maps, masks), expected)


def test_relevance_mass_counts_positive_relevance_only(network, maps, masks):
    expected = []
    for relevance, mask in zip(maps[..., 0].astype(float), masks, strict=True):
        inside = [r for r in relevance[mask] if r > 0]
        expected.append(sum(inside) / sum(r for r in relevance.ravel() if r > 0))
    np.testing.assert_allclose(values(network, RelevanceMass(), maps, masks), expected)
    np.testing.assert_allclose(
        values(network, RelevanceMass(), np.where(maps < 0, 9 * maps, maps), masks), expected
    )


@pytest.mark.parametrize("decimals", [7, 0])
def test_the_auc_equals_scikit_learns_with_and_without_ties(network, maps, masks, decimals):
    maps = np.round(maps, decimals)
    expected = [roc_auc_score(m.ravel(), r.ravel()) for m, r in zip(masks, maps, strict=True)]
    np.testing.assert_allclose(values(network, LocalisationAUC(), maps, masks), expected)


def test_the_pointing_game_counts_hits_within_its_tolerance(network):
    maps, masks = np.zeros((3, 28, 28, 1)), np.zeros((3, 28, 28), np.bool_)
    masks[:, 10:15, 10:15] = True
    for relevance, pixel in zip(maps, [(12, 12), (17, 18), (14, 17)], strict=True):
        relevance[pixel] = 1  # Distances from the mask: 0; 5 (3 down and 4 right); 3.
    maps[:, 20, 20] = -2
    for tolerance, hits in ((0, [1, 0, 0]), (2.9, [1, 0, 0]), (3, [1, 0, 1]), (5, [1, 1, 1])):
        assert values(network, PointingGame(tolerance), maps, masks).tolist() == hits


# --- Maps whose score is known --------------------------------------------------------------------


@every_metric
def test_the_mask_is_the_best_map_and_its_opposite_the_worst(network, maps, masks, metric):
    best = masks[..., None] + 0.1 * np.abs(maps) * masks[..., None]
    np.testing.assert_allclose(values(network, metric, best, masks), 1)
    worst = (0.1 + np.abs(maps)) * ~masks[..., None]
    np.testing.assert_allclose(values(network, metric, worst, masks), 0, atol=1e-12)


@every_metric
@pytest.mark.parametrize("unit", [1e-20, 1e10])
def test_the_unit_of_a_map_makes_no_difference(network, maps, masks, metric, unit):
    expected = values(network, metric, maps, masks)
    np.testing.assert_allclose(values(network, metric, unit * maps, masks), expected, rtol=1e-6)


def test_ties_count_as_a_random_choice_on_average(network, masks):
    maps = np.zeros((4, 28, 28, 1))
    maps[:, :, 12] = 1  # 28 pixels, 10 of them in the mask; then come 784 - 28 zeros.
    assert values(network, PointingGame(), maps, masks) == pytest.approx(10 / 28)
    assert values(network, TopKIntersection(7), maps, masks) == pytest.approx(10 / 28)
    zeros = 50 / (PIXELS - 28)  # Share of the mask among the pixels tied at rank 29.
    assert values(network, RelevanceRank(), maps, masks) == pytest.approx(
        (10 + (60 - 28) * zeros) / 60
    )
    rng = np.random.default_rng(0)
    tossed = [maps + 1e-4 * rng.random(maps.shape) for _ in range(200)]
    mean = np.mean([values(network, RelevanceRank(), m, masks) for m in tossed])
    assert mean == pytest.approx((10 + 32 * zeros) / 60, abs=0.01)


def test_channels_are_summed_before_scoring(masks):
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


# --- Images without a score -----------------------------------------------------------------------


@every_metric
def test_empty_and_full_masks_are_refused(network, maps, masks, metric):
    whole = values(network, metric, maps, masks)
    masks[0], masks[2] = False, True
    scores = metric(batch_of(network, maps, masks=masks))
    assert scores.refused == {0: "its mask is empty", 2: "its mask covers the whole image"}
    assert np.isnan(scores.values[[0, 2]]).all()
    np.testing.assert_array_equal(scores.values[[1, 3]], whole[[1, 3]])


def test_a_tolerance_that_covers_the_image_is_refused_and_an_empty_mask_stays_empty(
    network, maps, masks
):
    masks[0] = False
    scores = PointingGame(40)(batch_of(network, maps, masks=masks))
    assert scores.refused == {
        0: "its mask is empty",
        **dict.fromkeys((1, 2, 3), "its mask covers the whole image"),
    }


@every_metric
def test_constant_maps_and_maps_without_positive_relevance_are_refused(
    network, maps, masks, metric
):
    maps[1] = 0.5
    maps[2] = -np.abs(maps[2])
    maps[2, 0] = 0
    refused = metric(batch_of(network, maps, masks=masks)).refused
    only_order = isinstance(metric, TopKIntersection | RelevanceRank | LocalisationAUC)
    constant, nothing = "its map is the same everywhere", "it has no positive relevance"
    expected = {
        PointingGame: {1: constant, 2: nothing},
        RelevanceMass: {2: nothing},  # The mass of a constant map is the mask's share.
    }
    assert refused == expected.get(type(metric), {1: constant})
    assert only_order == (2 not in refused)


def test_errors_name_the_parameter_that_is_out_of_range(network, maps, masks):
    with pytest.raises(ValueError, match="k: expected at least 1; got 0"):
        TopKIntersection(0)
    with pytest.raises(ValueError, match="k: expected at most the 784 pixels of an image; got 785"):
        values(network, TopKIntersection(785), maps, masks)
    for tolerance in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="tolerance: expected at .*; got"):
            PointingGame(tolerance)
