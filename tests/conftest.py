"""What the tests share: data sets, networks, and the rule that MNIST may be missing."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from keras import layers
from playwright.sync_api import sync_playwright

import mnist_xai as mx


@pytest.fixture(scope="session")
def digits():
    return mx.load_data("digits")


@pytest.fixture(scope="session")
def mnist():
    try:
        return mx.load_data("mnist")
    except mx.DataUnavailableError as error:
        pytest.skip(f"needs MNIST: {error}")


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium: the system's, or else Playwright's own."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    with sync_playwright() as playwright:
        path = next(filter(None, found), playwright.chromium.executable_path)
        if not Path(path).exists():
            pytest.skip(
                "needs Chromium: `apt install chromium`, or "
                "`.venv/bin/playwright install chromium` (pages were not tested)"
            )
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """Opens a page from disk; in the end nothing was complained of, and nothing asked for."""
    context = browser.new_context()
    complaints, requests = [], []

    def open_page(path, **media):
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.emulate_media(**media)
        page.goto(path.as_uri())
        return page

    yield open_page
    context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


@pytest.fixture(scope="session")
def images():
    """Random images, so that no activation is zero by symmetry."""
    return np.random.default_rng(0).random((5, 28, 28, 1), np.float32)


def sequential_cnn():
    """The case study's network as the article writes it: Sequential, softmax fused."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def softmax_layer():
    return keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10), layers.Softmax()]
    )


def softmax_activation():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(10),
            layers.Activation("softmax"),
            layers.Dropout(0.5),
            layers.Activation("linear", dtype="float32"),
        ]
    )


def softmax_operation():
    image = keras.Input((28, 28, 1))
    scores = layers.Dense(10)(layers.Flatten()(image))
    return keras.Model(image, keras.ops.softmax(scores))


def residual():
    """Addition, concatenation, normalisation, dropout, depthwise convolution, mean pooling."""
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(8, 3, padding="same")(image)
    x = layers.LeakyReLU()(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", activation="gelu")(x)
    x = layers.Concatenate()([layers.Add()([x, y]), x - 0.5 * y])
    x = layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2)(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(layers.Dropout(0.5)(x)))


def nested():
    """A backbone inside a model, with a layer that is called twice."""
    backbone_image = keras.Input((28, 28, 1))
    shared = layers.Conv2D(4, 3, padding="same", activation="tanh", name="shared")
    x = shared(layers.Conv2D(4, 3, padding="same", name="first")(backbone_image))
    backbone = keras.Model(backbone_image, shared(x), name="backbone")
    head = keras.Sequential(
        [keras.Input((3136,)), layers.Dense(10, activation="softmax", name="out")], name="head"
    )
    image = keras.Input((28, 28, 1))
    return keras.Model(image, head(layers.Flatten(name="flatten")(backbone(image))))


def mixed_precision():
    return mx.build_model("cnn", seed=0, dtype="mixed_bfloat16")


MODELS = {
    **{name: (lambda name=name: mx.build_model(name, seed=0)) for name in mx.MODELS},
    "sequential_cnn": sequential_cnn,
    "softmax_layer": softmax_layer,
    "softmax_activation": softmax_activation,
    "softmax_operation": softmax_operation,
    "residual": residual,
    "nested": nested,
    "mixed_precision": mixed_precision,
}


_shared = {}  # By kind of model: the network, and its weights as they were.


def shared_network(kind):
    """Return the one network of this kind in this process, with every pass that it has compiled.

    Compiling costs ten times what running costs. A test that changes weights makes a network of
    its own.
    """
    if kind not in _shared:
        keras.utils.set_random_seed(0)
        built = MODELS[kind]()
        for variable in built.non_trainable_variables:
            if "moving" in variable.path:  # BatchNorm statistics that are not the identity.
                variable.assign(np.random.default_rng(1).uniform(0.5, 1.5, variable.shape))
        _shared[kind] = mx.Network(built), [w.copy() for w in built.get_weights()]
    return _shared[kind][0]


@pytest.fixture(scope="module", autouse=True)
def _shared_networks_keep_their_weights():
    yield
    for kind, (shared, before) in _shared.items():
        for old, new in zip(before, shared.model.get_weights(), strict=True):
            np.testing.assert_array_equal(new, old, f"a test of this module changed {kind}")


@pytest.fixture(params=MODELS)
def kind(request):
    """Every kind of classifier that a user may bring."""
    return request.param


@pytest.fixture
def any_network(kind):
    """The shared network of each kind."""
    return shared_network(kind)


@pytest.fixture
def model(any_network):
    """The shared model of each kind."""
    return any_network.model


@pytest.fixture(scope="session")
def network():
    """The shared network of the case study, untrained."""
    return shared_network("cnn")


@pytest.fixture
def cnn():
    """A model of the case study for one test, untrained; the test may change its weights."""
    return mx.build_model("cnn", seed=0)
