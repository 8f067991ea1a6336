"""Fixtures for the tests of the audit: a small trained network and its audit."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.audit import Budget
from mnist_xai.interpret.methods.gradients.gradient import Gradient

SMALL = Budget(images=6, rerun_images=2, samples=2)
METHODS = ("gradient", "gradcam", "lrp_epsilon")


@dataclasses.dataclass(frozen=True)
class Refuses(Gradient):
    """A method that cannot explain any network."""

    def __call__(self, network, images, targets, *, score="logit"):
        raise mx.UnsupportedLayerError("conv: not supported by this method")


@dataclasses.dataclass(frozen=True)
class Dead(Gradient):
    """A method whose maps are zero everywhere."""

    def __call__(self, network, images, targets, *, score="logit"):
        return np.zeros_like(images)


@pytest.fixture(scope="package")
def small_digits(digits):
    """Return scikit-learn's digits, 14 x 14."""
    return dataclasses.replace(
        digits,
        train_images=digits.train_images[:, ::2, ::2],
        test_images=digits.test_images[:120, ::2, ::2],
        test_labels=digits.test_labels[:120],
    )


@pytest.fixture(scope="package")
def model(small_digits):
    """Return a briefly trained network: some predictions are right, wrong or uncertain."""
    keras.utils.set_random_seed(0)
    built = keras.Sequential(
        [
            keras.Input((14, 14, 1)),
            layers.Conv2D(8, 5, activation="relu", name="conv"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(10, activation="softmax", name="probabilities"),
        ],
        name="small",
    )
    built.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    images = mx.normalise(small_digits.train_images)
    built.fit(images, small_digits.train_labels, batch_size=32, epochs=2, verbose=0)
    return built


@pytest.fixture(scope="package")
def audited(model, small_digits, tmp_path_factory):
    """Return an audit of the network, with its files."""
    page = tmp_path_factory.mktemp("audit") / "audit.html"
    return run(model, small_digits, page)


def run(model, dataset, page, **options):
    """Audit a model by five methods with a small budget; `options` override arguments."""
    methods = {name: mx.METHODS[name] for name in METHODS}
    methods |= {"refuses": Refuses(), "<b>dead</b>": Dead()}
    defaults = {"methods": methods, "budget": SMALL, "progress": False}
    return mx.audit(model, dataset, save_to=page, **(defaults | options))
