"""The range of a model's pixels: given, found in its first layers, or asked for."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mnist_xai import Network, explain
from mnist_xai.interpret.core.pixels import CONVENTIONS, pixel_range
from tests.rounding import assert_equal_to_rounding

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def pictures():
    return np.random.default_rng(3).integers(0, 256, (3, 12, 12, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


def classifier():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )


def behind(step, shape=(12, 12, 3)):
    image = keras.Input(shape)
    return keras.Model(image, classifier()(step(image)))


def standardised(mean, deviation):
    return layers.Normalization(mean=mean, variance=np.square(deviation))


def subtracted_mean(x):
    return x[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (layers.Rescaling(1 / 255), "bytes"),
        (layers.Rescaling(1 / 127.5, -1), "bytes"),
        (lambda x: x / 255.0, "bytes"),
        (lambda x: (x - 127.5) / 127.5, "bytes"),
        (lambda x: layers.Lambda(lambda v: v / 255.0)(x), "bytes"),
        (lambda x: layers.Rescaling(1 / 255)(layers.RandomFlip()(x)), "bytes"),
        (lambda x: standardised(MEAN, DEVIATION)(layers.Rescaling(1 / 255)(x)), "bytes"),
        (standardised([123.0, 117.0, 104.0], [58.0, 57.0, 57.0]), "bytes"),
        (subtracted_mean, "bytes"),
        (keras.applications.mobilenet_v2.preprocess_input, "bytes"),
        (keras.applications.resnet50.preprocess_input, "bytes"),
        (keras.applications.densenet.preprocess_input, "bytes"),
        (standardised(MEAN, DEVIATION), "unit"),
        (layers.Rescaling(2.0, -1.0), "unit"),
        (layers.Rescaling(255.0), "unit"),
        (layers.Rescaling(0.5, 0.5), "tf"),
        (layers.Rescaling(127.5, 127.5), "tf"),
    ],
)
def test_the_range_is_what_the_first_layers_show(step, found):
    pixels = Network(behind(step)).pixels
    assert (pixels.low, pixels.high) == (CONVENTIONS[found].low, CONVENTIONS[found].high)
    assert pixels.origin == "found"


def test_the_range_is_found_behind_a_resizing():
    model = behind(lambda x: layers.Rescaling(1 / 255)(layers.Resizing(12, 12)(x)), (20, 20, 3))
    assert Network(model).pixels.high == (255.0,)


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x,
        layers.RandomFlip(),
        layers.ReLU(),
        layers.Rescaling(1.0, 1000.0),
        layers.Rescaling(1e-9),
        lambda x: x**2 / 255.0,
        lambda x: layers.Conv2D(3, 1)(x) / 255.0,
    ],
)
def test_the_range_stays_open_where_the_first_layers_show_none(step):
    assert Network(behind(step)).pixels.origin == "open"


def test_an_open_range_is_said_or_asked_for(pictures):
    model, units = classifier(), pictures / np.float32(255)
    assert "black is taken as 0" in str(explain(model, units, method="occlusion"))
    outside = 2 * units - 1
    found = explain(model, outside, method="gradient")
    assert "range of the pixels is not known" in str(found)
    for method in ("integrated_gradients", "occlusion", "lrp_z_box", "smoothgrad", "scorecam"):
        with pytest.raises(ValueError, match=r"\[0, 1\], or a known range.*pixels='bytes'.*'tf'"):
            explain(model, outside, method=method)
    explain(model, outside, method="integrated_gradients", pixels="tf")


def test_a_gradient_of_a_model_with_preprocessing_is_the_tapes(pictures):
    model = behind(keras.applications.resnet50.preprocess_input)
    for images in (pictures, pictures.astype(np.float32)):
        found = explain(model, images, 2, method="gradient")
        with tf.GradientTape() as tape:
            x = tf.constant(images, tf.float32)
            tape.watch(x)
            score = model(x)[:, 2]
        assert_equal_to_rounding(found.maps, tape.gradient(score, x), model)
        assert_equal_to_rounding(found.scores, score, model)
        np.testing.assert_allclose(found.images, images, atol=1e-4)


@pytest.mark.parametrize(
    ("module", "pixels"), [("resnet50", "caffe"), ("mobilenet_v2", "tf"), ("densenet", "torch")]
)
def test_preprocess_explains_pictures_and_pixels_explains_what_they_become(
    pictures, module, pixels
):
    model = classifier()
    preprocess = getattr(keras.applications, module).preprocess_input
    network = Network(model, preprocess=module)
    assert network.pixels.high == (255.0,)
    made = preprocess(pictures.astype(np.float32))
    assert_equal_to_rounding(network.logits(pictures), model(made), model)
    of_pictures = explain(network, pictures, 1, method="integrated_gradients").maps
    of_made = explain(model, made, 1, method="integrated_gradients", pixels=pixels).maps
    turned = of_made[..., ::-1] if pixels == "caffe" else of_made
    # The named ranges are the module's own up to its rounding of the constants.
    np.testing.assert_allclose(of_pictures, turned, rtol=0, atol=1e-4 * np.abs(turned).max())


def test_preprocess_may_be_a_layer_a_callable_or_a_function_of_arrays(pictures):
    model = classifier()

    def of_arrays(x):
        assert isinstance(x, np.ndarray)
        return x / 255

    units = pictures / np.float32(255)
    expected = explain(model, units, 1, method="occlusion").maps
    for step in (layers.Rescaling(1 / 255), lambda x: x / 255, of_arrays):
        network = Network(model, preprocess=step, pixels="bytes")
        found = explain(network, pictures, 1, method="occlusion").maps
        assert_equal_to_rounding(found, expected, network)


def test_images_of_a_caffe_model_are_shown_as_they_look(pictures):
    made = keras.applications.resnet50.preprocess_input(pictures.astype(np.float32))
    found = explain(classifier(), made, method="gradient", pixels="caffe")
    np.testing.assert_allclose(found.pictures, pictures / 255, atol=1e-6)


def test_images_without_a_channel_axis_are_taken_where_the_model_has_none():
    image = keras.Input((8, 8))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(image)))
    images = np.random.default_rng(0).random((2, 8, 8), np.float32)
    found = explain(model, images, 1, method="gradient")
    kernel = model.layers[-1].kernel.numpy()[:, 1].reshape(8, 8, 1)
    np.testing.assert_allclose(found.maps, np.stack([kernel, kernel]), rtol=1e-6)


def test_a_model_of_whole_numbers_takes_bytes(pictures):
    image = keras.Input((12, 12, 3), dtype="uint8")
    model = keras.Model(image, classifier()(layers.Rescaling(1 / 255)(image)))
    network = Network(model)
    assert_equal_to_rounding(network.logits(pictures), model(pictures), network)
    assert np.abs(explain(network, pictures, method="gradient").maps).max() > 0


@pytest.mark.parametrize(
    ("make", "images", "message"),
    [
        (lambda m: m, 300.0, r"expected values in \[0, 255\].*first layers show \(rescaling"),
        (lambda m: m, 0.9, r"expected values in \[0, 255\].*Multiply them by 255"),
        (lambda m: Network(m, pixels="tf"), 2.0, r"expected values in \[-1, 1\]; got 2"),
        (lambda m: Network(m, pixels=(0, 100)), -1.0, r"expected values in \[0, 100\]; got -1"),
    ],
)
def test_images_outside_the_range_are_refused(make, images, message):
    model = behind(layers.Rescaling(1 / 255, name="rescaling"))
    with pytest.raises(ValueError, match=message):
        explain(make(model), np.full((1, 12, 12, 3), images, np.float32))


def test_dark_bytes_are_accepted_once_the_range_is_given():
    model = behind(layers.Rescaling(1 / 255))
    dark = np.full((1, 12, 12, 3), 0.9, np.float32)
    explain(model, dark, method="gradient", pixels="bytes")


@pytest.mark.parametrize(
    ("pixels", "error", "message"),
    [
        ("rgb", ValueError, "pixels: expected one of unit, bytes, tf, caffe, torch, or"),
        ((1, 0), ValueError, "low < high"),
        ((0, np.inf), ValueError, "finite"),
        ((0, 1, 2), TypeError, "pixels: expected one of"),
        (3, TypeError, "pixels: expected one of"),
        ((0, [1, 2]), ValueError, "numbers for 3 channels; got 2"),
    ],
)
def test_bad_ranges_are_refused(pixels, error, message):
    with pytest.raises(error, match=message):
        pixel_range(pixels, 3)
    with pytest.raises(error, match=message):
        Network(classifier(), pixels=pixels)


@pytest.mark.parametrize(
    ("preprocess", "error", "message"),
    [
        ("resnet5", ValueError, "preprocess: expected a callable or one of .*resnet50"),
        (3, TypeError, "preprocess: expected a callable"),
        (lambda x: x[:1], ValueError, "preprocess: expected as many images"),
        (lambda x: x[:, :5], ValueError, r"preprocess: expected images \(12, 12, 3\)"),
    ],
)
def test_bad_preprocessing_is_refused(preprocess, error, message):
    with pytest.raises(error, match=message):
        Network(classifier(), preprocess=preprocess)


def test_options_of_a_network_are_not_given_twice(pictures):
    with pytest.raises(TypeError, match="pixels: a Network has it already"):
        explain(Network(classifier()), pictures / np.float32(255), pixels="unit")
