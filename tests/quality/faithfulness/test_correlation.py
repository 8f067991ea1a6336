import keras
import numpy as np
import pytest
from keras import layers
from scipy import stats

import mnist_xai as mx
from mnist_xai.interpret import Patches, Segmentation
from mnist_xai.interpret.methods.perturbation.features import summed
from mnist_xai.quality import FaithfulnessCorrelation, FaithfulnessEstimate, SensitivityN
from mnist_xai.quality.faithfulness.correlation import random_subsets
from tests.quality.conftest import batch_of

METRICS = [
    FaithfulnessCorrelation(subsets=20),
    FaithfulnessEstimate(),
    SensitivityN((0.1, 0.5), subsets=20),
]
every_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda m: type(m).__name__)


def dense_network(activation=None, channels=1, **given):
    """Return a network of 8 x 6 images; without an activation its logits are sums over pixels."""
    image = keras.Input((8, 6, channels))
    x = layers.Dense(20, activation=activation)(layers.Flatten()(image))
    model = keras.Model(image, layers.Dense(3)(x))
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return mx.Network(model, **given)


@pytest.fixture(scope="module")
def linear():
    return dense_network()


@pytest.fixture(scope="module")
def curved():
    return dense_network("relu", channels=2)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).random((3, 8, 6, 1), np.float32)


@pytest.fixture(scope="module")
def colours():
    return np.random.default_rng(4).random((3, 8, 6, 2), np.float32)


def score_drop(batch, image, target, mask, baseline):
    """Return `f(x) - f(x without these pixels)` of one image."""
    changed = image.copy()
    changed[mask] = baseline
    both = np.stack([image, changed])
    scores = batch.network.scores(both, np.array([target, target]), score=batch.score)
    return float(scores[0]) - float(scores[1])


def slow_correlation(batch, masks, baseline):
    """Return the papers' correlation over subsets given as booleans `(H, W)`."""
    found = []
    for image, relevance, target in zip(batch.images, batch.relevance, batch.targets, strict=True):
        sums = [relevance[mask].sum() for mask in masks]
        drops = [score_drop(batch, image, target, mask, baseline) for mask in masks]
        found.append(stats.pearsonr(sums, drops).statistic)
    return found


def drawn(count, share, subsets, rng):
    return random_subsets(rng, subsets, count, share).reshape(-1, 8, 6)


# --- Against the papers' formulas -----------------------------------------------------------------


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_faithfulness_correlation_is_the_papers_formula(curved, colours, score):
    maps = np.random.default_rng(1).normal(size=colours.shape)
    batch = batch_of(curved, maps, colours, targets=[0, 1, 2], score=score)
    masks = drawn(48, 0.3, 20, np.random.default_rng(2))
    values = FaithfulnessCorrelation(0.3, subsets=20, baseline=0.5, seed=2)(batch).values
    np.testing.assert_allclose(values, slow_correlation(batch, masks, 0.5), atol=1e-6)


def test_the_faithfulness_estimate_is_the_papers_formula(curved, colours):
    batch = batch_of(curved, np.random.default_rng(1).normal(size=colours.shape), colours)
    masks = np.eye(48, dtype=bool).reshape(-1, 8, 6)
    values = FaithfulnessEstimate(baseline=1)(batch).values
    np.testing.assert_allclose(values, slow_correlation(batch, masks, 1), atol=1e-6)


def test_a_large_image_is_scored_in_blocks_of_features(curved, colours, monkeypatch):
    batch = batch_of(curved, np.random.default_rng(1).normal(size=colours.shape), colours)
    whole = FaithfulnessEstimate()(batch).values
    monkeypatch.setattr("mnist_xai.quality.faithfulness.correlation._MASK_TABLE_CELLS", 5 * 48)
    np.testing.assert_allclose(FaithfulnessEstimate()(batch).values, whole, rtol=1e-5)


def test_sensitivity_n_is_the_mean_of_its_curve_by_the_papers_formula(curved, colours):
    batch = batch_of(curved, np.random.default_rng(1).normal(size=colours.shape), colours)
    rng = np.random.default_rng(2)
    expected = [
        slow_correlation(batch, drawn(48, share, 20, rng), 0.0) for share in (0.01, 0.25, 0.99)
    ]
    scores = SensitivityN((0.01, 0.25, 0.99), subsets=20, seed=2)(batch)
    np.testing.assert_allclose(scores.curves, np.transpose(expected), atol=1e-6)
    np.testing.assert_allclose(scores.values, np.mean(expected, axis=0), atol=1e-6)


def test_features_are_removed_together_and_their_relevance_is_summed(curved, colours):
    batch = batch_of(curved, np.random.default_rng(1).normal(size=colours.shape), colours)
    labels = Patches(3).labels(8, 6)
    masks = np.stack([labels == k for k in range(6)])
    values = FaithfulnessEstimate(Patches(3))(batch).values
    np.testing.assert_allclose(values, slow_correlation(batch, masks, 0.0), atol=1e-6)
    sums = summed(batch.relevance, labels)
    np.testing.assert_allclose(sums[:, 5], batch.relevance[:, 6:, 3:].sum(axis=(1, 2)))


# --- Maps whose score is known --------------------------------------------------------------------


