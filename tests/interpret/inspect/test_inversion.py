import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import Network, UnsupportedLayerError, feature_inversion


@pytest.fixture(scope="module")
def trained():
    return Network(mx.load_model("saved_models/cnn.keras"))


@pytest.fixture(scope="module")
def drawn(digits):
    return mx.normalise(digits.test_images[:3])


def correlations(a, b):
    return np.array([np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)])


def test_early_layers_remember_the_image_and_later_ones_less(trained, drawn):
    alike = {}
    for layer in ("conv1", "pool2", "probabilities"):
        found, errors = feature_inversion(trained, drawn, layer, steps=200)
        assert found.shape == drawn.shape
        assert 0 <= found.min() <= found.max() <= 1
        assert (errors < 0.5).all()
        alike[layer] = correlations(found, drawn).mean()
    assert alike["conv1"] > 0.98
    assert alike["conv1"] > alike["pool2"] > alike["probabilities"]
    assert alike["probabilities"] < 0.6


def test_more_steps_bring_the_features_nearer(trained, drawn):
    errors = [feature_inversion(trained, drawn, "conv2", steps=n)[1] for n in (1, 30, 200)]
    assert (errors[0] > errors[1]).all()
    assert (errors[1] > errors[2]).all()


def test_the_errors_are_those_of_the_images_returned(trained, drawn):
    found, errors = feature_inversion(trained, drawn, "dense", steps=20)
    a, b = (trained.activations(x, ["dense"])["dense"] for x in (found, drawn))
    expected = [np.sqrt(((x - y) ** 2).sum() / (y**2).sum()) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(errors, expected, rtol=1e-4)


def test_the_identity_gives_the_image_back():
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(name="pixels"),
                              layers.Dense(3)])  # fmt: skip
    image = np.random.default_rng(0).random((2, 6, 6, 1), np.float32)
    found, errors = feature_inversion(model, image, "pixels", norm=0, total_variation=0)
    np.testing.assert_allclose(found, image, atol=1e-3)
    assert errors.max() < 2e-3


@pytest.mark.parametrize("alpha", [1.0, 2.0, 6.0])
def test_the_penalties_are_those_of_the_paper(alpha):
    """At the end no pixel inside (0, 1) can be moved to make the sum smaller."""
    model = keras.Sequential([keras.Input((5, 4, 2)), layers.Flatten(name="pixels"),
                              layers.Dense(3)])  # fmt: skip
    image = np.random.default_rng(1).uniform(0.3, 0.7, (1, 5, 4, 2)).astype("f")
    norm, tv = 0.002, 0.003

    def cost(x):
        steps = sum(np.sum(np.diff(x, axis=axis) ** 2) for axis in (1, 2))
        distance = np.sum((x - image) ** 2) / np.sum(image**2)
        return distance + norm * np.sum(x**alpha) + tv * steps

    found, _ = feature_inversion(
        model, image, "pixels", norm=norm, total_variation=tv, alpha=alpha, steps=1000
    )
    x = found.astype(np.float64)
    assert 0.02 < x.min() < x.max() < 0.98
    assert np.abs(x - image).max() > 0.02  # The prices matter.
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-3
        slope = (cost(x + step) - cost(x - step)) / 2e-3
        assert slope == pytest.approx(0, abs=2e-4)


def test_images_are_reproducible_and_each_pass_is_compiled_once(trained, drawn):
    first, _ = feature_inversion(trained, drawn, "conv2", steps=10)
    second, _ = feature_inversion(trained, drawn, "conv2", steps=10)
    np.testing.assert_array_equal(first, second)
    other, _ = feature_inversion(trained, drawn, "conv2", steps=10, seed=1)
    assert np.abs(first - other).max() > 0.01
    network = Network(trained.model, batch_size=2)
    split, _ = feature_inversion(network, drawn, "conv2", steps=10)
    np.testing.assert_allclose(split, first, atol=1e-3)
    feature_inversion(network, drawn[:1], "conv2", steps=3, alpha=2, norm=0.1)
    assert set(network.passes.traces().values()) == {1}


def test_every_kind_of_model_is_accepted_and_not_changed(model, images):
    weights = [w.copy() for w in model.get_weights()]
    network = Network(model)
    layer = network.layer_names[0]
    errors = [
        feature_inversion(network, images[:2], layer, steps=n, learning_rate=0.02)[1]
        for n in (1, 15)
    ]
    assert (errors[1] < errors[0]).all()
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_progress_is_reported_after_every_step(cnn, images):
    told = []
    feature_inversion(
        Network(cnn, batch_size=1), images[:2], "conv1", steps=2,
        progress=lambda *at: told.append(at),
    )  # fmt: skip
    assert told == [(i, 4) for i in range(1, 5)]


def test_a_missing_gradient_is_an_error(images):
    image = keras.Input((28, 28, 1))
    steps = keras.ops.cast(keras.ops.cast(layers.Flatten()(image) > 0.5, "int32"), "float32")
    model = keras.Model(image, layers.Dense(10, name="last")(steps))
    with pytest.raises(UnsupportedLayerError, match="last: no gradient reaches the image"):
        feature_inversion(model, images, "last")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"layer": "conv9"}, "layer: expected one of conv1"),
        ({"steps": 0}, "steps: expected at least 1; got 0"),
        ({"steps": np.inf}, "steps: expected a whole number; got inf"),
        ({"seed": -1}, "seed: expected at least 0; got -1"),
        ({"alpha": 0.5}, "alpha: expected at least 1; got 0.5"),
        ({"norm": -1}, "norm: expected at least 0; got -1"),
        ({"total_variation": np.inf}, "total_variation: expected at most 1,000,000; got inf"),
        ({"noise": 0}, r"noise: expected a share in \(0, 1\]; got 0"),
        ({"images": np.full((1, 28, 28, 1), 2.0)}, r"images: expected values in \[0, 1\]"),
        ({"images": np.zeros((1, 28, 28, 1))}, "'conv1' that are not all zero; those of image 0"),
    ],
)
def test_bad_input_is_refused(network, images, kwargs, message):
    with pytest.raises(ValueError, match=message):
        feature_inversion(network, **{"images": images, "layer": "conv1", **kwargs})
