import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from mnist_xai.quality.randomisation.similarity import flat_maps, similarities
from tests.quality.conftest import batch_of

KINDS = ("rank", "rank_of_magnitudes", "ssim")


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(size=(2, 4, 12, 9))


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_has_similarity_1_to_itself_in_any_unit(maps, kind):
    np.testing.assert_allclose(similarities(kind, maps[0], 1e-9 * maps[0]), 1, rtol=1e-12)


def test_the_sign_counts_unless_magnitudes_are_compared(maps):
    assert similarities("rank", maps[0], -maps[0]) == pytest.approx([-1] * 4)
    assert similarities("rank_of_magnitudes", maps[0], -maps[0]) == pytest.approx([1] * 4)


def test_rank_correlations_equal_scipys(maps):
    expected = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(*maps, strict=True)]
    np.testing.assert_allclose(similarities("rank", *maps), expected, rtol=1e-12)
    np.testing.assert_allclose(
        similarities("rank_of_magnitudes", *maps), similarities("rank", *np.abs(maps))
    )


def test_ssim_equals_a_loop_over_windows(maps):
    a, b = (m / np.abs(m).max(axis=(1, 2), keepdims=True) for m in maps)
    values = []
    for x, y in zip(a, b, strict=True):
        found = []
        for i in range(12 - 6):
            for j in range(9 - 6):
                p, q = x[i : i + 7, j : j + 7].ravel(), y[i : i + 7, j : j + 7].ravel()
                cov, c1, c2 = np.cov(p, q), 0.02**2, 0.06**2
                means = (2 * p.mean() * q.mean() + c1) / (p.mean() ** 2 + q.mean() ** 2 + c1)
                found.append(means * (2 * cov[0, 1] + c2) / (cov[0, 0] + cov[1, 1] + c2))
        values.append(np.mean(found))
    np.testing.assert_allclose(similarities("ssim", *maps), values, rtol=1e-9)


def test_ssim_is_close_to_tensorflows_with_gaussian_windows():
    rng = np.random.default_rng(1)
    a = np.cumsum(np.cumsum(rng.normal(size=(5, 28, 28)), 1), 2)
    b = a + np.array([0, 1, 3, 10, 30])[:, None, None] * rng.normal(size=a.shape)
    scaled = [(m / np.abs(m).max(axis=(1, 2), keepdims=True))[..., None] for m in (a, b)]
    theirs = tf.image.ssim(*scaled, max_val=2.0, filter_size=7).numpy()
    np.testing.assert_allclose(similarities("ssim", a, b), theirs, atol=0.06)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 3.0, np.nan, np.inf])
def test_a_constant_map_has_similarity_0(maps, kind, value):
    second = maps[1].copy()
    second[2] = value
    found = similarities(kind, maps[0], second)
    assert found[2] == 0
    np.testing.assert_array_equal(np.delete(found, 2), np.delete(similarities(kind, *maps), 2))


def test_flat_maps_are_refused(network):
    maps = np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype(np.float32)
    maps[0] = 2
    maps[1] = np.sign(maps[1])
    batch = batch_of(network, maps)
    assert flat_maps(batch, "rank") == {0: "its map is the same everywhere"}
    assert list(flat_maps(batch, "rank_of_magnitudes")) == [0, 1]
    assert "magnitude" in flat_maps(batch, "rank_of_magnitudes")[1]


def test_ssim_of_small_maps_uses_smaller_windows():
    maps = np.random.default_rng(0).normal(size=(2, 1, 4, 4))
    assert -1 <= similarities("ssim", *maps)[0] <= 1
