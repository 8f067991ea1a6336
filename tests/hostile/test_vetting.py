"""Vetting has no side effects and accepts every honest model."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.applications import densenet, efficientnet, nasnet

import mnist_xai as mx
from mnist_xai import ModelFileError
from tests.hostile.corpus import Box


@pytest.fixture
def box(tmp_path):
    (tmp_path / "box").mkdir()
    return Box(tmp_path / "box")


def test_a_refused_model_leaves_no_uninitialised_variables_in_keras(box):
    config = box.config()
    box.layer(config)["config"]["units"] = 10**9
    with pytest.raises(ModelFileError, match="would make 1,000,000,000 numbers"):
        mx.load_model(box.archive(config=config))
    with keras.StatelessScope():
        pass  # When the scope ends, Keras initialises all variables in its list.


def many_layer_kinds():
    """Build a model with many kinds of layers, wrappers, functions and random state."""
    image = keras.Input((28, 28, 1))
    x = layers.Rescaling(2.0, offset=-1.0)(image)
    x = layers.RandomRotation(0.1)(layers.RandomTranslation(0.1, 0.1)(x))
    x = layers.SeparableConv2D(8, 3, activation=keras.activations.gelu)(x)
    x = layers.SpectralNormalization(layers.Conv2D(8, 3, kernel_regularizer="l2"))(x)
    x = layers.GroupNormalization(4)(layers.PReLU(shared_axes=[1, 2])(x))
    x = layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x))
    x = layers.Reshape((-1, 8))(keras.ops.relu(x) * 0.5)
    x = layers.MultiHeadAttention(2, 4)(x[:, ::32], x[:, ::32])
    x = layers.Bidirectional(layers.GRU(4))(layers.TimeDistributed(layers.Dense(6))(x))
    x = layers.GaussianNoise(0.1)(layers.LayerNormalization()(x))
    x = layers.Dense(10, kernel_constraint=keras.constraints.MaxNorm(2))(x)
    return keras.Model(image, layers.Activation(keras.activations.softmax)(x))


def compiled():
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(
        keras.optimizers.SGD(schedule),
        keras.losses.CategoricalFocalCrossentropy(from_logits=True),
        [keras.metrics.TopKCategoricalAccuracy(3), "accuracy"],
    )
    return model


@pytest.mark.parametrize("build", [many_layer_kinds, compiled])
def test_models_of_many_layer_kinds_and_compiled_models_are_loaded(build, tmp_path, images):
    model = build()
    model.save(tmp_path / "model.keras")
    loaded = mx.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images, training=False), model(images, training=False))


# The three deepest with one block where they have many with the same layers.
SHIPPED = {
    "MobileNetV3Small": keras.applications.MobileNetV3Small,
    "ConvNeXtTiny": keras.applications.ConvNeXtTiny,
    "EfficientNet": partial(efficientnet.EfficientNet, 1.0, 0.3, 224),
    "DenseNet": partial(densenet.DenseNet, [1, 1, 1, 1]),
    "NASNet": partial(nasnet.NASNet, penultimate_filters=288, num_blocks=1),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_networks_of_keras_applications_are_loaded(name, tmp_path):
    model = SHIPPED[name](input_shape=(32, 32, 3), weights=None, classes=10)
    model.save(tmp_path / "model.keras")
    loaded = mx.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def small(dtype=None):
    parts = [layers.Flatten(), layers.Dense(16, "relu", dtype=dtype), layers.Dense(10, dtype=dtype)]
    return keras.Sequential([keras.Input((28, 28, 1)), *parts])


def quantised(mode):
    model = small()
    model.layers[1].quantize(mode)
    return model


def adapted():
    model = small()
    model.layers[1].enable_lora(2)
    return model


SPECIAL = {
    "int8": lambda: quantised("int8"),
    "int4": lambda: quantised("int4"),
    "float8": lambda: quantised("float8"),
    "bfloat16": lambda: small("bfloat16"),
    "float16": lambda: small("float16"),
    "mixed": lambda: small("mixed_bfloat16"),
    "low-rank adapters": adapted,
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_quantised_and_low_precision_models_are_loaded(kind, tmp_path, images):
    model = SPECIAL[kind]()
    model.save(tmp_path / "model.keras")
    expected = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(mx.load_model(tmp_path / "model.keras")(images), expected(images))


def own_loss(y, z):
    return keras.ops.mean(y - z)


def test_a_nested_model_that_was_compiled_is_loaded(tmp_path, images):
    inner = small()
    inner.compile("adam", own_loss)
    image = keras.Input((28, 28, 1))
    model = keras.Model(image, layers.Softmax()(inner(image)))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(mx.load_model(tmp_path / "model.keras")(images), model(images))


def test_threads_can_load_models_while_another_thread_makes_tensors(box):
    path = box.archive()

    def build():
        tensor = keras.KerasTensor((None, 1 << 30))  # Larger than the limit for a file.
        return tensor.shape[1]

    with ThreadPoolExecutor(3) as pool:
        models = [pool.submit(mx.load_model, path) for _ in range(6)]
        sizes = [pool.submit(build) for _ in range(200)]
    assert {model.result().count_params() for model in models} == {59}
    assert {size.result() for size in sizes} == {1 << 30}


def test_stateful_layers_and_inputs_of_any_name_are_loaded(tmp_path):
    image = keras.Input(batch_shape=(1, 28, 28), name="compile_config")
    x = layers.LSTM(8, stateful=True)(layers.Normalization(mean=0.5, variance=0.1)(image))
    model = keras.Model({"compile_config": image}, layers.Dense(10)(x))
    model.save(tmp_path / "model.keras")
    digits = {"compile_config": np.random.default_rng(0).random((1, 28, 28), np.float32)}
    loaded = mx.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(digits), model(digits))
