"""Compare our axioms with Quantus's, and with the formulas where Quantus is wrong.

See `tests/references/README.md`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.base import About
from mnist_xai.interpret.methods.gradients.gradient import Gradient, InputXGradient
from mnist_xai.quality import Completeness, ExplainedBatch, InputInvariance, NonSensitivity
from tests.quality.conftest import batch_of
from tests.references import networks

with np.load(Path(networks.__file__).parent / "quantus_axioms.npz") as _file:
    QUANTUS = dict(_file)
SIDE, PIXELS = 8, 64


def images_of(key):
    return QUANTUS[key].reshape(-1, SIDE, SIDE, 1)


@pytest.fixture(scope="module")
def linear():
    image = keras.Input((SIDE, SIDE, 1))
    dense = layers.Dense(3)
    model = keras.Model(image, dense(layers.Flatten()(image)))
    dense.set_weights([QUANTUS["kernel"], QUANTUS["bias"]])
    return mx.Network(model)


def slopes():
    return QUANTUS["kernel"][:, QUANTUS["targets"]].T.reshape(-1, SIDE, SIDE, 1)


def test_quantus_calls_a_complete_map_incomplete_because_its_sum_is_rounded(linear):
    maps = images_of("images") * slopes()
    batch = batch_of(linear, maps, images_of("images"), targets=QUANTUS["targets"])
    assert Completeness()(batch).values.max() < 1e-5
    assert not QUANTUS["completeness"].any()  # Quantus compares two floats with `==`.


def test_a_map_with_all_relevance_at_one_pixel_is_complete_for_both(linear):
    images, targets = images_of("images"), QUANTUS["targets"]
    maps = np.zeros_like(images)
    maps[:, 0, 0, 0] = (images * slopes()).sum(axis=(1, 2, 3))
    found = Completeness()(batch_of(linear, maps, images, targets=targets))
    assert found.values.max() < 1e-5
    assert QUANTUS["completeness_of_one_place"].all()
    # By default Quantus divides the map by its largest value first.
    assert not QUANTUS["completeness_by_default"].any()


@pytest.mark.parametrize("key", ["", "_of_wrong"])
def test_non_sensitivity_equals_quantuss(linear, key):
    maps = images_of("wrong") if key else images_of("images") * slopes()
    batch = batch_of(linear, maps, images_of("images"), targets=QUANTUS["targets"])
    found = NonSensitivity()(batch).values * PIXELS
    np.testing.assert_allclose(found, QUANTUS[f"non_sensitivity{key}"], atol=1e-5)


def test_quantus_takes_negative_relevance_for_none(linear):
    maps = images_of("images") * slopes()
    batch = batch_of(linear, maps, images_of("images"), targets=QUANTUS["targets"])
    assert NonSensitivity()(batch).values.tolist() == [0] * 4
    negative = (maps < 0).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(QUANTUS["non_sensitivity_signed"], negative)


def test_quantus_ignores_that_the_score_depends_on_black_pixels(linear):
    maps = np.abs(slopes())
    batch = batch_of(linear, maps, images_of("dark"), targets=QUANTUS["targets"])
    assert NonSensitivity()(batch).values.tolist() == [0] * 4
    black_but_used = ((images_of("dark") == 0) & (slopes() != 0)).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(QUANTUS["non_sensitivity_of_dark"], black_but_used)


@dataclass(frozen=True)
class Small:
    """Image times gradient in a small unit."""

    about: ClassVar[About] = InputXGradient.about

    def passes(self, network):
        return 1

    def __call__(self, network, images, targets, *, score="logit"):
        return np.float32(1e-6) * InputXGradient()(network, images, targets, score=score)


@pytest.mark.parametrize(
    ("key", "method", "invariant"),
    [
        ("gradient", Gradient(), True),
        ("input_x_gradient", InputXGradient(), False),
        ("small", Small(), False),
    ],
)
def test_a_shift_of_the_input_changes_maps_that_are_multiplied_by_it(key, method, invariant):
    model, images, targets, _ = networks.case("colour")
    found = InputInvariance()(ExplainedBatch.of(mx.Network(model), images, method, targets)).values
    assert (found < 1e-5).tolist() == [invariant] * 3
    # Quantus compares up to 1e-4, so that any two maps in a small unit are equal.
    assert QUANTUS[f"input_invariance_{key}"].tolist() == [invariant or key == "small"] * 3


def test_quantus_does_not_shift_the_first_number_of_an_image_so_no_gradient_is_invariant():
    assert QUANTUS["input_invariance_gradient"].all()
    assert not QUANTUS["input_invariance_gradient_as_is"].any()
