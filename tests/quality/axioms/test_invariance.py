from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.base import About
from mnist_xai.interpret.methods.cam.eigencam import EigenCAM
from mnist_xai.interpret.methods.cam.gradient_based import GradCAM
from mnist_xai.interpret.methods.gradients.gradient import (
    Gradient,
    InputXGradient,
    SmoothGradSquared,
)
from mnist_xai.interpret.methods.relevance.lrp import LRP
from mnist_xai.quality import (
    ExplainedBatch,
    ImageItself,
    ImplementationInvariance,
    InputInvariance,
    Linearity,
    Symmetry,
)
from mnist_xai.quality.axioms.rewriting import (
    CannotRewriteError,
    combined,
    encoded,
    mirrored,
    reordered,
)
from tests.conftest import MODELS, shared_network
from tests.quality.conftest import Given

METRICS = (InputInvariance(), ImplementationInvariance(), Linearity(), Symmetry())
SIDE = 6


def linear_network():
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 2))
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(image)))


@pytest.fixture(scope="module")
def linear():
    return mx.Network(linear_network())


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(2).random((4, SIDE, SIDE, 2), np.float32)


def distance(a, b):
    """Return the distance by its formula, image by image."""
    a, b = (maps.sum(axis=-1).astype(np.float64) for maps in (a, b))
    return [
        np.linalg.norm(x - y) / (np.linalg.norm(x) + np.linalg.norm(y))
        for x, y in zip(a, b, strict=True)
    ]


# --- The rewritten networks -----------------------------------------------------------------------


def made(rewriting, network):
    """Return the expected and the actual logits of a rewritten network for noise."""
    x = np.random.default_rng(5).random((3, *network.inputs.typical_shape), np.float32)
    z = network.logits(x)
    if rewriting == "encoded":
        with encoded(network, 0.25, 0.5) as other:
            return z, other.logits(0.25 * x + np.float32(0.5))
    if rewriting == "combined":
        with combined(network, 2, -1) as other:
            return 2 * z - np.roll(z, -1, axis=1), other.logits(x)
    if rewriting == "reordered":
        with reordered(network, 0) as other:
            return z, other.logits(x)
    return network.logits((x + x[:, :, ::-1]) / 2), mirrored(network).logits(x)


# Layers with zero padding, here in a nested model too, cannot compensate a shift.
REFUSED = {
    "encoded": {"residual", "nested"},
    "combined": set(),
    "reordered": {"softmax_layer", "softmax_activation", "softmax_operation", "residual", "nested"},
    "mirrored": set(),
}


@pytest.mark.parametrize("rewriting", REFUSED)
@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_rewritten_exactly_or_refused(rewriting, name):
    network = shared_network(name)
    before = [w.copy() for w in network.model.get_weights()]
    if name in REFUSED[rewriting]:
        with pytest.raises(CannotRewriteError):
            made(rewriting, network)
    else:
        wanted, found = made(rewriting, network)
        atol = network.runner.rounding * np.abs(wanted).max()
        np.testing.assert_allclose(found, wanted, atol=atol)
    for old, new in zip(before, network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_units_are_rescaled_and_in_another_order(network):
    with reordered(network, 0) as other:
        kernels = [n.model.get_layer("conv1").get_weights()[0] for n in (network, other)]
    sizes = [np.sort(np.abs(k).sum(axis=(0, 1, 2))) for k in kernels]
    assert np.abs(np.log2(sizes[1] / sizes[0])).max() > 1
    assert not np.allclose(*kernels)


def test_a_rewritten_network_uses_the_current_weights_of_the_original(pictures):
    network = mx.Network(linear_network())
    mirrored(network)
    with combined(network, 1, 1):
        pass
    network.model.set_weights([2 * w + 1 for w in network.model.get_weights()])
    for rewriting in ("mirrored", "combined", "encoded"):
        wanted, found = made(rewriting, network)
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_no_pass_is_compiled_twice(network, images):
    batch = ExplainedBatch.of(network, images, Gradient())
    for metric in METRICS:
        metric(batch)
    derived = mirrored(network)
    passes = len(network.experiments.twin().passes.traces()), len(derived.passes.traces())
    for metric in METRICS:
        metric(batch.take(slice(0, 3)))
    assert mirrored(network) is derived
    assert (len(network.experiments.twin().passes.traces()), len(derived.passes.traces())) == passes


# --- The scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_the_gradient_satisfies_every_axiom(network, images, metric):
    found = metric(ExplainedBatch.of(network, images, Gradient()))
    assert not found.refused
    assert found.values.max() < 1e-4


def test_maps_multiplied_by_the_image_depend_on_its_encoding(linear, pictures):
    batch = ExplainedBatch.of(linear, pictures, InputXGradient())
    slope = linear.gradient(pictures, batch.targets)[0] / 0.75
    expected = distance(0.75 * pictures * slope, (0.75 * pictures + 0.25) * slope)
    np.testing.assert_allclose(InputInvariance(0.25)(batch).values, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: layers.Conv2D(2, 3, padding="same"), "conv: its bias cannot compensate a shift"),
        (lambda: layers.Conv2D(2, 3, use_bias=False), "conv: has no bias"),
        (lambda: layers.AveragePooling2D(2), None),
        (lambda: layers.Rescaling(2.0, offset=-1.0), None),
    ],
)
def test_a_first_layer_that_cannot_compensate_a_shift_is_named(pictures, make, reason):
    keras.utils.set_random_seed(0)  # Before the layer is made, because it draws its seed then.
    first = make()
    first.name = "conv"
    image = keras.Input((SIDE, SIDE, 2))
    x = layers.Flatten()(layers.LeakyReLU()(first(image)) if reason else first(image))
    network = mx.Network(keras.Model(image, layers.Dense(3)(x)))
    found = InputInvariance()(ExplainedBatch.of(network, pictures, Gradient()))
    if reason:
        assert len(found.refused) == 4
        assert found.refused[0].startswith(reason)
        assert np.isnan(found.values).all()
    else:
        assert found.values.max() < 1e-5


