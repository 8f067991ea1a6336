from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.base import About
from mnist_xai.interpret.methods.gradients.gradient import Gradient, InputXGradient
from mnist_xai.quality import (
    AvgSensitivity,
    Consistency,
    ExplainedBatch,
    LocalLipschitz,
    MaxSensitivity,
    RelativeInputStability,
    RelativeOutputStability,
)
from mnist_xai.quality.robustness.noisy_copies import uniform_noise
from tests.quality.conftest import batch_of

EVERY = [
    MaxSensitivity,
    AvgSensitivity,
    LocalLipschitz,
    RelativeInputStability,
    RelativeOutputStability,
    Consistency,
]


@dataclass(frozen=True, eq=False)
class Calls:
    """A method given by a function of image and target; it records the sizes of its batches."""

    function: object
    sizes: list

    about: ClassVar[About] = About("given", "a function of the image", "always", "none")

    def passes(self, network):
        return 0

    def __call__(self, network, images, targets, *, score="logit"):
        self.sizes.append(len(images))
        return np.float32([self.function(x, c) for x, c in zip(images, targets, strict=True)])


def linear(seed=0):
    """Return a linear network of 6 x 6 pixels: all images have the same gradient."""
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(3)])
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=(36, 3)), rng.normal(size=3)])
    return mx.Network(model)


def copies_of(batch, metric):
    """Return every noisy copy of every image by a loop, `(N, K, H, W, C)`."""
    noise = uniform_noise(batch, metric.samples, metric.radius, metric.seed)
    return np.array([[np.clip(x + n, 0, 1) for n in noise] for x in batch.images])


def maps_of(batch, copies):
    return np.array(
        [
            [batch.method(batch.network, copy[None], batch.targets[i : i + 1])[0] for copy in row]
            for i, row in enumerate(copies)
        ],
        np.float64,
    )


@pytest.fixture(scope="module")
def batch(network, images):
    return ExplainedBatch.of(
        network, images * np.float32([0.02, 0.3, 1, 1, 1])[:, None, None, None], Gradient()
    )


def test_the_noise_is_uniform_and_shared(batch):
    noise = uniform_noise(batch, 50, 0.1, 0)
    assert noise.dtype == np.float32
    assert np.abs(noise).max() <= 0.1
    assert noise.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.02)
    np.testing.assert_array_equal(noise, uniform_noise(batch.take(slice(2, 3)), 50, 0.1, 0))
    assert (uniform_noise(batch, 50, 0.1, 1) != noise).mean() > 0.99


@pytest.mark.parametrize("radius", [0.05, 1.0])
def test_sensitivity_is_the_relative_change_of_the_map(batch, radius):
    metric = MaxSensitivity(radius, samples=4, seed=3)
    maps = maps_of(batch, copies_of(batch, metric))
    change = [
        [np.linalg.norm(m - own) / np.linalg.norm(own) for m in row]
        for row, own in zip(maps, batch.maps.astype(float), strict=True)
    ]
    found = metric(batch)
    np.testing.assert_allclose(found.curves, change, rtol=1e-4)
    np.testing.assert_array_equal(found.values, found.curves.max(axis=1))
    mean = AvgSensitivity(radius, samples=4, seed=3)(batch).values
    np.testing.assert_allclose(mean, np.mean(change, axis=1), rtol=1e-4)


def test_the_lipschitz_constant_divides_by_the_distance_of_the_copy(batch):
    metric = LocalLipschitz(0.2, samples=4)
    copies = copies_of(batch, metric)
    maps = maps_of(batch, copies)
    ratios = [
        [np.linalg.norm(maps[i, k] - batch.maps[i]) / np.linalg.norm(x - batch.images[i])
         for k, x in enumerate(row)]
        for i, row in enumerate(copies)
    ]  # fmt: skip
    np.testing.assert_allclose(metric(batch).values, np.max(ratios, axis=1), rtol=1e-4)


def test_relative_stability_is_the_papers_formula_if_no_divisor_is_near_zero(network, images):
    method = Calls(lambda x, _: 2 + x + x[::-1] ** 2, [])
    batch = ExplainedBatch.of(network, 0.3 + 0.4 * images, method)
    metric = RelativeInputStability(0.1, samples=4, floor=1e-6)
    copies = copies_of(batch, metric)
    maps, own, x = maps_of(batch, copies), batch.maps.astype(float), batch.images.astype(float)
    z = network.logits(batch.images).astype(float)
    worst = np.zeros((2, 5))
    for i in range(5):
        for k in range(4):
            other = network.logits(copies[i, k : k + 1])[0].astype(float)
            if other.argmax() != z[i].argmax():
                continue
            change = np.linalg.norm((own[i] - maps[i, k]) / own[i])
            moved = np.linalg.norm((x[i] - copies[i, k]) / x[i]), np.linalg.norm(z[i] - other)
            worst[:, i] = np.maximum(worst[:, i], change / np.array(moved))
    assert worst.all()
    np.testing.assert_allclose(metric(batch).values, worst[0], rtol=1e-5)
    output = RelativeOutputStability(0.1, samples=4, floor=1e-6)
    np.testing.assert_allclose(output(batch).values, worst[1], rtol=1e-4)


