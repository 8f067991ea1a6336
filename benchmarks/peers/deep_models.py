"""The networks of `benchmarks/deep.py`, of 224 x 224 pixels; any backend of Keras builds them."""

import keras
from keras import layers


def vit(patch=16, width=192, depth=12, heads=3, classes=1000):
    """Return a vision transformer of Keras layers, the size of DeiT-Ti."""
    image = keras.Input((224, 224, 3))
    x = layers.Conv2D(width, patch, patch, name="patches")(image)
    x = layers.Reshape((-1, width))(x)
    x = Positions(name="positions")(x)
    for i in range(depth):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{i}a")(x)
        y = layers.MultiHeadAttention(heads, width // heads, name=f"attention{i}")(y, y)
        x = layers.Add(name=f"add{i}a")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{i}b")(x)
        y = layers.Dense(4 * width, activation="gelu", name=f"mlp{i}a")(y)
        y = layers.Dense(width, name=f"mlp{i}b")(y)
        x = layers.Add(name=f"add{i}b")([x, y])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(image, layers.Dense(classes, name="scores")(x), name="vit")


@keras.saving.register_keras_serializable("benchmarks")
class Positions(layers.Layer):
    """Adds a learned position to each token."""

    def build(self, shape):
        self.position = self.add_weight(shape=(1, *shape[1:]), initializer="random_normal")

    def call(self, x):
        return x + self.position


def application(name):
    options = {"weights": None, "classifier_activation": None}
    return lambda: getattr(keras.applications, name)(**options)


MODELS = {
    "resnet50": application("ResNet50"),
    "mobilenet_v2": application("MobileNetV2"),
    "efficientnet_b0": application("EfficientNetB0"),
    "vit": vit,
}

CAM_LAYERS = {
    "resnet50": "conv5_block3_out",
    "mobilenet_v2": "out_relu",
    "efficientnet_b0": "top_activation",
    "vit": None,
}
"""The last layer with a spatial output."""

WHITE = {"resnet50": 1.0, "mobilenet_v2": 1.0, "efficientnet_b0": 255.0, "vit": 1.0}
"""The value of a white pixel; black is 0."""
