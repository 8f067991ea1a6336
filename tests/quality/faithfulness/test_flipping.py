"""Compare curves with the papers' formulas and with networks whose curves are known."""

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.perturbation.features import Grid, Patches, Pixels, Segmentation
from mnist_xai.quality import (
    IROF,
    METRICS,
    ROAD,
    Baseline,
    Blur,
    Insertion,
    NoisyImputation,
    PixelFlipping,
    RegionPerturbation,
    Selectivity,
    Uniform,
)
from mnist_xai.quality.faithfulness.curves import _exchanged_images
from tests.quality.conftest import batch_of

SIDE = 8
N = SIDE * SIDE


@pytest.fixture(scope="module")
def linear():
    """Return logits `w x + 9`: each pixel's contribution is known, and scores are positive."""
    model = keras.Sequential([keras.Input((SIDE, SIDE, 2)), layers.Flatten(), layers.Dense(4)])
    weights = np.random.default_rng(0).normal(0, 0.3, (2 * N, 4)).astype(np.float32)
    model.layers[-1].set_weights([weights, np.full(4, 9, np.float32)])
    return mx.Network(model)


@pytest.fixture(scope="module")
def constant():
    """Return a network that ignores its input."""
    model = keras.Sequential([keras.Input((SIDE, SIDE, 1)), layers.Flatten(), layers.Dense(3)])
    model.layers[-1].set_weights([np.zeros((N, 3)), np.array([1.0, 2.0, 0.0])])
    return mx.Network(model)


@pytest.fixture(scope="module")
def contributions(linear):
    """Return images, and what each value adds to the logit of class 2."""
    images = np.random.default_rng(1).random((3, SIDE, SIDE, 2), np.float32)
    return images, images * linear.model.layers[-1].get_weights()[0][:, 2].reshape(SIDE, SIDE, 2)


def class_2(network, images, maps):
    return batch_of(network, maps, images, targets=np.full(len(images), 2))


def curve_slowly(batch, row, labels, bounds, fill, *, mean=False, least=False, insert=False):
    """Return the scores of images made one by one; features are sorted by value, then by number."""
    features = range(labels.max() + 1)
    relevance = batch.maps[row].astype(np.float64).sum(axis=-1)
    parts = [relevance[labels == f] for f in features]
    value = [part.mean() if mean else part.sum() for part in parts]
    ordered = sorted(features, key=lambda f: (value[f] if least else -value[f], f))
    image = batch.images[row]
    start, end = (fill, image) if insert else (image, fill)
    scores = []
    for count in bounds:
        x = start.copy()
        for f in ordered[:count]:
            x[labels == f] = end[labels == f]
        scores.append(
            batch.network.scores(x[None], batch.targets[row : row + 1], score=batch.score)
        )
    return np.concatenate(scores).astype(np.float64)


def area_slowly(curve, bounds):
    pairs = zip(range(len(bounds)), range(1, len(bounds)), strict=False)
    return sum((curve[a] + curve[b]) / 2 * (bounds[b] - bounds[a]) for a, b in pairs) / bounds[-1]


# --- The papers' formulas, slowly -----------------------------------------------------------------