@pytest.mark.parametrize("metric", [RelativeInputStability(), RelativeOutputStability()])
def test_the_unit_of_a_map_with_zeros_makes_no_difference(network, images, metric):
    dark = images * (images > 0.5)
    scores = [
        metric(ExplainedBatch.of(network, dark, Calls(lambda x, _, u=u: u * x, []))).values
        for u in (1, 1000)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4)
    assert np.isfinite(scores).all()


def test_the_change_of_a_black_image_is_not_divided():
    batch = ExplainedBatch.of(linear(), np.zeros((1, 6, 6, 1)), Calls(lambda x, _: 2 + x, []))
    # The divisors of the image are 1: `‖δ / 2‖ / ‖δ‖`.
    assert RelativeInputStability(0.01)(batch).values == pytest.approx([0.5], rel=1e-4)


@pytest.mark.parametrize("metric", EVERY[:-1])
def test_the_gradient_of_a_linear_network_is_perfectly_robust(metric):
    batch = ExplainedBatch.of(
        linear(), np.random.default_rng(0).random((4, 6, 6, 1), np.float32), Gradient()
    )
    assert metric(radius=0.02)(batch).values == pytest.approx([0] * 4, abs=1e-6)


def test_the_sensitivity_of_a_linear_map_follows_from_its_weights():
    network = linear()
    images = 0.2 + 0.6 * np.random.default_rng(0).random((4, 6, 6, 1), np.float32)
    batch = ExplainedBatch.of(network, images, InputXGradient())
    metric = MaxSensitivity(0.1, samples=7)
    noise = uniform_noise(batch, 7, 0.1, 0)
    slopes = network.model.get_weights()[0][:, batch.targets].T.reshape(4, 6, 6, 1)
    expected = [
        max(np.linalg.norm(w * n) for n in noise) / np.linalg.norm(w * x)
        for w, x in zip(slopes, images, strict=True)
    ]
    np.testing.assert_allclose(metric(batch).values, expected, rtol=1e-5)


def test_copies_are_clipped_and_explained_in_chunks(images):
    sizes, seen = [], []

    def look(x, c):
        seen.append((x.min(), x.max()))
        return x

    network = mx.Network(mx.build_model("cnn", seed=0), batch_size=8)
    batch = ExplainedBatch.of(network, images, Calls(look, sizes), maps=images)
    MaxSensitivity(radius=1.0, samples=5)(batch)
    assert sizes == [8, 8, 8, 1]  # 25 copies in chunks of 8.
    low, high = np.transpose(seen)
    assert low.min() == 0
    assert high.max() == 1


def at_the_edge():
    """Return a network that classifies by whether the mean exceeds 1/2, and images near and far."""
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(2)])
    model.set_weights([np.full((36, 2), [0, 1.0]) / 36, np.float32([0.5, 0])])
    images = np.full((3, 6, 6, 1), 0.5, np.float32)
    images[0] += 0.4
    images[1] += 1e-3
    images[2, 0] += 1e-4
    return mx.Network(model), images


def test_copies_with_another_prediction_do_not_count():
    network, images = at_the_edge()
    batch = ExplainedBatch.of(network, images, Calls(lambda x, _: x, []))
    metric = RelativeOutputStability(radius=0.1, samples=6)
    copies = copies_of(batch, metric)
    same = copies.mean(axis=(2, 3, 4)) > 0.5
    found = metric(batch)
    np.testing.assert_array_equal(np.isfinite(found.curves), same)
    assert same[0].all()
    assert 0 < same[1].sum() < 6
    np.testing.assert_array_equal(found.values, np.nanmax(found.curves, axis=1))


def test_an_image_whose_copies_all_have_another_prediction_is_refused():
    network, images = at_the_edge()
    batch = ExplainedBatch.of(network, images, Calls(lambda x, _: x, []))
    noise = uniform_noise(batch, 1, 0.1, 0)
    seed = 0 if noise.mean() < 0 else 1
    while uniform_noise(batch, 1, 0.1, seed).mean() > -0.002:
        seed += 1
    found = RelativeInputStability(samples=1, seed=seed)(batch)
    assert np.isfinite(found.values).tolist() == [True, False, False]
    assert found.refused[1] == "every noisy copy is predicted as another class"


