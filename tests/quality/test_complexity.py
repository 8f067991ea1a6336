import numpy as np
import pytest

from mnist_xai.quality import EffectiveComplexity, EntropyComplexity, Sparseness
from tests.quality.conftest import batch_of

N = 28 * 28


def one_pixel(value=1.0):
    maps = np.zeros((1, 28, 28, 1), np.float32)
    maps[0, 3, 4, 0] = value
    return maps


@pytest.mark.parametrize("value", [1.0, -1e-20, 3e20])
def test_the_simplest_map_is_one_pixel_whatever_its_unit(network, value):
    batch = batch_of(network, one_pixel(value))
    assert Sparseness()(batch).values == pytest.approx([1 - 1 / N])
    assert EntropyComplexity()(batch).values == pytest.approx([0], abs=1e-12)
    assert EffectiveComplexity()(batch).values == [1]


def test_a_constant_map_is_the_most_complex(network):
    maps = np.full((1, 28, 28, 1), 0.3, np.float32)
    maps[0, :5] *= -1  # The sign does not count.
    batch = batch_of(network, maps)
    assert Sparseness()(batch).values == pytest.approx([0], abs=1e-12)
    assert EntropyComplexity()(batch).values == pytest.approx([np.log(N)])
    assert EffectiveComplexity()(batch).values == [N]


def test_sparseness_is_the_gini_index_the_mean_difference_of_all_pairs(network):
    maps = np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype(np.float32)
    sizes = np.abs(maps.astype(np.float64)).reshape(3, -1)
    pairs = np.abs(sizes[:, :, None] - sizes[:, None]).sum(axis=(1, 2))
    expected = pairs / (2 * N * sizes.sum(axis=1))
    np.testing.assert_allclose(Sparseness()(batch_of(network, maps)).values, expected, rtol=1e-12)


def test_the_entropy_equals_scipys(network):
    from scipy.stats import entropy

    maps = np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype(np.float32)
    expected = entropy(np.abs(maps.astype(np.float64)).reshape(3, -1), axis=1)
    values = EntropyComplexity()(batch_of(network, maps)).values
    np.testing.assert_allclose(values, expected, rtol=1e-10)


def test_effective_complexity_counts_pixels_above_a_share_of_the_largest(network):
    maps = one_pixel(2.0)
    maps[0, 0, :3, 0] = [1.0, -0.2, 0.09]
    batch = batch_of(network, maps)
    assert EffectiveComplexity(0.05)(batch).values == [3]
    assert EffectiveComplexity(0.2)(batch).values == [2]
    assert EffectiveComplexity(0)(batch).values == [4]
    with pytest.raises(ValueError, match=r"epsilon: expected a share in \[0, 1\); got 1"):
        EffectiveComplexity(1)
