import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.perturbation.features import Grid, Pixels
from mnist_xai.interpret.methods.perturbation.sensitivity import HSIC, Sobol


@pytest.fixture
def games():
    """Two scores of three pixels, `2 x_0 + x_1` and `x_0 x_1`; neither depends on the third."""
    image = keras.Input((1, 3, 1))
    x = [layers.Flatten()(image)[:, k : k + 1] for k in range(3)]
    return keras.Model(image, layers.Concatenate()([2 * x[0] + x[1], x[0] * x[1]]))


def run(method, model, points, targets):
    return mx.explain(model, points, list(targets), method=method).maps


def test_sobol_indices_of_a_sum_and_of_a_product_equal_their_closed_forms(games):
    """For a sum: the shares of variance. For a product of d factors: `1/4 / (1 - (3/4)^d)`."""
    x = np.ones((2, 1, 3, 1), np.float32)
    found = run(Sobol(Pixels(), designs=2048), games, x, (0, 1)).reshape(2, 3)
    np.testing.assert_allclose(found, [[0.8, 0.2, 0], [4 / 7, 4 / 7, 0]], atol=0.01)


def test_sobol_equals_jansens_estimator_computed_from_its_masks(network, images):
    method = Sobol(Grid(2), designs=8, baseline=0.3, seed=1)
    labels = Grid(2).labels(28, 28)
    masks = method.masks(4, 8)[:, labels][..., np.newaxis].reshape(5, 8, 28, 28, 1)
    s = np.array([network.scores(images[0] * m + 0.3 * (1 - m), [2] * 8) for m in masks])
    indices = [((s[i] - s[0]) ** 2).sum() / 16 / s[0].var(ddof=1) for i in range(1, 5)]
    found = run(method, network, images[:1], [2])[0, ..., 0]
    np.testing.assert_allclose(found, np.array(indices)[labels], rtol=1e-3)


def test_sobol_masks_exchange_one_feature_at_a_time():
    masks = Sobol(seed=4).masks(5, 16).reshape(6, 16, 5)
    for i, exchanged in enumerate(masks[1:]):
        assert (exchanged[:, i] != masks[0][:, i]).all()
        others = np.delete(exchanged, i, axis=1)
        np.testing.assert_array_equal(others, np.delete(masks[0], i, axis=1))
    assert abs(masks.mean() - 0.5) < 0.05
    assert (Sobol(seed=5).masks(5, 16) != masks.reshape(-1, 5)).any()


def test_a_black_image_gets_zero_everywhere(network):
    black = np.zeros((1, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(run(Sobol(), network, black, [0]), 0)
    np.testing.assert_allclose(run(HSIC(), network, black, [0]), 0, atol=1e-12)


def test_hsic_equals_the_trace_formula_of_its_kernels(network, images):
    method = HSIC(Grid(3), samples=40, baseline=0.2, seed=6)
    labels = Grid(3).labels(28, 28)
    kept = method.masks(9)
    mask = kept[:, labels][..., np.newaxis]
    s = network.scores(np.where(mask, images[0], np.float32(0.2)), [5] * 40).astype(float)
    width = np.median([abs(s[i] - s[j]) for i in range(40) for j in range(i)])
    ell = np.exp(-((s[:, None] - s) ** 2) / (2 * width**2))
    h = np.eye(40) - 1 / 40
    expected = []
    for i in range(9):
        k = (kept[:, None, i] == kept[:, i]).astype(float)
        expected.append(np.trace(k @ h @ ell @ h) / 39**2)
    found = run(method, network, images[:1], [5])[0, ..., 0]
    np.testing.assert_allclose(found, np.array(expected)[labels], rtol=1e-4)


def test_hsic_of_a_feature_without_influence_is_almost_zero(games):
    x = np.ones((2, 1, 3, 1), np.float32)
    found = run(HSIC(Pixels(), samples=4000), games, x, (0, 1)).reshape(2, 3)
    assert (found[:, 2] < 0.005 * found[:, 0]).all()
    assert found[0, 0] > 2 * found[0, 1]
    assert found[1, 0] == pytest.approx(found[1, 1], rel=0.1)


def test_hsic_masks_keep_each_feature_in_half_of_the_samples():
    masks = HSIC(samples=100).masks(49)
    np.testing.assert_array_equal(masks.sum(axis=0), 50)
    assert np.abs(np.corrcoef(masks.T) - np.eye(49)).max() < 0.5
    assert (masks != HSIC(samples=100, seed=1).masks(49)).mean() > 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sobol(designs=1), "designs: expected at least 2; got 1"),
        (lambda: Sobol(designs=12), "designs: expected a power of two; got 12"),
        (lambda: Sobol(baseline=2), r"baseline: expected a pixel in \[0, 1\]; got 2"),
        (lambda: HSIC(samples=0), "samples: expected at least 2; got 0"),
        (lambda: HSIC(samples=5), "samples: expected an even number; got 5"),
        (lambda: HSIC(baseline=-1), "baseline: expected a pixel"),
    ],
)
def test_bad_hyper_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
