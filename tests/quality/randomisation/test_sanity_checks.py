from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

import mnist_xai as mx
from mnist_xai.interpret.methods.base import About
from mnist_xai.interpret.methods.gradients.gradient import Gradient
from mnist_xai.quality import (
    EfficientParameterRandomisation,
    ExplainedBatch,
    ImageItself,
    ParameterRandomisation,
    RandomLogit,
    RandomMap,
    SmoothParameterRandomisation,
    randomised_layers,
)
from mnist_xai.quality.randomisation.random_networks import fully_random, randomised
from mnist_xai.quality.robustness.noisy_copies import normal_noise


@dataclass(frozen=True, eq=False)
class FunctionOfNetwork:
    """A method given by a function of network, image and target."""

    function: object

    about: ClassVar[About] = About("given", "a function", "always", "none")

    def passes(self, network):
        return 0

    def __call__(self, network, images, targets, *, score="logit"):
        pairs = zip(images, targets, strict=True)
        return np.float32([self.function(network, x, c) for x, c in pairs])


def rank_correlation(a, b):
    return stats.spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic


@pytest.fixture(scope="module")
def batch(network, images):
    return ExplainedBatch.of(network, images, Gradient())


def test_a_map_that_ignores_the_network_never_changes(network, images):
    batch = ExplainedBatch.of(network, images, ImageItself())
    for metric in (
        ParameterRandomisation(),
        ParameterRandomisation("independent", "ssim", "last"),
        SmoothParameterRandomisation(samples=2),
        RandomLogit(),
    ):
        np.testing.assert_allclose(metric(batch).values, 1, rtol=1e-9)
    np.testing.assert_array_equal(EfficientParameterRandomisation()(batch).values, 0)


def test_random_maps_of_different_classes_have_no_similarity(network, images):
    batch = ExplainedBatch.of(network, images, RandomMap())
    assert np.abs(RandomLogit(similarity="rank")(batch).values).max() < 0.05


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_a_curve_has_the_similarity_for_each_random_layer(batch, order):
    metric = ParameterRandomisation(order, "rank_of_magnitudes", seed=4)
    expected = []
    for _, made in randomised(batch.network, order, 4):
        fresh = mx.build_model("cnn")
        fresh.set_weights(made.model.get_weights())
        maps = mx.Network(fresh).gradient(batch.images, batch.targets)[0]
        expected.append([rank_correlation(a, b) for a, b in zip(batch.maps, maps, strict=True)])
    found = metric(batch)
    assert found.curves.shape == (5, len(randomised_layers(batch.network)))
    rounding = batch.network.runner.rounding
    np.testing.assert_allclose(found.curves, np.transpose(expected), rtol=0, atol=rounding)
    np.testing.assert_allclose(found.values, np.mean(expected, axis=0), rtol=0, atol=rounding)


def test_another_seed_gives_other_random_networks(batch):
    assert (
        ParameterRandomisation()(batch).values != ParameterRandomisation(seed=1)(batch).values
    ).all()


def test_smooth_maps_are_means_over_noisy_copies_for_both_networks(batch):
    metric = SmoothParameterRandomisation(
        3, 0.2, similarity="rank_of_magnitudes", summary="last", seed=2
    )
    noise = normal_noise(batch, 3, 2)

    def mean_map(network, x, c):
        copies = [np.clip(x + 0.2 * np.ptp(x) * n, 0, 1) for n in noise]
        return network.gradient(np.float32(copies), np.full(3, c))[0].mean(axis=0)

    with fully_random(batch.network, 2) as made:
        expected = [
            rank_correlation(mean_map(batch.network, x, c), mean_map(made, x, c))
            for x, c in zip(batch.images, batch.targets, strict=True)
        ]
    rounding = batch.network.runner.rounding
    np.testing.assert_allclose(metric(batch).values, expected, rtol=0, atol=rounding)


def test_the_entropy_equals_scipys_entropy_of_the_histogram(batch):
    with fully_random(batch.network, 3) as made:
        maps = made.gradient(batch.images, batch.targets)[0]
    entropies = [
        [stats.entropy(np.histogram(one.astype(float), 20)[0]) for one in side]
        for side in (batch.maps, maps)
    ]
    found = EfficientParameterRandomisation(20, seed=3)(batch)
    np.testing.assert_allclose(found.curves, np.transpose(entropies), rtol=1e-3)
    before, after = found.curves.T
    np.testing.assert_allclose(found.values, after / before - 1, rtol=1e-9)


