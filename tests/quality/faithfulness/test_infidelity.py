import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.quality import AddedNoise, Infidelity, RemovedSquares
from tests.quality.conftest import batch_of
from tests.quality.faithfulness.test_correlation import dense_network

TARGETS = np.array([0, 1, 2])


@pytest.fixture(scope="module")
def linear():
    return dense_network(channels=2)


@pytest.fixture(scope="module")
def curved():
    return dense_network("relu", channels=2)


@pytest.fixture(scope="module")
def colours():
    return np.random.default_rng(4).random((3, 8, 6, 2), np.float32)


def slow_infidelity(batch, perturbations, scaled=False):
    """Return the paper's infidelity for perturbations `I` of each image, `(N, K, H, W, C)`."""
    found = []
    for image, phi, target, drawn in zip(
        batch.images, batch.maps.astype(float), batch.targets, perturbations, strict=True
    ):
        expected = np.array([(taken * phi).sum() for taken in drawn])
        points = np.stack([image, *(image - drawn)]).astype(np.float32)
        targets = np.full(len(points), target)
        scores = batch.network.gradient(points, targets, score=batch.score)[1].astype(float)
        drops = scores[0] - scores[1:]
        beta = (expected @ drops) / (expected @ expected) if scaled else 1
        found.append(((beta * expected - drops) ** 2).mean())
    return found


def all_squares(images, side, baseline):
    """Return the perturbations of each image by all squares, `(N, K, H, W, C)`."""
    taken = []
    for row in range(images.shape[1] - side + 1):
        for column in range(images.shape[2] - side + 1):
            part = np.zeros_like(images)
            inside = np.s_[:, row : row + side, column : column + side]
            part[inside] = images[inside] - np.float32(baseline)
            taken.append(part)
    return np.stack(taken, axis=1)


@pytest.mark.parametrize("scaled", [False, True])
def test_infidelity_over_all_squares_is_the_papers_formula(curved, colours, scaled):
    maps = np.random.default_rng(1).normal(size=colours.shape).astype(np.float32)
    batch = batch_of(curved, maps, colours, targets=TARGETS)
    metric = Infidelity(RemovedSquares(3, baseline=0.25), scaled=scaled)
    expected = slow_infidelity(batch, all_squares(colours, 3, 0.25), scaled)
    np.testing.assert_allclose(metric(batch).values, expected, rtol=1e-5)


def test_fewer_samples_are_different_squares():
    off = RemovedSquares(3).squares(8, 6, 10, seed=0)
    every = RemovedSquares(3).squares(8, 6, 1000, seed=1)
    assert off.sum(axis=1).tolist() == [9] * 10
    assert len(np.unique(off, axis=0)) == 10
    assert len(np.unique(every, axis=0)) == len(every) == 6 * 4
    assert {*map(bytes, off)} < {*map(bytes, every)}


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_infidelity_under_noise_is_the_papers_formula(curved, colours, score):
    maps = np.float32(colours - 0.5)
    batch = batch_of(curved, maps, colours, targets=TARGETS, score=score)
    noise = 0.3 * np.random.default_rng(5).standard_normal((40, 8, 6, 2))
    expected = slow_infidelity(batch, np.stack([noise.astype(np.float32)] * 3))
    values = Infidelity(AddedNoise(0.3), samples=40, seed=5)(batch).values
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("perturbation", [RemovedSquares(3), AddedNoise()])
def test_on_a_linear_network_slopes_are_perfect_and_their_scale_counts(
    perturbation, linear, colours
):
    def values(maps, **given):
        batch = batch_of(linear, maps.astype(np.float32), colours, targets=TARGETS)
        return Infidelity(perturbation, **given)(batch).values

    slopes = linear.gradient(colours, TARGETS)[0].astype(float)
    nothing = values(1e-30 * slopes)  # A map of almost 0 has the mean square of the drops.
    assert nothing.min() > 0.1
    np.testing.assert_allclose(values(slopes), 0, atol=1e-9)
    np.testing.assert_allclose(values(2 * slopes), nothing, rtol=1e-5)
    np.testing.assert_allclose(values(-slopes), 4 * nothing, rtol=1e-5)
    for factor in (2, -1, 1e-3):
        np.testing.assert_allclose(values(factor * slopes, scaled=True), 0, atol=1e-8)
    assert (values(np.roll(slopes, 1, axis=1), scaled=True) > 0.1 * nothing).all()


