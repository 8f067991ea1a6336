"""What does not fit is refused by name, before work is lost; never a map from a guess."""

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from tests.zoo.conventions import CONVENTIONS, pictures
from tests.zoo.heads import SPECIMENS as HEADS
from tests.zoo.kinds import KINDS

IMAGES = np.random.default_rng(0).random((3, 12, 12, 3), np.float32)


def network(convention, **more):
    return mx.Network(CONVENTIONS[convention].model(), **more)


def explain(images, convention="[0, 1]", targets=None, method="occlusion", **more):
    mx.explain(network(convention, **more), images, targets, method=method)


@pytest.mark.parametrize(
    "name", [name for name, known in CONVENTIONS.items() if known.inside and known.high == 255.0]
)
def test_divided_pictures_are_refused_by_a_model_that_divides(name):
    with pytest.raises(ValueError, match=r"images: expected values in \[0, 255\].*by 255"):
        explain(IMAGES, name)


@pytest.mark.parametrize(
    ("images", "convention", "message"),
    [
        (2 * IMAGES - 1, "Rescaling inside", r"images: expected values in \[0, 255\]"),
        (IMAGES - 3, "[0, 1]", "Say what black and white are: pixels="),
        (300 * IMAGES, "Rescaling inside", r"images: expected values in \[0, 255\]"),
        (np.full_like(IMAGES, np.nan), "[0, 1]", "images: expected finite values"),
        (IMAGES[0], "[0, 1]", r"pass images\[None\]"),
        (IMAGES[:, :5], "[0, 1]", r"images: expected \(N, 12, 12, 3\)"),
        (IMAGES[:0], "[0, 1]", "images: expected at least one"),
        (np.zeros((2, 12, 12, 3), bool), "[0, 1]", "images: expected floats"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, convention, message):
    with pytest.raises((ValueError, TypeError), match=message):
        explain(images, convention)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [("imagenet", "pixels: expected one of unit, bytes"), ((1, 0), "low < high"),
     ((0, np.inf), "finite numbers"), (((0, 0), (1, 1)), "expected numbers for 3 channels")],
)  # fmt: skip
def test_a_range_that_is_none_is_refused(pixels, message):
    with pytest.raises((ValueError, TypeError), match=message):
        network("[0, 1]", pixels=pixels)


def test_a_preprocess_that_loses_images_is_refused():
    with pytest.raises(ValueError, match="preprocess: expected as many images"):
        explain(IMAGES, preprocess=lambda x: np.asarray(x)[:1])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.zeros(len(x)),
        lambda x: np.zeros((len(x), 3)),
        lambda x: np.zeros_like(x)[:1, 0],
    ],
)
def test_a_function_that_returns_another_shape_is_refused(function):
    with pytest.raises(ValueError, match="expected numbers|classes: expected 3"):
        mx.explain(
            mx.Network(function, image_shape=(12, 12, 3), classes=4), IMAGES, method="occlusion"
        )


def test_a_network_that_answers_nan_is_refused_before_anything_is_explained():
    model = CONVENTIONS["[0, 1]"].model()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    with pytest.raises(ValueError, match="expected finite outputs.*NaN"):
        mx.explain(model, IMAGES, method="gradient")


def test_a_context_of_another_length_is_refused():
    given = KINDS["two inputs"]()
    for facts in (np.zeros((2, 2)), np.zeros((1, 3))):
        with pytest.raises(ValueError, match="context: expected|one for each row of the context"):
            mx.explain(
                mx.Network(given.model, context={"facts": facts}), given.images, method="gradient"
            )
    with pytest.raises(ValueError, match="context"):
        mx.Network(given.model)


@pytest.mark.parametrize(
    ("head", "targets", "score"),
    [("one sigmoid unit", 2, "logit"), ("softmax", 4, "logit"), ("softmax", -1, "probability"),
     ("regression", 1, "output"), ("embedding", 8, "output"), ("softmax", [0, 1], "logit"),
     ("softmax", [0.5] * 3, "logit")],
)  # fmt: skip
def test_a_target_that_the_head_does_not_have_is_refused(head, targets, score):
    given = HEADS[head]()
    with pytest.raises(ValueError, match="targets: expected"):
        mx.explain(given.model, given.images, targets, method="gradient", score=score)


def test_an_output_among_several_has_to_be_named():
    given = HEADS["several outputs, a dict"]()
    for output in (None, "colour", 2):
        with pytest.raises(ValueError, match="output: expected one of"):
            mx.Network(given.model, output=output)


def test_channels_first_is_refused_with_a_wrapper_that_works():
    given = KINDS["channels first"]()
    with pytest.raises(ValueError, match=r"channels first.*Permute\(\(3, 1, 2\)\)"):
        mx.Network(given.model)
    shape = (*given.images.shape[2:], 3)
    wrapped = keras.Sequential([keras.Input(shape), layers.Permute((3, 1, 2)), given.model])
    images = given.images.transpose(0, 2, 3, 1)
    assert mx.explain(wrapped, images, method="gradcam").maps.shape == (*images.shape[:3], 1)


def test_bytes_are_refused_where_nothing_says_that_the_model_takes_them():
    with pytest.raises(TypeError, match="pixels='bytes'"):
        explain(pictures())