@pytest.fixture(scope="module")
def colour():
    model = keras.Sequential(
        [
            keras.Input((7, 9, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.4, w.shape) for w in model.get_weights()])
    return mx.Network(model)


@pytest.fixture(scope="module", params=["logit", "probability"])
def drawn(request, colour):
    """Return images with many black pixels, also in single channels, and maps with ties."""
    rng = np.random.default_rng(5)
    images = np.where(rng.random((3, 7, 9, 3)) < 0.8, 0, rng.random((3, 7, 9, 3))).astype("f")
    maps = rng.integers(-3, 4, (3, 7, 9, 1)).astype(np.float32)
    return batch_of(colour, maps, images, score=request.param)


BLACK = np.zeros((7, 9, 3), np.float32)
PIXELS, PATCHES = Pixels().labels(7, 9), Patches(4).labels(7, 9)


def assert_scores(found, values, curves):
    np.testing.assert_allclose(found.curves, curves, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.values, values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("step", "bounds"), [(9, range(0, 64, 9)), (25, (0, 25, 50, 63))])
@pytest.mark.parametrize("order", ["most", "least"])
def test_pixel_flipping_is_the_area_under_the_deletion_curve(drawn, step, bounds, order):
    given = (PIXELS, list(bounds), BLACK)
    curves = [curve_slowly(drawn, row, *given, least=order == "least") for row in range(3)]
    found = PixelFlipping(None if step == 9 else step, order)(
        drawn
    )  # The default is a row: 9 pixels.
    assert_scores(found, [area_slowly(c, list(bounds)) for c in curves], curves)


def test_insertion_is_the_area_under_the_insertion_curve_from_any_start(drawn):
    bounds = [0, 20, 40, 60, 63]
    for start in (Baseline(0.3), Blur(1.5)):
        fills = np.broadcast_to(next(start.fills(drawn.images)), drawn.images.shape)
        curves = [
            curve_slowly(drawn, row, PIXELS, bounds, fills[row], insert=True) for row in range(3)
        ]
        areas = [area_slowly(c, bounds) for c in curves]
        assert_scores(Insertion(20, start)(drawn), areas, curves)


def test_selectivity_is_the_area_under_the_curve_of_patches(drawn):
    bounds = list(range(7))
    curves = [curve_slowly(drawn, row, PATCHES, bounds, BLACK) for row in range(3)]
    assert_scores(Selectivity()(drawn), [area_slowly(c, bounds) for c in curves], curves)


def test_region_perturbation_is_the_mean_drop_over_steps_and_draws(drawn):
    noise = np.random.default_rng(4)
    fills = [noise.random((1, 7, 9, 3), np.float32)[0] for _ in range(2)]
    curves = np.mean(
        [[curve_slowly(drawn, r, PATCHES, range(5), f) for r in range(3)] for f in fills], axis=0
    )
    found = RegionPerturbation(steps=4, removal=Uniform(2, seed=4))(drawn)
    drops = [sum(curve[0] - s for s in curve) / 5 for curve in curves]
    assert_scores(found, drops, curves)


def test_irof_is_the_area_over_the_curve_of_relative_scores(drawn):
    mask = np.digitize(np.arange(63), [5, 20, 22, 50]).reshape(7, 9)
    labels, bounds = mask, list(range(6))
    curves = [curve_slowly(drawn, r, labels, bounds, BLACK, mean=True) for r in range(3)]
    found = IROF(Segmentation(mask))(drawn)
    expected = [1 - area_slowly(c / c[0], bounds) for c in curves]
    good = [row for row in range(3) if row not in found.refused]
    assert good
    np.testing.assert_allclose(found.values[good], np.array(expected)[good], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("order", ["most", "least"])
def test_road_counts_the_predictions_that_remain(drawn, order):
    removal, hits = NoisyImputation(0.05, seed=2), np.zeros((3, 3))
    for row in range(3):
        value = drawn.maps[row, ..., 0].ravel() * (1 if order == "least" else -1)
        ordered = sorted(range(63), key=lambda p: (value[p], p))
        for k, count in enumerate((6, 31, 56)):
            removed = np.isin(PIXELS, ordered[:count])
            x = removal.impute(drawn.images[row], removed[None])
            z = np.asarray(drawn.network.runner.logits(x))
            hits[row, k] = z.argmax() == drawn.targets[row]
    assert_scores(ROAD((0.1, 0.5, 0.9), order, removal)(drawn), hits.mean(axis=1), hits)


def test_shares_are_rounded_down_to_whole_pixels(drawn):
    counted = []

    class Counting(NoisyImputation):
        def impute(self, image, removed):
            counted.append(removed.sum(axis=(1, 2)).tolist())
            return super().impute(image, removed)

    assert 7 / 63 * 7 * 9 < 7  # True in floating point only.
    ROAD((0.01, 7 / 63, 0.5), removal=Counting())(drawn.take(slice(0, 1)))
    assert counted == [[0, 7, 31]]


# --- Networks whose curves are known --------------------------------------------------------------


def test_on_a_linear_network_the_contributions_have_a_curve_in_closed_form(linear, contributions):
    images, parts = contributions
    batch = class_2(linear, images, parts)
    falls = np.sort(parts.astype(np.float64).sum(axis=-1).reshape(3, -1), axis=1)[:, ::-1]
    whole = batch.scores(images)
    expected = whole - ((N - np.arange(N) - 0.5) / N * falls).sum(axis=1)
    np.testing.assert_allclose(PixelFlipping(step=1)(batch).values, expected, rtol=1e-5)
    # Insertion in the opposite order is deletion backwards.
    opposite = class_2(linear, images, -parts)
    inserted = Insertion(step=1)(opposite).curves[:, ::-1]
    np.testing.assert_allclose(inserted, PixelFlipping(step=1)(batch).curves, rtol=1e-4)


METRICS_OF_ORDER = (
    PixelFlipping(step=1),
    PixelFlipping(step=1, order="least"),
    Insertion(step=1),
    Selectivity(2),
    RegionPerturbation(2, removal=Baseline()),
    RegionPerturbation(2, order="least", removal=Baseline()),
    IROF(Grid(4)),
)


@pytest.mark.parametrize("metric", METRICS_OF_ORDER)
def test_the_correct_map_has_the_best_score_and_its_opposite_the_worst(
    linear, contributions, metric
):
    images, parts = contributions
    rng = np.random.default_rng(0)
    best, worst, *others = (
        metric(class_2(linear, images, maps)).values
        for maps in (parts, -parts, *(rng.normal(size=parts.shape) for _ in range(10)))
    )
    sign = 1 if metric.about.higher_is_better else -1
    for other in others:
        assert (sign * best > sign * other).all()
        assert (sign * worst < sign * other).all()


def test_road_rewards_maps_of_the_pixels_that_decide():
    """Only the bright middle column counts: without it class 1 wins."""
    model = keras.Sequential([keras.Input((SIDE, SIDE, 1)), layers.Flatten(), layers.Dense(2)])
    weights = np.zeros((SIDE, SIDE, 1, 2))
    weights[:, 4, 0, 0] = 1
    model.layers[-1].set_weights([weights.reshape(N, 2), np.array([0, SIDE / 2])])
    images = np.zeros((1, SIDE, SIDE, 1), np.float32)
    images[:, :, 4] = 1
    batch = batch_of(mx.Network(model), weights[None, ..., 0], images)
    assert ROAD()(batch).values == [0]  # A tenth of all pixels contains 6 of the column's 8.
    assert ROAD(order="least")(batch).values == [1]  # The column is imputed from itself.
    assert ROAD()(batch_of(mx.Network(model), -weights[None, ..., 0], images)).values == [1]


def test_a_score_that_never_falls_has_no_area_over_its_curve(constant):
    maps = np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 1)).astype(np.float32)
    batch = batch_of(constant, maps)
    assert IROF()(batch).values == pytest.approx([0, 0], abs=1e-7)
    assert RegionPerturbation()(batch).values == pytest.approx([0, 0], abs=1e-7)
    assert PixelFlipping()(batch).values == pytest.approx([2, 2])
    assert ROAD()(batch).values.tolist() == [1, 1]


