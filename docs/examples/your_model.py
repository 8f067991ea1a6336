"""Explain a small colour classifier that reads pixels from 0 to 255."""

import keras
import numpy as np
from keras import layers

import mnist_xai as mx

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((16, 16, 3)),
        layers.Rescaling(1 / 255),  # This model wants bytes; the package hands over [0, 1].
        layers.Conv2D(8, 3, activation="relu", name="features"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(4, activation="softmax", name="classes"),
    ],
    name="colours",
)
images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)  # Two images in [0, 1].

try:
    mx.Network(model)
except mx.UnsupportedLayerError as error:
    print(f"refused: {error}")

scaled = keras.Sequential([keras.Input((16, 16, 3)), layers.Rescaling(255.0), model])
network = mx.Network(scaled)
explanation = mx.explain(network, images, targets=[2, 0], method="integrated_gradients")
print("maps:", explanation.maps.shape, explanation.maps.dtype)
print("targets:", explanation.targets)
print("layers:", ", ".join(network.layer_names))

missing = np.abs(explanation.residuals) / np.abs(explanation.differences)
print("missing less than 1 % of the sum:", missing < 0.01)
