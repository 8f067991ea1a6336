"""Explain a small colour classifier that reads pixels from 0 to 255 and ends in one unit."""

import keras
import numpy as np
from keras import layers

import mnist_xai as mx

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((16, 16, 3)),
        layers.Rescaling(1 / 255),  # So the model takes pixels from 0 to 255.
        layers.Conv2D(8, 3, activation="relu", name="features"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1, activation="sigmoid", name="dog"),  # The probability of class 1.
    ],
    name="cats_and_dogs",
)
pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)

network = mx.Network(model)
print("pixels:", network.pixels, "found in", network.pixels.reason)
print("classes:", network.classes)
print("p(dog) of the model and of the network:", end=" ")
p = network.probabilities(pictures)[:, 1]
print(np.allclose(model(pictures)[:, 0], p, atol=1e-6))

explanation = mx.explain(network, pictures, targets=[1, 0], method="integrated_gradients")
print("maps:", explanation.maps.shape, explanation.maps.dtype)
missing = np.abs(explanation.residuals) / np.abs(explanation.differences)
print("missing less than 1 % of the sum:", missing < 0.01)

# The same network without its first layer takes [0, 1]; nothing in the model says so.
bare = keras.Sequential([keras.Input((16, 16, 3)), *model.layers[1:]])
try:
    mx.explain(bare, pictures.astype("float32"), method="integrated_gradients")
except ValueError as error:
    print(f"refused: {error}")
