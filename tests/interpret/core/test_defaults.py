"""What each method's defaults cost on small and on large images."""

from functools import cache

import keras
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import METHODS, Occlusion, Patches
from mnist_xai.interpret.core.defaults import by_size

SIDES = (28, 32, 64, 224, 299)


@cache
def network(side):
    """Return a network whose last layer with a spatial output has 2,048 channels, as ResNet50."""
    model = keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.AveragePooling2D(14),
            layers.Conv2D(2048, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    return mx.Network(model)


# Passes at each side; a single number where the side makes no difference.
PASSES = {
    "gradient": 1,
    "input_x_gradient": 1,
    "integrated_gradients": 256,
    "smoothgrad": 50,
    "smoothgrad_squared": 50,
    "vargrad": 50,
    "expected_gradients": 256,
    "blur_integrated_gradients": (512, 512, 512, 256, 256),
    "guided_integrated_gradients": (576, 576, 576, 288, 288),
    "scorecam": (2049, 2049, 2049, 1000, 1000),
    "ablationcam": (2050, 2050, 2050, 1000, 1000),
    "deep_shap": 20,
    "guided_gradcam": 2,
    "occlusion": (170, 226, 226, 170, 197),
    "feature_ablation": 50,
    "rise": 1000,
    "lime": 1000,
    "kernel_shap": (1002, 1002, 1002, 1000, 1000),
    "shapley_sampling": 962,
    "exact_shapley": 512,
    "sobol": (1600, 1600, 1600, 800, 800),
    "hsic": 1000,
}


@pytest.mark.parametrize("name", METHODS)
def test_the_cost_of_each_method_by_the_side_of_the_image(name):
    costs = [METHODS[name].passes(network(side)) for side in SIDES]
    if name in PASSES:
        given = PASSES[name]
        assert costs == list(given if isinstance(given, tuple) else [given] * len(SIDES))
    else:
        assert max(costs) <= 4.5  # One pass forward and back, by rules with up to four parts.
    most = 1000 if METHODS[name].about.unit == "forward" else 300
    assert max(costs[3:]) <= most


@pytest.mark.parametrize(
    ("side", "patch", "stride"),
    [(12, 4, 2), (28, 4, 2), (32, 4, 2), (64, 9, 4), (224, 32, 16), (299, 42, 21)],
)
def test_windows_and_patches_are_a_seventh_of_the_side(side, patch, stride):
    assert Occlusion().sized(side, side + 9) == Occlusion(patch, stride)
    assert (Patches().labels(side, side) == Patches(patch).labels(side, side)).all()


def test_a_given_window_keeps_its_size_and_its_stride_follows():
    assert Occlusion(patch=10).sized(28, 28) == Occlusion(10, 5)
    assert Occlusion(patch=1).sized(28, 28) == Occlusion(1, 1)
    assert Occlusion(stride=6).sized(28, 28) == Occlusion(6, 6)
    assert Occlusion(stride=3).sized(224, 224) == Occlusion(32, 3)


def test_an_image_is_large_by_its_shorter_side():
    assert by_size((64, 500, 3), 1, 2) == 1
    assert by_size((500, 65), 1, 2) == 2