def test_a_map_that_becomes_noise_gains_entropy_and_one_that_becomes_zero_loses_it(network, images):
    trained = network.model.get_weights()[0].sum()

    def noise(net, x, c):
        is_trained = np.isclose(net.model.get_weights()[0].sum(), trained)
        return x**20 if is_trained else np.random.default_rng(0).uniform(size=x.shape)

    def zero(net, x, c):
        return x * np.isclose(net.model.get_weights()[0].sum(), trained)

    metric = EfficientParameterRandomisation()
    assert metric(ExplainedBatch.of(network, images, FunctionOfNetwork(noise))).values.min() > 0.5
    np.testing.assert_array_equal(
        metric(ExplainedBatch.of(network, images, FunctionOfNetwork(zero))).values, -1
    )
    np.testing.assert_array_equal(
        ParameterRandomisation(summary="last")(
            ExplainedBatch.of(network, images, FunctionOfNetwork(zero))
        ).values,
        0,
    )


def test_random_logit_is_the_mean_similarity_of_the_classes_maps(network, images):
    # In the precision of maps: in another one, near equals may have another order.
    maps = np.float32(np.random.default_rng(0).normal(size=(10, 28, 28, 1)))
    batch = ExplainedBatch.of(
        network, images, FunctionOfNetwork(lambda _, __, c: maps[c]), [0, 3, 9, 9, 5]
    )
    every = [
        [rank_correlation(maps[c], maps[k]) for k in range(10) if k != c] for c in batch.targets
    ]
    found = RandomLogit(similarity="rank_of_magnitudes")(batch)
    np.testing.assert_allclose(found.values, np.mean(every, axis=1), atol=1e-6)
    metric = RandomLogit(2, "rank_of_magnitudes", seed=1)
    d = metric.distances(10)
    assert len(set(d.tolist())) == 2
    assert d.min() >= 1
    drawn = [[rank_correlation(maps[c], maps[(c + k) % 10]) for k in d] for c in batch.targets]
    np.testing.assert_allclose(metric(batch).curves, drawn, atol=1e-6)
    np.testing.assert_array_equal(metric(batch).values[2:4], metric(batch).values[[2, 2]])


def test_random_logit_takes_all_other_classes_where_there_are_no_more():
    assert sorted(RandomLogit(5).distances(3).tolist()) == [1, 2]
    assert RandomLogit(2).distances(2).tolist() == [1]


def test_flat_maps_are_refused(network, images):
    maps = np.random.default_rng(0).normal(size=(5, 28, 28, 1)).astype(np.float32)
    maps[1] = 2
    batch = ExplainedBatch.of(network, images, Gradient(), maps=maps)
    for metric in (
        ParameterRandomisation(),
        SmoothParameterRandomisation(samples=1),
        EfficientParameterRandomisation(),
        RandomLogit(1),
    ):
        found = metric(batch)
        assert np.isfinite(found.values).tolist() == [True, False, True, True, True]
        assert "same everywhere" in found.refused[1]


def test_a_smooth_map_that_is_flat_is_refused(network, images):
    calls = []

    def only_first(net, x, c):
        calls.append(1)
        return x if len(calls) == 1 else np.zeros_like(x)

    batch = ExplainedBatch.of(network, images[:1], FunctionOfNetwork(only_first))
    found = SmoothParameterRandomisation(samples=2)(batch)
    assert np.isnan(found.values[0])
    assert found.refused[0] == "the mean map of its noisy copies is the same everywhere"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ParameterRandomisation("up"), "order: expected cascading or independent"),
        (lambda: ParameterRandomisation(similarity="cosine"), "similarity: expected one of rank"),
        (
            lambda: ParameterRandomisation(summary="max"),
            "summary: expected mean or last; got 'max'",
        ),
        (lambda: SmoothParameterRandomisation(0), "samples: expected at least 1; got 0"),
        (lambda: SmoothParameterRandomisation(noise=0), "noise: expected above 0; got 0"),
        (lambda: EfficientParameterRandomisation(1), "bins: expected at least 2; got 1"),
        (lambda: RandomLogit(0), "others: expected at least 1; got 0"),
    ],
)
def test_errors_name_the_hyper_parameter_that_is_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
