import numpy as np
import pytest
from scipy import stats

from mnist_xai.interpret.methods.gradients.gradient import Gradient, SmoothGrad
from mnist_xai.quality import (
    METRICS,
    EntropyComplexity,
    ExplainedBatch,
    Scores,
    Sparseness,
    paired_difference,
)
from mnist_xai.quality.statistics import (
    correlation,
    rank_correlation,
)


def test_a_batch_explains_the_predicted_classes_in_chunks(network, images):
    batch = ExplainedBatch.of(network, images, Gradient())
    np.testing.assert_array_equal(batch.targets, network.logits(images).argmax(axis=1))
    np.testing.assert_allclose(batch.maps, network.gradient(images, batch.targets)[0], rtol=1e-6)
    assert batch.take(np.array([2, 0])).maps.shape == (2, 28, 28, 1)
    np.testing.assert_array_equal(batch.take(np.array([2, 0])).images, images[[2, 0]])


def test_relevance_is_the_sum_of_a_map_over_channels(network, images):
    maps = np.ones((5, 28, 28, 1), np.float32)
    assert (
        ExplainedBatch.of(network, images, Gradient(), maps=maps).relevance.tolist()
        == [[[1] * 28] * 28] * 5
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"maps": np.zeros((5, 28, 28))}, r"maps: expected floats \(5, 28, 28, 1\); got float64"),
        ({"maps": np.zeros((5, 28, 28, 1), int)}, "maps: expected floats"),
        ({"masks": np.zeros((5, 28, 28))}, r"masks: expected booleans \(5, 28, 28\); got float64"),
        ({"targets": [1, 2]}, "targets: expected 5 integers"),
        ({"score": "loss"}, "score: expected logit, probability or output"),
    ],
)
def test_errors_name_the_argument_of_a_batch(network, images, given, message):
    with pytest.raises(ValueError, match=message):
        ExplainedBatch.of(network, images, Gradient(), **given)


def test_the_interval_of_a_mean_agrees_with_scipys_bootstrap():
    values = np.random.default_rng(0).gamma(2, size=40)
    low, high = Scores(values).interval()
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert Scores(values).mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(tuple(theirs), rel=0.03)
    assert Scores(values).interval(0.5)[0] > low


def test_means_ignore_images_without_a_score():
    scores = Scores(np.array([1.0, np.nan, 3.0]), {1: "its map is zero everywhere"})
    assert scores.mean == 2
    assert np.isfinite(scores.interval()).all()
    assert np.isnan(Scores(np.array([np.nan, 1])).interval()).all()


def test_correlations_equal_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.integers(5, size=(2, 4, 30)).astype(float)
    for ours, theirs in ((correlation, stats.pearsonr), (rank_correlation, stats.spearmanr)):
        expected = [theirs(x, y).statistic for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(ours(a, b), expected, rtol=1e-12)
    assert np.isnan(correlation(np.ones((1, 3)), b[:1, :3]))


def test_paired_differences_are_image_by_image_in_the_better_direction():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 50)  # Scores differ more between images than between methods.
    ours, theirs = Scores(hard + 1 + rng.normal(0, 0.1, 50)), Scores(hard)
    mean, low, high = paired_difference(Sparseness(), ours, theirs)
    assert 0.9 < low < mean < high < 1.1
    assert paired_difference(EntropyComplexity(), ours, theirs) == pytest.approx(
        (-mean, -high, -low), abs=1e-2
    )
    assert ours.interval()[0] < theirs.mean  # Unpaired, the difference would be lost in noise.


def test_paired_differences_ignore_images_that_lack_one_of_the_scores():
    ours, theirs = Scores(np.array([1.0, np.nan, 3])), Scores(np.array([0.0, 5, np.nan]))
    assert paired_difference(Sparseness(), ours, theirs)[0] == 1
    nothing = Scores(np.full(3, np.nan))
    assert np.isnan(paired_difference(Sparseness(), ours, nothing)).all()


def test_batches_with_a_shared_cache_compute_a_key_once(network, images):
    cache, calls = {}, []

    def compute():
        calls.append(1)
        return np.ones(1)

    first = ExplainedBatch.of(network, images, Gradient(), cache=cache)
    second = ExplainedBatch.of(network, images, SmoothGrad(samples=2), cache=cache)
    for batch in (first, second, second.take(slice(0, 5))):
        batch.cached("a", compute)
    assert len(calls) == 1
    second.cached("b", compute)
    second.take(slice(0, 2)).cached("a", compute)
    ExplainedBatch.of(network, images, Gradient(), [1] * 5, cache=cache).cached("a", compute)
    ExplainedBatch.of(network, images, Gradient(), score="probability", cache=cache).cached(
        "a", compute
    )
    assert len(calls) == 5
    ExplainedBatch.of(network, images, Gradient()).cached("a", compute)
    ExplainedBatch.of(network, images, Gradient()).cached("a", compute)
    assert len(calls) == 7


@pytest.mark.parametrize("name", ["faithfulness_correlation", "sensitivity_n", "non_sensitivity"])
def test_a_shared_cache_changes_no_score(name, network, images):
    cache = {}
    for method in (Gradient(), SmoothGrad(samples=2)):
        alone = METRICS[name](ExplainedBatch.of(network, images[:2], method)).values
        shared = METRICS[name](ExplainedBatch.of(network, images[:2], method, cache=cache)).values
        np.testing.assert_array_equal(shared, alone)
    assert cache