@every_metric
def test_on_a_linear_network_shares_of_the_score_correlate_perfectly(metric, linear, points):
    slopes = linear.gradient(points, np.array([0, 1, 2]))[0]
    given = {"images": points, "targets": np.array([0, 1, 2])}
    shares = slopes * points
    np.testing.assert_allclose(metric(batch_of(linear, shares, **given)).values, 1, atol=1e-9)
    scaled = batch_of(linear, -1e-6 * shares, **given)
    np.testing.assert_allclose(metric(scaled).values, -1, atol=1e-9)
    noise = np.random.default_rng(9).normal(size=shares.shape)
    assert np.abs(metric(batch_of(linear, noise, **given)).values).max() < 0.8


def test_with_a_grey_baseline_shares_of_the_difference_correlate_perfectly(linear, points):
    targets = np.array([0, 1, 2])
    slopes = linear.gradient(points, targets)[0]
    given = {"images": points, "targets": targets}
    metric = FaithfulnessEstimate(baseline=0.5)
    shares = batch_of(linear, slopes * (points - np.float32(0.5)), **given)
    np.testing.assert_allclose(metric(shares).values, 1, atol=1e-9)
    assert metric(batch_of(linear, slopes * points, **given)).values.max() < 0.99


def test_subsets_have_equal_size_and_are_never_empty_or_full():
    for share, size in ((0.25, 12), (1e-6, 1), (1 - 1e-6, 47)):
        off = random_subsets(np.random.default_rng(0), 30, 48, share)
        assert off.sum(axis=1).tolist() == [size] * 30
    first = random_subsets(np.random.default_rng(0), 2000, 48, 0.25).mean(axis=0)
    assert np.abs(first - 0.25).max() < 0.05  # All features are equally likely.


def test_another_seed_draws_other_subsets(curved, colours):
    batch = batch_of(curved, np.random.default_rng(1).normal(size=colours.shape), colours)
    for metric in (FaithfulnessCorrelation, SensitivityN):
        assert (metric(seed=0)(batch).values != metric(seed=1)(batch).values).all()


# --- Images without a score -----------------------------------------------------------------------


@every_metric
def test_images_without_a_score_have_a_reason_and_other_scores_do_not_change(
    metric, curved, colours
):
    maps = np.random.default_rng(1).normal(size=colours.shape).astype(np.float32)
    whole = metric(batch_of(curved, maps, colours)).values
    images, maps = colours.copy(), maps.copy()
    images[0] = 0
    maps[1] = 0.5
    targets = curved.logits(colours).argmax(axis=1)
    scores = metric(batch_of(curved, maps, images, targets=targets))
    assert scores.refused == {
        0: "the image is 0, the baseline, everywhere",
        1: "its map gives every feature the same relevance",
    }
    assert np.isnan(scores.values).tolist() == [True, True, False]
    assert scores.values[2] == pytest.approx(whole[2], rel=1e-5)


@every_metric
@pytest.mark.parametrize("scale", [0, 3e-6])
def test_a_score_that_changes_by_round_off_only_is_refused(metric, points, scale):
    network = dense_network()
    *inner, kernel, bias = network.model.get_weights()
    kernel[:, 1] *= scale
    bias[1] = 1000  # The next number in float32 is 6e-5 larger.
    network.model.set_weights([*inner, kernel, bias])
    maps = np.random.default_rng(1).normal(size=points.shape)
    scores = metric(batch_of(network, maps, points, targets=[0, 1, 2]))
    reason = "its score or its relevance is the same for all subsets"
    assert scores.refused == {1: reason}
    assert np.isfinite(scores.values[[0, 2]]).all()


def test_a_map_with_equal_relevance_in_all_subsets_is_refused(curved, colours):
    off = random_subsets(np.random.default_rng(0), 3, 48, 0.1)
    maps = np.where(off.any(axis=0), 0.1, 7.0).reshape(1, 8, 6, 1) * np.ones((3, 1, 1, 1))
    assert len(np.unique(maps)) == 2
    scores = FaithfulnessCorrelation(0.1, subsets=3)(batch_of(curved, maps, colours))
    assert [*scores.refused] == [0, 1, 2]
    assert "is the same for all subsets" in scores.refused[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FaithfulnessCorrelation(1.0), r"share: expected a share in \(0, 1\); got 1.0"),
        (lambda: FaithfulnessCorrelation(subsets=1), "subsets: expected at least 2"),
        (lambda: FaithfulnessCorrelation(baseline=2), r"baseline: expected a pixel in \[0, 1\]"),
        (lambda: FaithfulnessEstimate(baseline=-1), "baseline: expected"),
        (lambda: SensitivityN(()), r"shares: expected a tuple of at least one; got \(\)"),
        (lambda: SensitivityN([0.1]), "shares: expected a tuple"),
        (lambda: SensitivityN((0.1, 0)), r"shares: expected a share in \(0, 1\); got 0"),
    ],
)
def test_errors_name_the_hyper_parameter_that_is_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_single_feature_is_an_error(linear, points):
    batch = batch_of(linear, points, points)
    one = Segmentation(np.zeros((8, 6), int))
    with pytest.raises(ValueError, match="features: expected at least 2; the whole image"):
        FaithfulnessEstimate(one)(batch)


def test_more_images_and_other_metrics_compile_no_new_passes(colours):
    network = dense_network("relu", channels=2)
    for metric in METRICS:
        metric(batch_of(network, colours, colours))
    passes = dict(network.passes.traces())
    for metric in (*METRICS, SensitivityN(subsets=7), FaithfulnessCorrelation(features=Patches(2))):
        metric(batch_of(network, colours[:2], colours[:2]))
    assert network.passes.traces() == passes
    assert set(passes.values()) == {1}