def test_areas_under_probabilities_lie_between_0_and_1(network, images):
    maps = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    batch = batch_of(network, maps, images, score="probability")
    for metric in (PixelFlipping(), Insertion(), Selectivity()):
        assert (metric(batch).values > 0).all()
        assert (metric(batch).values < 1).all()
    logits = batch_of(network, maps, images)
    np.testing.assert_array_equal(ROAD()(batch).values, ROAD()(logits).values)


# --- Ties, equal images, traces -------------------------------------------------------------------


def test_ties_are_broken_by_row_and_then_by_column(linear, contributions):
    images, parts = contributions
    tied = np.zeros((3, SIDE, SIDE, 1), np.float32)
    tied[:, 4:] = (
        1  # Two values: first the lower half, then the upper half, each in the order of pixels.
    )
    ordered = np.roll(np.arange(N), -N // 2)
    distinct = np.empty(N)
    distinct[ordered] = -np.arange(N)
    distinct = np.broadcast_to(distinct.reshape(SIDE, SIDE, 1), tied.shape)
    for metric in (PixelFlipping(step=1), Insertion(step=5), Selectivity(2)):
        found, expected = (
            metric(class_2(linear, images, maps)).curves for maps in (tied, distinct)
        )
        if metric != Selectivity(2):
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found[:, 8:], expected[:, 8:], rtol=1e-6)
    least = PixelFlipping(step=1, order="least")
    first = least(class_2(linear, images, tied)).curves[:, 1]
    removed = parts[:, 0, 0].sum(axis=-1)
    whole = linear.scores(images, np.full(3, 2))
    np.testing.assert_allclose(first, whole - removed, rtol=1e-5)


def test_steps_that_change_no_pixel_are_not_scored_again(network, monkeypatch):
    from mnist_xai.quality.faithfulness import curves

    images = np.zeros((2, 28, 28, 1), np.float32)
    images[0, 10:12, 10:15] = 0.5
    images[1, 3, 3] = 1
    maps = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    scored = []
    whole = curves._exchanged_scores

    def counted(*given):
        scored.extend(given[5].tolist())
        return whole(*given)

    monkeypatch.setattr(curves, "_exchanged_scores", counted)
    found = PixelFlipping(step=1)(batch_of(network, maps, images))
    assert [scored.count(row) for row in (0, 1)] == [11, 2]
    assert found.curves.shape == (2, 785)
    assert len(np.unique(found.curves[1])) == 2


