"""The models of well-known tutorials, rebuilt small on random pictures."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.zoo.specimen import (
    CLASSES,
    Build,
    Specimen,
    logits_of,
    outputs_of,
    random_images,
    random_pictures,
    settle,
    two_classes,
)

SIDE = 32


def _bytes(count: int = 2, side: int = SIDE) -> np.ndarray:
    return random_pictures(count, side).astype(np.float32)


def _augmentation() -> keras.Sequential:
    return keras.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)], name="augmentation"
    )


def _transfer_learning() -> Specimen:
    """Transfer learning: augmentation, `preprocess_input`, MobileNetV2, one logit."""
    keras.utils.set_random_seed(1)
    backbone = keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3), include_top=False, weights=None
    )
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(_augmentation()(image))
    x = layers.GlobalAveragePooling2D()(backbone(x, training=False))
    model = keras.Model(image, layers.Dense(1)(layers.Dropout(0.2)(x)))
    settle(backbone, keras.applications.mobilenet_v2.preprocess_input(_bytes(16)))
    return Specimen(model, _bytes(), two_classes(outputs_of(model)), 0.0, 255.0)


def _from_scratch() -> Specimen:
    """Image classification from scratch: Rescaling, a small Xception, one sigmoid unit."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same")(layers.Rescaling(1 / 255)(image))
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    before = x
    for width in (24, 32):
        for _ in range(2):
            x = layers.SeparableConv2D(width, 3, padding="same")(layers.Activation("relu")(x))
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = layers.add([x, layers.Conv2D(width, 1, strides=2, padding="same")(before)])
        before = x
    x = layers.GlobalAveragePooling2D()(x)
    head = layers.Dense(1, activation="sigmoid")
    model = settle(keras.Model(image, head(layers.Dropout(0.25)(x))), _bytes(16))
    return Specimen(model, _bytes(), two_classes(logits_of(model)), 0.0, 255.0)


def _flowers() -> Specimen:
    """Image classification: a Sequential with augmentation and Rescaling, logits."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([_augmentation(), layers.Rescaling(1.0 / 255)])
    for width in (8, 16, 16):
        model.add(layers.Conv2D(width, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    for layer in (layers.Dropout(0.2), layers.Flatten(), layers.Dense(16, "relu")):
        model.add(layer)
    model.add(layers.Dense(CLASSES, name="outputs"))
    model.build((None, SIDE, SIDE, 3))
    return Specimen(model, _bytes(), outputs_of(model), 0.0, 255.0)


def _mnist_convnet() -> Specimen:
    """Simple MNIST convnet: pixels in [0, 1], softmax."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return Specimen(model, random_images(2, 28, 1), logits_of(model))


@keras.saving.register_keras_serializable("zoo")
class Patches(layers.Layer):
    """Cut images into patches, as the tutorial on vision transformers does."""

    def __init__(self, patch_size: int, **more: Any) -> None:
        super().__init__(**more)
        self.patch_size = patch_size

    def call(self, images: Any) -> Any:
        """Return `(N, patches, pixels)`."""
        size = self.patch_size
        rows, columns = images.shape[1] // size, images.shape[2] // size
        patches = ops.image.extract_patches(images, size=size)
        return ops.reshape(patches, (-1, rows * columns, size * size * images.shape[3]))


@keras.saving.register_keras_serializable("zoo")
class PatchEncoder(layers.Layer):
    """Project patches and add a learned position."""

    def __init__(self, num_patches: int, projection_dim: int, **more: Any) -> None:
        super().__init__(**more)
        self.num_patches = num_patches
        self.projection = layers.Dense(projection_dim)
        self.position_embedding = layers.Embedding(num_patches, projection_dim)

    def call(self, patch: Any) -> Any:
        """Return `(N, patches, projection_dim)`."""
        positions = ops.expand_dims(ops.arange(0, self.num_patches, 1), axis=0)
        return self.projection(patch) + self.position_embedding(positions)


def _vision_transformer() -> Specimen:
    """Image classification with a vision transformer."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    normal = layers.Normalization(mean=(120.0, 120.0, 120.0), variance=(3600.0, 3600.0, 3600.0))
    x = _augmentation()(normal(image))
    x = PatchEncoder((SIDE // 8) ** 2, 16)(Patches(8)(x))
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([layers.MultiHeadAttention(2, 8, dropout=0.1)(y, y), x])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.Dense(16)(layers.Dense(32, activation="gelu")(y))
        x = layers.Add()([y, x])
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    model = keras.Model(image, layers.Dense(CLASSES)(layers.Dense(32, "gelu")(x)))
    return Specimen(model, _bytes(), outputs_of(model), 0.0, 255.0)


def _mixer() -> Specimen:
    """MLP-Mixer: products over patches and over channels, LayerNormalization, transposes."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(16, 8, strides=8)(layers.Rescaling(1 / 255)(image))
    x = layers.Reshape((16, 16))(x)
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Dense(16)(layers.Dense(16, "gelu")(y))
        x = layers.Add()([x, layers.Permute((2, 1))(y)])
        y = layers.Dense(16)(layers.Dense(16, "gelu")(layers.LayerNormalization()(x)))
        x = layers.Add()([x, y])
    model = keras.Model(image, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))
    return Specimen(model, _bytes(), outputs_of(model), 0.0, 255.0)


