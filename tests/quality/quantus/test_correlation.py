"""Compare our correlations and infidelity with Quantus's: see `tests/references/README.md`.

Both score the same maps of the same networks. Quantus's networks are in PyTorch and float64.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.quality import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    Infidelity,
    RemovedSquares,
    SensitivityN,
)
from tests.quality.conftest import batch_of
from tests.quality.faithfulness.test_infidelity import slow_infidelity
from tests.references import networks

FILE = Path(networks.__file__).parent / "quantus_correlation.npz"
with np.load(FILE) as _file:
    QUANTUS = dict(_file)
SIDE = 4


@pytest.fixture(scope="module", params=["cnn", "colour"])
def case(request):
    model, images, targets, _ = networks.case(request.param)

    def batch(maps):
        maps = QUANTUS[f"{request.param}/{maps}"]
        return batch_of(network, maps, images, targets=targets)

    network = mx.Network(model)
    return request.param, batch


@pytest.fixture(scope="module")
def linear():
    """Return a batch with a network whose score is a sum over pixels, and its correct maps."""
    given = {key: QUANTUS[f"linear/{key}"] for key in ("kernel", "bias", "images", "targets")}
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)])
    model.set_weights([given["kernel"], given["bias"]])
    slopes = given["kernel"][:, given["targets"]].T.reshape(-1, 8, 8, 1)
    maps = slopes * given["images"]
    return batch_of(mx.Network(model), maps, given["images"], targets=given["targets"])


def test_faithfulness_correlation_equals_quantus(case):
    name, batch = case
    values = FaithfulnessCorrelation(0.25, subsets=100)(batch("shares")).values
    np.testing.assert_allclose(values, QUANTUS[f"{name}/faithfulness_correlation"], atol=1e-5)


def test_the_faithfulness_estimate_equals_quantus():
    model, images, targets, _ = networks.case("cnn")
    batch = batch_of(mx.Network(model), QUANTUS["cnn/shares"], images, targets=targets)
    values = FaithfulnessEstimate()(batch).values
    np.testing.assert_allclose(values, QUANTUS["cnn/faithfulness_estimate"], atol=1e-5)


# --- Quantus's mistakes ---------------------------------------------------------------------------


def tiles(height, width):
    """Return adjacent squares in the order in which Quantus removes them."""
    labels = mx.interpret.Patches(SIDE).labels(height, width).ravel()
    return labels == np.arange(labels.max() + 1)[:, None]


def test_quantus_never_restores_a_square(case, monkeypatch):
    """Its infidelity equals ours if each square is removed together with all earlier ones."""
    name, batch = case
    theirs = QUANTUS[f"{name}/infidelity_1"]
    metric = Infidelity(RemovedSquares(SIDE))

    def scored(squares):
        monkeypatch.setattr(RemovedSquares, "squares", lambda _, h, w, *__: squares(h, w))
        return metric(batch("slopes")).values

    growing = scored(lambda h, w: np.logical_or.accumulate(tiles(h, w)))
    np.testing.assert_allclose(growing, theirs, rtol=1e-5)
    ours = scored(tiles)
    slopes = batch("slopes")
    squares = tiles(*slopes.height_width).reshape(-1, *slopes.height_width, 1)
    expected = slow_infidelity(slopes, slopes.images[:, None] * squares)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert (np.abs(ours - theirs) > 0.2 * ours).all()


def test_quantus_uses_the_same_squares_in_every_sample(case):
    name, _ = case
    again = QUANTUS[f"{name}/infidelity_3"]  # Three samples of squares.
    np.testing.assert_allclose(again, QUANTUS[f"{name}/infidelity_1"], rtol=1e-6)


def test_sensitivity_n_of_a_correct_map_is_1_for_us_but_not_for_quantus(linear):
    scores = SensitivityN()(linear)
    np.testing.assert_allclose(scores.curves, 1, atol=1e-9)
    theirs = QUANTUS[
        "linear/sensitivity_n"
    ]  # One number for each size, correlated over the images.
    assert theirs.shape == (12,)
    assert theirs.max() < 0.999
    assert theirs.min() < 0


def test_quantus_scores_the_first_batch_only():
    """It scores two of five images, and any correlation over two images is 1 or -1."""
    np.testing.assert_allclose(np.abs(QUANTUS["linear/sensitivity_n_batches_of_2"]), 1, atol=1e-6)


def test_quantus_calls_every_map_monotone_if_pixels_are_replaced_by_black(linear):
    """It starts from black and inserts black, so that the score never changes, whatever the map.

    If an image is built from its least relevant pixels, its score rises in each step only if all
    relevance is positive. These maps have both signs.
    """
    for sign, key in ((1, "monotonicity"), (-1, "monotonicity_opposite")):
        assert QUANTUS[f"linear/{key}"].all()
        for image, relevance, target in zip(
            linear.images, sign * linear.relevance, linear.targets, strict=True
        ):
            built, path = np.zeros_like(image), []
            for pixel in relevance.ravel().argsort():
                built.reshape(-1)[pixel] = image.ravel()[pixel]
                path.append(built.copy())
            scores = linear.network.scores(np.stack(path), np.full(64, target))
            assert not (np.diff(scores) >= 0).all()