def test_all_removals_share_one_traced_pass(images):
    network = mx.Network(mx.build_model("cnn", seed=0), batch_size=3)
    maps = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    batch = batch_of(network, maps, images)
    for metric in (PixelFlipping(), PixelFlipping(100), Insertion(start=Blur()), IROF()):
        metric(batch)
        metric(batch.take(slice(0, 2)))
    counts = [n for key, n in network.passes.traces().items() if _exchanged_images in key]
    assert counts == [1]


# --- Refusals -------------------------------------------------------------------------------------

OURS = (
    "pixel_flipping",
    "insertion",
    "region_perturbation",
    "road",
    "road_least",
    "selectivity",
    "irof",
)


@pytest.mark.parametrize("name", OURS)
def test_a_constant_map_is_refused_and_other_scores_do_not_change(name, network, images):
    maps = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    whole = METRICS[name](batch_of(network, maps, images))
    maps[1] = 0.3
    found = METRICS[name](batch_of(network, maps, images))
    assert found.refused == {
        1: "its map has the same value for every feature, so they have no order"
    }
    assert np.isnan(found.values[1])
    assert np.isnan(found.curves[1]).all()
    rest = [0, 2, 3, 4]
    np.testing.assert_allclose(found.values[rest], whole.values[rest], rtol=1e-5)


@pytest.mark.parametrize("name", OURS)
def test_infinite_maps_are_refused_without_a_warning(name, network, images):
    maps = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    maps[0, 0, :2, 0] = np.inf, -np.inf
    found = METRICS[name](batch_of(network, maps, images))
    assert found.refused == {0: "its map contains NaN or infinite values"}


def test_an_image_that_equals_its_filling_is_refused(network, images):
    blank = images.copy()
    blank[2] = 0.25
    maps = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    batch = batch_of(network, maps, blank)
    fill = Baseline(0.25)
    for metric in (
        PixelFlipping(removal=fill),
        Insertion(start=fill),
        Selectivity(removal=fill),
        RegionPerturbation(removal=fill),
        IROF(removal=fill),
    ):
        assert list(metric(batch).refused) == [2]
        assert "removal changes nothing" in metric(batch).refused[2]
        assert not PixelFlipping()(batch).refused
    assert ROAD()(batch).refused == {
        2: "its image has a single colour, so imputation changes nothing"
    }


def test_a_share_of_a_score_below_zero_is_refused(network, images):
    maps = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    lowest = network.logits(images).argmin(axis=1)
    found = IROF()(batch_of(network, maps, images, targets=lowest))
    assert network.logits(images).min(axis=1).max() < 0
    assert set(found.refused.values()) == {
        "its score is not positive, so a share of it has no meaning"
    }
    assert len(found.refused) == 5
    probabilities = IROF()(batch_of(network, maps, images, targets=lowest, score="probability"))
    assert np.isfinite(probabilities.values).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PixelFlipping(step=0), "step: expected at least 1; got 0"),
        (lambda: PixelFlipping(order="morf"), "order: expected most or least; got 'morf'"),
        (lambda: Insertion(step=-1), "step: expected at least 1; got -1"),
        (lambda: Selectivity(0), "side: expected at least 1; got 0"),
        (lambda: RegionPerturbation(steps=0), "steps: expected at least 1; got 0"),
        (lambda: ROAD(()), r"shares: expected shares in \(0, 1\); got \(\)"),
        (lambda: ROAD((0.5, 1)), r"shares: expected shares in \(0, 1\); got \(0.5, 1\)"),
        (lambda: ROAD(order="lerf"), "order: expected most or least; got 'lerf'"),
    ],
)
def test_errors_name_the_hyper_parameter_that_is_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_segments_of_another_size_are_refused_before_any_work(network, images):
    batch = batch_of(network, images, images)
    with pytest.raises(ValueError, match="mask: expected the images' size"):
        IROF(Segmentation([[0, 1], [2, 3]]))(batch)


def test_the_opposite_order_has_the_opposite_better_direction():
    assert not PixelFlipping().about.higher_is_better
    assert PixelFlipping(order="least").about.higher_is_better
    assert RegionPerturbation().about.higher_is_better
    assert not RegionPerturbation(order="least").about.higher_is_better
    assert METRICS["road_least"].about.higher_is_better
