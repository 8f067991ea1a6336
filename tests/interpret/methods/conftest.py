"""A linear network on colour images, with images for it, and a way to compute maps."""

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx


def maps_of(method, model, images, targets=(0, 1, 2)):
    return mx.explain(model, images, list(targets), method=method).maps


@pytest.fixture
def linear():
    """`S_c(x) = w_c·x + b_c`: the model and `w`, `(3, 5, 6, 2)`."""
    model = keras.Sequential([keras.Input((5, 6, 2)), layers.Flatten(), layers.Dense(3)])
    w = np.random.default_rng(3).normal(size=(60, 3)).astype("f")
    model.set_weights([w, np.float32([1, 2, 3])])
    return model, w.T.reshape(3, 5, 6, 2)


@pytest.fixture
def points():
    return np.random.default_rng(4).random((3, 5, 6, 2), np.float32)
