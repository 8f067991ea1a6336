"""Models with code of their own, as people write them."""

import keras
import tensorflow as tf
from keras import layers, ops


@keras.saving.register_keras_serializable("tests")
class Residual(layers.Layer):
    """A residual block with a weight of its own and a training argument."""

    def __init__(self, filters=6, **more):
        super().__init__(**more)
        self.filters = filters
        self.conv1 = layers.Conv2D(filters, 3, padding="same", activation="relu", name="conv1")
        self.conv2 = layers.Conv2D(filters, 3, padding="same", name="conv2")
        self.norm = layers.BatchNormalization(name="norm")
        self.drop = layers.Dropout(0.5, name="drop")

    def build(self, shape):
        self.scale = self.add_weight(shape=(self.filters,), initializer="uniform", name="scale")
        for layer in (self.conv1, self.conv2, self.norm):
            layer.build((*shape[:-1], self.filters))

    def call(self, x, training=None):
        y = self.drop(self.norm(self.conv2(self.conv1(x)), training=training), training=training)
        self.last = y
        return ops.relu(y * ops.reshape(1 + self.scale, (1, 1, 1, -1)) + x)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("tests")
class SubclassedCNN(keras.Model):
    """A subclassed CNN of convolutions, with its blocks in a list, and a softmax."""

    def __init__(self, classes=5, **more):
        super().__init__(**more)
        self.stem = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")
        self.blocks = [layers.Conv2D(6, 3, activation="relu", name=f"conv{i}") for i in range(2)]
        self.pool = layers.MaxPooling2D(name="pool")
        self.head = layers.Dense(classes, activation="softmax", name="head")

    def call(self, inputs, training=None, mask=None):
        x = self.stem(inputs)
        for block in self.blocks:
            x = block(x)
        x = layers.Flatten(name="flat")(self.pool(x))
        return self.head(layers.Dropout(0.3)(x, training=training))


@keras.saving.register_keras_serializable("tests")
class Branch(keras.Model):
    """A subclassed part of a model."""

    def __init__(self, **more):
        super().__init__(**more)
        self.conv = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")

    def call(self, x):
        return self.conv(x) + x


@keras.saving.register_keras_serializable("tests")
class Nested(keras.Model):
    """Subclassed models inside a subclassed model, one of them called twice."""

    def __init__(self, **more):
        super().__init__(**more)
        self.stem = layers.Conv2D(6, 3, padding="same", name="stem")
        self.branch = Branch(name="branch")
        self.block = Residual(name="block")
        self.head = keras.Sequential(
            [layers.GlobalAveragePooling2D(name="mean"), layers.Dense(5, name="dense")], name="head"
        )

    def call(self, inputs, training=False):
        x = self.branch(self.branch(self.stem(inputs)))
        return self.head(self.block(x, training=training))


class Patches(layers.Layer):
    """Patches of an image, as in Keras's example of a vision transformer."""

    def __init__(self, patch_size, **more):
        super().__init__(**more)
        self.patch_size = patch_size

    def call(self, images):
        input_shape = ops.shape(images)
        batch_size = input_shape[0]
        height = input_shape[1]
        width = input_shape[2]
        channels = input_shape[3]
        num_patches_h = height // self.patch_size
        num_patches_w = width // self.patch_size
        patches = keras.ops.image.extract_patches(images, size=self.patch_size)
        return ops.reshape(
            patches,
            (
                batch_size,
                num_patches_h * num_patches_w,
                self.patch_size * self.patch_size * channels,
            ),
        )


class PatchEncoder(layers.Layer):
    """Patches projected, with learned positions, as in Keras's example."""

    def __init__(self, num_patches, projection_dim, **more):
        super().__init__(**more)
        self.num_patches = num_patches
        self.projection = layers.Dense(units=projection_dim)
        self.position_embedding = layers.Embedding(input_dim=num_patches, output_dim=projection_dim)

    def call(self, patch):
        positions = ops.expand_dims(ops.arange(start=0, stop=self.num_patches, step=1), axis=0)
        projected_patches = self.projection(patch)
        return projected_patches + self.position_embedding(positions)


class ClassToken(layers.Layer):
    """A learned token before the others, repeated for each image."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="normal", name="token")

    def call(self, tokens):
        shape = (ops.shape(tokens)[0], 1, ops.shape(tokens)[-1])
        return ops.concatenate([ops.broadcast_to(self.token, shape), tokens], axis=1)


class Raw(layers.Layer):
    """A layer of TensorFlow's own operations."""

    def call(self, x):
        return tf.nn.softplus(x)


class DataDependent(layers.Layer):
    """A layer that computes something else for other numbers."""

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        return 2 * x if ops.mean(x) > 100 else x


def tutorial_vit(size=16, patch=4, width=8, classes=5):
    """Return a vision transformer built as in Keras's example."""
    image = keras.Input((size, size, 3))
    x = Patches(patch, name="patches")(image)
    x = PatchEncoder((size // patch) ** 2, width, name="encoder")(x)
    x = ClassToken(name="token")(x)
    for _ in range(2):
        x1 = layers.LayerNormalization(epsilon=1e-6)(x)
        attention = layers.MultiHeadAttention(num_heads=2, key_dim=width, dropout=0.1)(x1, x1)
        x2 = layers.Add()([attention, x])
        x3 = layers.Dense(width, keras.activations.gelu)(layers.LayerNormalization()(x2))
        x = layers.Add()([layers.Dropout(0.1)(x3), x2])
    x = layers.Flatten()(layers.LayerNormalization()(x))
    return keras.Model(image, layers.Dense(classes)(x), name="vit")
