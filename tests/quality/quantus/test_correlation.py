"""Our correlations and infidelity against Quantus's: see `tests/references/README.md`.

Both sides score the same maps of the same networks; Quantus's, in PyTorch, are in float64.
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
    """A network whose score is a sum over pixels, and its perfect map."""
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


# --- Quantus's mistakes ----------------------------------------------------------------------


def tiles(height, width):
    """Squares side by side, in the order in which Quantus removes them."""
    labels = mx.interpret.Patches(SIDE).labels(height, width).ravel()
    return labels == np.arange(labels.max() + 1)[:, None]


def test_quantus_never_puts_a_square_back(case, monkeypatch):
    """Its infidelity is ours when each square is removed with all that came before it."""
    name, batch = case
    theirs = QUANTUS[f"{name}/infidelity_1"]
    metric = Infidelity(RemovedSquares(SIDE))

    def scored(squares):
        monkeypatch.setattr(RemovedSquares, "squares", lambda _, h, w, *__: squares(h, w))
        return metric(batch("slopes")).values

    growing = scored(lambda h, w: np.logical_or.accumulate(tiles(h, w)))
    np.testing.assert_allclose(growing, theirs, rtol=1e-5)
    ours = scored(tiles)
    t = batch("slopes")
    squares = tiles(*t.height_width).reshape(-1, *t.height_width, 1)
    expected = slow_infidelity(t, t.images[:, None] * squares)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert (np.abs(ours - theirs) > 0.2 * ours).all()


def test_quantus_draws_the_same_squares_again(case):
    name, _ = case
    again = QUANTUS[f"{name}/infidelity_3"]  # Three samples of squares.
    np.testing.assert_allclose(again, QUANTUS[f"{name}/infidelity_1"], rtol=1e-6)


def test_sensitivity_n_of_a_perfect_map_is_one_though_quantus_says_otherwise(linear):
    scores = SensitivityN()(linear)
    np.testing.assert_allclose(scores.curves, 1, atol=1e-9)
    theirs = QUANTUS["linear/sensitivity_n"]  # A number for each size, over the images.
    assert theirs.shape == (12,)
    assert theirs.max() < 0.999
    assert theirs.min() < 0


def test_quantus_scores_the_first_batch_only():
    """Of five images two are left, and over two any correlation is 1 or -1."""
    np.testing.assert_allclose(np.abs(QUANTUS["linear/sensitivity_n_batches_of_2"]), 1, atol=1e-6)


def test_quantus_calls_everything_monotone_that_is_removed_to_black(linear):
    """It starts from black and puts black in: the score never moves, whatever the map.

    The score of an image that is built up from the least relevant places rises step by step only
    for a map whose relevance is positive throughout, and these are of both signs.
    """
    for sign, key in ((1, "monotonicity"), (-1, "monotonicity_opposite")):
        assert QUANTUS[f"linear/{key}"].all()
        for image, places, target in zip(
            linear.images, sign * linear.relevance, linear.targets, strict=True
        ):
            built, path = np.zeros_like(image), []
            for place in places.ravel().argsort():
                built.reshape(-1)[place] = image.ravel()[place]
                path.append(built.copy())
            scores = linear.network.scores(np.stack(path), np.full(64, target))
            assert not (np.diff(scores) >= 0).all()
