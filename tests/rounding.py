"""Bounds that hold on every processor: they follow from the network's precision and depth."""

import numpy as np

from mnist_xai import Network


def assert_equal_to_rounding(found, expected, model):
    """Two results of a network differ by no more than rounding, relative to the largest value.

    Processors add in different orders, so the same sum differs by some last digits, in each
    layer: `Runner.rounding`.
    """
    expected = np.asarray(expected)
    limit = Network.of(model).runner.rounding * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


def assert_complete_to_rounding(explanation, model):
    """A map, with what was absorbed on the way, sums to the score but for rounding."""
    axes = tuple(range(1, explanation.maps.ndim))
    added_up = np.abs(explanation.maps).sum(axis=axes)
    added_up = added_up + sum(map(np.abs, explanation.absorbed.values()))
    assert np.abs(explanation.residuals / added_up).max() < Network.of(model).runner.rounding