def test_on_a_linear_network_shares_are_perfect_when_read_as_shares(linear, colours):
    slopes = linear.gradient(colours, TARGETS)[0]
    shares = (slopes * (colours - np.float32(0.5))).sum(axis=-1, keepdims=True)
    batch = batch_of(linear, shares, colours, targets=TARGETS)
    squares = RemovedSquares(3, baseline=0.5)
    np.testing.assert_allclose(Infidelity(squares, maps="shares")(batch).values, 0, atol=1e-9)
    assert Infidelity(squares)(batch).values.min() > 0.1


def test_a_map_of_one_channel_applies_to_every_channel(curved, colours):
    one_channel = np.random.default_rng(1).normal(size=(3, 8, 6, 1)).astype(np.float32)
    for perturbation in (RemovedSquares(3), AddedNoise()):
        both = [
            Infidelity(perturbation)(batch_of(curved, maps, colours, targets=TARGETS)).values
            for maps in (one_channel, np.repeat(one_channel, 2, axis=-1))
        ]
        np.testing.assert_allclose(*both, rtol=1e-6)


def test_noise_depends_neither_on_the_batch_size_nor_on_other_images(curved, colours):
    metric = Infidelity(AddedNoise(), samples=21)
    whole = metric(batch_of(curved, colours, colours, targets=TARGETS)).values
    small = mx.Network(curved.model, batch_size=4)
    split = metric(batch_of(small, colours, colours, targets=TARGETS)).values
    alone = metric(batch_of(small, colours[2:], colours[2:], targets=TARGETS[2:])).values
    np.testing.assert_allclose(split, whole, rtol=1e-5)
    np.testing.assert_allclose(alone, whole[2:], rtol=1e-5)


def test_scaling_does_not_improve_a_map_that_predicts_no_drop(curved, colours):
    images, maps = colours.copy(), np.zeros_like(colours)
    images[:, 0], maps[:, 0] = 0, 1  # Relevance only where the image is black already.
    batch = batch_of(curved, maps, images, targets=TARGETS)
    plain, scaled = (Infidelity(scaled=s, perturbation=RemovedSquares(3)) for s in (False, True))
    np.testing.assert_array_equal(scaled(batch).values, plain(batch).values)


def test_an_image_that_is_the_baseline_is_refused(curved, colours):
    images = colours.copy()
    images[1] = 0
    scores = Infidelity(RemovedSquares(3))(batch_of(curved, colours, images, targets=TARGETS))
    assert scores.refused == {1: "the image is 0, the baseline, everywhere"}
    assert np.isnan(scores.values).tolist() == [False, True, False]


def test_errors_name_the_hyper_parameter_that_is_out_of_range(curved, colours):
    for make, message in (
        (lambda: Infidelity(samples=0), "samples: expected at least 1; got 0"),
        (lambda: Infidelity(maps="heat"), "maps: expected slopes or shares; got 'heat'"),
        (lambda: Infidelity(AddedNoise(), maps="shares"), "maps: expected slopes for perturb"),
        (lambda: RemovedSquares(0), "side: expected at least 1; got 0"),
        (lambda: RemovedSquares(baseline=2), "baseline: expected a pixel"),
        (lambda: AddedNoise(0), "sigma: expected above 0; got 0"),
        (lambda: AddedNoise(np.nan), "sigma: expected above 0; got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    message = "side: expected at most 6, the shorter side of the image; got 7"
    with pytest.raises(ValueError, match=message):
        Infidelity()(batch_of(curved, colours, colours))


def test_the_passes_are_traced_once(colours):
    network = dense_network("relu", channels=2)
    for samples, count in ((5, 3), (9, 2)):
        for perturbation in (RemovedSquares(3), AddedNoise()):
            given = colours[:count]
            Infidelity(perturbation, samples=samples)(batch_of(network, given, given))
    assert set(network.passes.traces().values()) == {1}
