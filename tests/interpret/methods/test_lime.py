import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mnist_xai.interpret.methods.perturbation.features import Grid
from mnist_xai.interpret.methods.perturbation.lime import LIME
from tests.interpret.methods.conftest import maps_of


@pytest.mark.parametrize("alpha", [1.0, 1e-3])
def test_lime_equals_ridge_regression_of_scikit_learn_on_the_same_samples(network, images, alpha):
    method = LIME(Grid(4), samples=60, alpha=alpha, kernel_width=0.4, baseline=0.1, seed=3)
    labels = Grid(4).labels(28, 28)
    kept = np.random.default_rng(3).random((60, 16)) < 0.5
    kept[0] = True
    cosine = kept.sum(axis=1) / (np.sqrt(kept.sum(axis=1)) * 4)
    weights = np.sqrt(np.exp(-((1 - cosine) ** 2) / 0.4**2))
    expected = []
    for i, target in enumerate([3, 6]):
        mask = kept[:, labels][..., np.newaxis]
        scores = network.scores(np.where(mask, images[i], np.float32(0.1)), [target] * 60)
        expected.append(Ridge(alpha).fit(kept, scores, sample_weight=weights).coef_)
    found = maps_of(method, network, images[:2], [3, 6])[..., 0]
    np.testing.assert_allclose(found * 49, np.array(expected)[:, labels], atol=1e-4)


def test_lime_finds_the_terms_of_a_linear_network(linear, points):
    model, w = linear
    found = maps_of(LIME(Grid(2), samples=200, alpha=1e-6), model, points)
    labels, terms = Grid(2).labels(5, 6), (w * points).sum(axis=-1)
    for k in range(4):
        cell = labels == k
        np.testing.assert_allclose(
            found[:, cell, 0].sum(axis=1), terms[:, cell].sum(axis=1), atol=1e-3
        )


def test_lime_gives_a_mask_without_features_the_distance_one():
    weights = LIME(kernel_width=0.5).weights(np.array([[True] * 4, [False] * 4, [True, False] * 2]))
    np.testing.assert_allclose(weights, np.exp([0, -2, -2 * (1 - 0.5**0.5) ** 2]))


def test_another_seed_gives_other_masks():
    first, again, other = (LIME(seed=s).masks(49) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LIME(samples=0), "samples: expected at least 1; got 0"),
        (lambda: LIME(kernel_width=0), "kernel_width: expected above 0; got 0"),
        (lambda: LIME(alpha=0), "alpha: expected above 0; got 0"),
        (lambda: LIME(baseline=1.5), "baseline: expected a pixel"),
    ],
)
def test_bad_hyper_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
