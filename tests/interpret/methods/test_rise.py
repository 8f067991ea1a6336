import numpy as np
import pytest
import tensorflow as tf

from mnist_xai.interpret.methods.perturbation.rise import RISE
from tests.interpret.methods.conftest import maps_of


def test_rise_is_the_sum_of_masks_weighted_by_their_scores(network, images):
    method, targets = RISE(samples=20, probability=0.3, seed=5), [1, 2]
    total = np.zeros((2, 28, 28, 1))
    for mask in method.masks(28, 28)[..., np.newaxis]:
        total += network.scores(images[:2] * mask, targets)[:, None, None, None] * mask
    found = maps_of(method, network, images[:2], targets)
    np.testing.assert_allclose(found, total / (20 * 0.3), atol=1e-5)


@pytest.mark.parametrize(("height", "width", "cells"), [(28, 28, 7), (20, 33, 7), (9, 9, 2)])
def test_rise_masks_are_grids_that_tensorflow_resizes_and_that_are_then_cropped(
    height, width, cells
):
    method = RISE(samples=6, cells=cells, seed=2)
    rng = np.random.default_rng(2)
    grids = rng.random((6, cells, cells)) < 0.5
    down, across = -(-height // cells), -(-width // cells)
    tops, lefts = (rng.integers(0, cell, 6, endpoint=True) for cell in (down, across))
    size = ((cells + 1) * down, (cells + 1) * across)
    large = tf.image.resize(grids[..., np.newaxis].astype("f"), size, "bilinear").numpy()[..., 0]
    cut = [m[t : t + height, s : s + width] for m, t, s in zip(large, tops, lefts, strict=True)]
    np.testing.assert_allclose(method.masks(height, width), cut, atol=1e-5)


def test_rise_masks_are_in_0_to_1_and_show_each_pixel_with_the_probability():
    masks = RISE(samples=8000, probability=0.3).masks(28, 28)
    assert masks.min() >= 0
    assert masks.max() <= 1
    np.testing.assert_allclose(masks.mean(axis=0), 0.3, atol=0.03)


def test_another_seed_gives_other_masks():
    first, again, other = (RISE(seed=s).masks(28, 28) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RISE(samples=0), "samples: expected at least 1; got 0"),
        (lambda: RISE(cells=0), "cells: expected at least 1; got 0"),
        (lambda: RISE(probability=0), r"probability: expected a share in \(0, 1\]; got 0"),
    ],
)
def test_bad_hyper_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