def test_a_network_without_hidden_units_is_refused(linear, pictures):
    found = ImplementationInvariance()(ExplainedBatch.of(linear, pictures, Gradient()))
    assert set(found.refused.values()) == {
        "no two dense or convolutional layers have only ReLUs, pooling or similar layers "
        "between them"
    }


def test_maps_of_activations_depend_on_the_implementation(network, images):
    values = ImplementationInvariance()(ExplainedBatch.of(network, images, EigenCAM())).values
    assert values.min() > 0.05
    kept = ImplementationInvariance()(ExplainedBatch.of(network, images, GradCAM())).values
    assert np.nanmax(kept) < 1e-4


def test_maps_that_ignore_the_class_do_not_add_up(linear, pictures):
    for a, b in ((1.0, -0.5), (2.0, 1.0)):
        found = Linearity(a, b)(ExplainedBatch.of(linear, pictures, ImageItself())).values
        np.testing.assert_allclose(found, abs(a + b - 1) / (abs(a + b) + 1), rtol=1e-6)


def test_squared_gradients_do_not_add_up(linear, pictures):
    batch = ExplainedBatch.of(linear, pictures, SmoothGradSquared(samples=1, sigma=0.0))
    kernel = linear.model.layers[-1].get_weights()[0].T.reshape(3, SIDE, SIDE, 2)
    one, other = kernel[batch.targets], kernel[(batch.targets + 1) % 3]
    expected = distance(one**2 - 0.5 * other**2, (one - 0.5 * other) ** 2)
    np.testing.assert_allclose(Linearity()(batch).values, expected, rtol=1e-4)


def test_linearity_refuses_probabilities(linear, pictures):
    found = Linearity()(ExplainedBatch.of(linear, pictures, Gradient(), score="probability"))
    assert set(found.refused.values()) == {
        "it explains a probability, which is not a sum of logits"
    }


def test_a_map_of_one_pixel_on_the_left_is_not_symmetric(linear, pictures):
    maps = np.zeros((4, SIDE, SIDE, 1), np.float32)
    maps[:, 1, 0] = 3
    batch = ExplainedBatch.of(linear, pictures, Given(maps))
    np.testing.assert_allclose(Symmetry()(batch).values, np.sqrt(0.5))
    maps[:, 1, -1] = 3
    assert Symmetry()(ExplainedBatch.of(linear, pictures, Given(maps))).values.tolist() == [0] * 4
    assert Symmetry()(ExplainedBatch.of(linear, pictures, ImageItself())).values.max() < 1e-6


@dataclass(frozen=True)
class OnlyFor:
    """Explains the network that it was made for; maps of any other network have one value."""

    network: mx.Network
    answer: float

    about: ClassVar[About] = About("given", "nothing", "always", "none")

    def passes(self, network):
        return 0

    def __call__(self, network, images, targets, *, score="logit"):
        value = 1.0 if network is self.network else self.answer
        return np.full((*images.shape[:3], 1), value, np.float32)


def test_a_map_that_becomes_zero_has_distance_1_and_a_map_of_nan_is_refused(network, images):
    gone = ImplementationInvariance()(ExplainedBatch.of(network, images, OnlyFor(network, 0.0)))
    assert gone.values.tolist() == [1] * 5
    broken = ImplementationInvariance()(
        ExplainedBatch.of(network, images, OnlyFor(network, np.nan))
    )
    assert np.isnan(broken.values).all()
    assert set(broken.refused.values()) == {
        "its map of the rewritten network is zero everywhere or not finite"
    }


class NotSerialisable(layers.Layer):
    """A layer that cannot be made again from its configuration."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return self.factor * x


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_that_cannot_be_copied_is_named(pictures, metric):
    image = keras.Input((SIDE, SIDE, 2))
    z = layers.Dense(3)(layers.Flatten()(NotSerialisable(np.float32(2))(image)))
    network = mx.Network(keras.Model(image, z, name="stubborn"))
    found = metric(ExplainedBatch.of(network, pictures, Gradient()))
    assert len(found.refused) == 4
    assert "'stubborn' cannot be copied" in found.refused[0]


def test_a_rewritten_network_that_the_method_does_not_support_is_refused(network, images):
    box = mx.interpret.METHODS["lrp_z_box"]
    found = Symmetry()(ExplainedBatch.of(network, images, box))
    (refusal,) = set(found.refused.values())
    assert refusal.startswith("mirror_mean: the box rule cannot treat this Average: it adds up")
    assert not InputInvariance()(ExplainedBatch.of(network, images, LRP())).refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputInvariance(1), r"shift: expected a change of a pixel in \(0, 1\); got 1"),
        (lambda: Linearity(b=0), "a, b: expected finite numbers other than 0, .* got 1.0 and 0"),
        (lambda: Linearity(np.inf), "a, b: expected finite numbers"),
    ],
)
def test_errors_name_the_hyper_parameter_that_is_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