# --- Consistency ----------------------------------------------------------------------------------


def one_pixel(number):
    """Return a map that is 1 at one pixel and 0.1 at the last one."""
    found = np.zeros((6, 6, 1))
    found[np.divmod(number, 2)] = 1
    found[5, 5] += 0.1
    return found


def test_maps_that_differ_between_classes_are_consistent():
    network, images = at_the_edge()
    metric = Consistency(radius=0.5, cells=3)
    batch = ExplainedBatch.of(
        network, images, Calls(lambda _, c: np.full((6, 6, 1), 0.1) + one_pixel(8 * c), [])
    )
    np.testing.assert_array_equal(metric(batch).values, 1)


def test_the_same_map_for_every_class_is_as_consistent_as_the_predictions():
    network, images = at_the_edge()
    metric = Consistency(radius=0.5, cells=3)
    batch = ExplainedBatch.of(network, images, Calls(lambda *_: one_pixel(0), []))
    share = (copies_of(batch, metric).mean(axis=(2, 3, 4)) > 0.5).mean(axis=1)
    assert 0 < share[1] < 1
    np.testing.assert_allclose(metric(batch).values, share)


def test_only_copies_with_the_same_explanation_count():
    network, images = at_the_edge()
    metric = Consistency(radius=0.5, cells=3)
    batch = ExplainedBatch.of(
        network, images, Calls(lambda x, _: one_pixel(0 if x[3, 3] < 0.6 else 8), [])
    )
    copies = copies_of(batch, metric)
    same_map = (copies[:, :, 3, 3, 0] < 0.6) == (images[:, 3, 3] < 0.6)
    same_class = copies.mean(axis=(2, 3, 4)) > 0.5
    assert 0 < (same_map & same_class).sum() < same_class.sum()
    expected = (same_map & same_class).sum(axis=1) / same_map.sum(axis=1)
    np.testing.assert_allclose(metric(batch).values, expected)


def test_an_image_whose_copies_all_have_another_explanation_is_refused():
    network, images = at_the_edge()
    batch = ExplainedBatch.of(
        network, images, Calls(lambda *_: one_pixel(8), []), maps=np.float32([one_pixel(0)] * 3)
    )
    found = Consistency(cells=3)(batch)
    assert np.isnan(found.values).all()
    assert found.refused[0] == "no noisy copy has the same explanation"


def test_consistency_refuses_targets_that_are_not_predicted():
    network, images = at_the_edge()
    batch = ExplainedBatch.of(network, images, Calls(lambda *_: one_pixel(0), []), [1, 0, 1])
    found = Consistency(cells=3)(batch)
    assert list(found.refused) == [1]
    assert "not the predicted class" in found.refused[1]


def test_top_cells_have_the_largest_magnitude_whatever_the_unit(network):
    maps = np.zeros((3, 28, 28, 1), np.float32)
    maps[:, 0, 0] = [[1], [-1e-9], [3]]
    maps[:, 10, 10] = [[-5], [1e-10], [2]]
    top_cells = Consistency(top=1)._top_cells(batch_of(network, maps).relevance)
    assert top_cells.argmax(axis=1).tolist() == [5, 0, 0]
    assert top_cells.sum(axis=1).tolist() == [1, 1, 1]
    assert Consistency(top=2)._top_cells(maps[..., 0].astype(float))[:, [0, 5]].all()


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"radius": 0.0}, r"radius: expected a change of a pixel in \(0, 1\]; got 0.0"),
        ({"radius": 1.5}, r"radius: expected .* got 1.5"),
        ({"samples": 0}, "samples: expected at least 1; got 0"),
    ],
)
def test_errors_name_radius_and_samples_that_are_out_of_range(metric, given, message):
    with pytest.raises(ValueError, match=message):
        metric(**given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RelativeInputStability(epsilon=0), "epsilon: expected above 0; got 0"),
        (lambda: RelativeOutputStability(floor=0), r"floor: expected a share in \(0, 1\]; got 0"),
        (lambda: Consistency(top=16), "top: expected fewer than the 16 cells; got 16"),
        (lambda: Consistency(cells=0), "cells: expected at least 1; got 0"),
    ],
)
def test_errors_name_the_hyper_parameter_that_is_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_grid_finer_than_the_image_is_refused_before_any_work():
    network, images = at_the_edge()
    sizes = []
    batch = ExplainedBatch.of(network, images, Calls(lambda x, _: x, sizes), maps=images)
    with pytest.raises(ValueError, match="cells: expected at most 6"):
        Consistency(cells=7)(batch)
    assert not sizes
