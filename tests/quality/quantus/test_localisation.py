"""Compare our complexity and localisation with Quantus's: see `tests/references/README.md`.

Quantus is correct for maps without negative relevance, without ties and in a unit of about 1.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score

import mnist_xai as mx
from mnist_xai.quality import (
    EffectiveComplexity,
    EntropyComplexity,
    LocalisationAUC,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    Sparseness,
    TopKIntersection,
)
from tests.quality.conftest import batch_of
from tests.references import networks

FILE = Path(networks.__file__).parent / "quantus_localisation.npz"
with np.load(FILE) as _file:
    QUANTUS = dict(_file)
MAPS, MASKS = QUANTUS["maps"], QUANTUS["masks"]
POSITIVE = np.maximum(MAPS, 0) + 1e-3 * np.abs(MAPS)
EPSILON = 0.05


@pytest.fixture(scope="module")
def score():
    """Return a function that scores maps and masks; the network makes no difference."""
    image = keras.Input((14, 12, 1))
    network = mx.Network(keras.Model(image, layers.Dense(2)(layers.Flatten()(image))))

    def run(metric, maps, masks=MASKS):
        maps = maps[..., None].astype(np.float32)
        return metric(batch_of(network, maps, masks=masks, targets=np.zeros(6, int)))

    return run


@pytest.mark.parametrize(
    ("metric", "key"),
    [
        (PointingGame(), "pointing_game"),
        (TopKIntersection(30), "top_k_intersection"),
        (RelevanceMass(), "relevance_mass"),
        (RelevanceRank(), "relevance_rank"),
        (LocalisationAUC(), "localisation_auc"),
    ],
)
def test_localisation_equals_quantus(score, metric, key):
    np.testing.assert_allclose(score(metric, POSITIVE).values, QUANTUS[key], atol=1e-6)
    if key != "relevance_mass":  # Only the order counts, so that signs make no difference.
        expected = QUANTUS[f"{key}_signed"]
        np.testing.assert_allclose(score(metric, MAPS).values, expected, atol=1e-6)


def test_quantuss_auc_equals_scikit_learns(score):
    expected = [roc_auc_score(m.ravel(), r.ravel()) for m, r in zip(MASKS, MAPS, strict=True)]
    np.testing.assert_allclose(QUANTUS["localisation_auc_signed"], expected)


def test_complexity_equals_quantus(score):
    for metric, key in ((Sparseness(), "sparseness"), (EntropyComplexity(), "entropy_complexity")):
        np.testing.assert_allclose(score(metric, MAPS).values, QUANTUS[key], atol=1e-5)


def test_effective_complexity_equals_quantus_if_the_largest_relevance_is_1(score):
    """Quantus counts pixels above an absolute threshold, we above a share of the largest."""
    for row, theirs in enumerate(QUANTUS["effective_complexity"]):
        largest = np.abs(MAPS[row]).max()
        values = score(EffectiveComplexity(EPSILON / largest), MAPS).values
        assert values[row] == theirs


# --- Quantus's mistakes ---------------------------------------------------------------------------


def test_quantus_counts_an_empty_mask_as_a_hit(score):
    masks = MASKS.copy()
    masks[0] = False
    assert QUANTUS["pointing_game_empty"][0] == 1
    scores = score(PointingGame(), MAPS, masks)
    assert np.isnan(scores.values[0])
    assert scores.refused == {0: "its mask is empty"}


def test_quantus_counts_any_of_many_maxima_as_a_hit(score):
    tied = np.where(MASKS, 1, np.sign(MAPS))
    assert QUANTUS["pointing_game_tied"].tolist() == [1] * 6
    chance = [(m & (r == 1)).sum() / (r == 1).sum() for m, r in zip(MASKS, tied, strict=True)]
    assert max(chance) < 0.5
    np.testing.assert_allclose(score(PointingGame(), tied).values, chance)


def test_quantus_sums_relevance_of_both_signs_so_that_its_mass_is_not_a_share(score):
    theirs = QUANTUS["relevance_mass_signed"]
    assert theirs.min() < 0
    positive = np.maximum(MAPS.astype(float), 0)
    expected = (positive * MASKS).sum(axis=(1, 2)) / positive.sum(axis=(1, 2))
    np.testing.assert_allclose(score(RelevanceMass(), MAPS).values, expected)


def test_quantus_takes_the_logarithm_of_negative_shares_by_default(score):
    assert np.isnan(QUANTUS["entropy_complexity_signed"]).all()
    expected = entropy(np.abs(MAPS.astype(float)).reshape(6, -1), axis=1)
    np.testing.assert_allclose(score(EntropyComplexity(), MAPS).values, expected)


def test_quantuss_complexity_depends_on_the_unit_of_a_map(score):
    """It adds 1e-7 to magnitudes and has an absolute threshold: wrong for maps of about 1e-7."""
    tiny = 1e-7 * MAPS.astype(np.float64)
    for metric, key in (
        (Sparseness(), "sparseness"),
        (EffectiveComplexity(EPSILON), "effective_complexity"),
    ):
        ours = score(metric, tiny).values
        np.testing.assert_allclose(ours, score(metric, MAPS).values, rtol=1e-6)
        assert (QUANTUS[f"{key}_tiny"] < 0.3 * ours).all()
    pairs = np.abs(tiny).reshape(6, -1)
    gini = np.abs(pairs[:, :, None] - pairs[:, None]).sum(axis=(1, 2))
    expected = gini / (2 * pairs.shape[1] * pairs.sum(axis=1))
    np.testing.assert_allclose(score(Sparseness(), tiny).values, expected, rtol=1e-6)
