import numpy as np
import pytest

from mnist_xai.interpret.methods.perturbation.ablation import FeatureAblation
from mnist_xai.interpret.methods.perturbation.features import Grid, Patches, Pixels, Segmentation
from tests.interpret.methods.conftest import maps_of


@pytest.mark.parametrize("features", [Pixels(), Patches(2), Grid(3), "segmentation"])
def test_ablation_of_a_linear_network_gives_the_sum_of_a_features_terms(linear, points, features):
    if features == "segmentation":
        features = Segmentation(np.random.default_rng(0).integers(0, 4, (5, 6)))
    model, w = linear
    labels = features.labels(5, 6)
    terms = (w * (points - 0.5)).sum(axis=-1)
    sums = [[terms[n][labels == k].sum() for k in range(labels.max() + 1)] for n in range(3)]
    found = maps_of(FeatureAblation(features, baseline=0.5), model, points)[..., 0]
    np.testing.assert_allclose(found, np.array(sums)[:, labels], atol=1e-5)


def test_a_baseline_outside_the_pixel_range_is_refused():
    with pytest.raises(ValueError, match="baseline: expected a pixel"):
        FeatureAblation(baseline=-1)