def _conv_mixer() -> Specimen:
    """ConvMixer: depthwise convolutions with GELU and BatchNormalization, softmax."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))

    def block(x: Any) -> Any:
        return layers.BatchNormalization()(layers.Activation("gelu")(x))

    x = block(layers.Conv2D(16, 4, strides=4)(layers.Rescaling(scale=1.0 / 255)(image)))
    for _ in range(2):
        x = layers.Add()([block(layers.DepthwiseConv2D(3, padding="same")(x)), x])
        x = block(layers.Conv2D(16, 1)(x))
    head = layers.Dense(CLASSES, activation="softmax")
    model = settle(keras.Model(image, head(layers.GlobalAvgPool2D()(x))), _bytes(16))
    return Specimen(model, _bytes(), logits_of(model), 0.0, 255.0)


class ResNetBlock(keras.Model):
    """A block of the guide on subclassing."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv1 = layers.Conv2D(filters, 3, padding="same")
        self.norm1 = layers.BatchNormalization()
        self.conv2 = layers.Conv2D(filters, 3, padding="same")
        self.norm2 = layers.BatchNormalization()

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return `relu(inputs + f(inputs))`."""
        x = keras.activations.relu(self.norm1(self.conv1(inputs), training=training))
        x = self.norm2(self.conv2(x), training=training)
        return keras.activations.relu(inputs + x)


class ResNet(keras.Model):
    """The network of the guide on subclassing."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.scale = layers.Rescaling(1 / 255)
        self.conv = layers.Conv2D(8, 3, strides=2)
        self.block_1 = ResNetBlock(8)
        self.block_2 = ResNetBlock(8)
        self.global_pool = layers.GlobalAveragePooling2D()
        self.classifier = layers.Dense(classes)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the logits."""
        x = self.conv(self.scale(inputs))
        x = self.block_2(self.block_1(x, training=training), training=training)
        return self.classifier(self.global_pool(x))


def _subclassed_resnet() -> Specimen:
    """Making new layers and models via subclassing: a ResNet."""
    keras.utils.set_random_seed(1)
    model = ResNet()
    settle(model, _bytes(16))
    return Specimen(model, _bytes(), outputs_of(model), 0.0, 255.0)


class Distiller(keras.Model):
    """A student that is trained against a teacher, as in the tutorial on distillation."""

    def __init__(self, student: keras.Model, teacher: keras.Model) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Return the student's logits."""
        return self.student(x, training=training)


def _distiller() -> Specimen:
    """Knowledge distillation: a subclassed model that calls its student."""
    keras.utils.set_random_seed(1)

    def network(width: int) -> keras.Model:
        return keras.Sequential(
            [keras.Input((28, 28, 1)), layers.Conv2D(width, 3, strides=2, padding="same"),
             layers.LeakyReLU(negative_slope=0.2), layers.MaxPooling2D(2, 1, padding="same"),
             layers.Conv2D(2 * width, 3, strides=2, padding="same"), layers.Flatten(),
             layers.Dense(10)]
        )  # fmt: skip

    model = Distiller(network(4), network(16))
    images = random_images(2, 28, 1)
    model(images)
    return Specimen(model, images, outputs_of(model.student))


def _several_outputs() -> Specimen:
    """The functional API's guide: one trunk, two heads by name."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.GlobalAveragePooling2D()(x)
    kind = layers.Dense(CLASSES, "softmax", name="kind")
    model = keras.Model(image, [kind(x), layers.Dense(1, name="age")(x)])

    def scores(x: tf.Tensor) -> tf.Tensor:
        inner = keras.Model(model.inputs[0], kind.input)(x)
        return ops.matmul(inner, kind.kernel) + kind.bias

    return Specimen(model, _bytes(), scores, 0.0, 255.0, needs={"output": "kind"})


def _multi_label() -> Specimen:
    """Multi-label classification: a backbone and sigmoids, binary cross-entropy."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.applications.resnet_v2.preprocess_input(image)
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.Dense(16, "relu")(layers.GlobalMaxPooling2D()(x))
    model = keras.Model(image, layers.Dense(CLASSES, activation="sigmoid")(x))
    return Specimen(model, _bytes(), logits_of(model), 0.0, 255.0)


SPECIMENS: dict[str, Build] = {
    "transfer learning (MobileNetV2)": _transfer_learning,
    "cats and dogs from scratch": _from_scratch,
    "flowers, Sequential": _flowers,
    "MNIST convnet": _mnist_convnet,
    "vision transformer": _vision_transformer,
    "MLP-Mixer": _mixer,
    "ConvMixer": _conv_mixer,
    "subclassed ResNet": _subclassed_resnet,
    "distillation, subclassed": _distiller,
    "several outputs": _several_outputs,
    "multi-label": _multi_label,
}
