import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.gradients.gradient import InputXGradient, IntegratedGradients
from mnist_xai.interpret.methods.relevance.lrp import LRP
from mnist_xai.quality import (
    CONTROLS,
    PointingGame,
    RelevanceMass,
    closed_forms,
    digit_grid,
    distractor,
    planted_rule,
)
from mnist_xai.quality.synthetic.closed_forms import linear, maximum

EXPLAINERS = (InputXGradient(), IntegratedGradients(32), LRP())


def fitted(model, dataset, epochs):
    """Train for some seconds; return the network and its accuracy on the test images."""
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    images, labels = mx.normalise(dataset.train_images), dataset.train_labels
    model.fit(images, labels, batch_size=64, epochs=epochs, verbose=0)
    test = mx.normalise(dataset.test_images), dataset.test_labels
    return mx.Network(model), model.evaluate(*test, verbose=0)[1]


# --- The planted rule -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(digits):
    return planted_rule(digits)


def test_the_label_depends_on_the_pattern_in_the_square_only(digits, planted):
    dataset, known = planted
    square = (slice(None), slice(1, 7), slice(1, 7))
    shown = {(int(c), p.tobytes()) for c, p in zip(known.labels, known.images[square], strict=True)}
    assert len(shown) == 4
    assert len({pattern for _, pattern in shown}) == 4
    assert known.images[square].reshape(-1, 36).mean(axis=1).tolist() == [127.5] * len(known)
    assert known.masks.sum(axis=(1, 2)).tolist() == [36] * len(known)
    assert known.masks[square].all()
    outside = ~known.masks
    np.testing.assert_array_equal(known.images[outside], digits.test_images[outside])
    table = np.zeros((10, 4))
    np.add.at(table, (digits.train_labels, dataset.train_labels), 1)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    assert ((table - expected) ** 2 / expected).sum() < 55.5  # Chi², 27 degrees, one in a thousand.


def test_data_depend_on_the_seed_only(digits):
    for make in (planted_rule, distractor):
        (one, _), (again, _), (other, _) = make(digits), make(digits), make(digits, seed=1)
        assert one.sha256 == again.sha256 != other.sha256
    grids = [digit_grid(digits, 2, seed=seed).images for seed in (0, 0, 1)]
    np.testing.assert_array_equal(grids[0], grids[1])
    assert (grids[0] != grids[2]).any()


@pytest.fixture(scope="module")
def taught(planted):
    """Return a small network that learned the rule; an L1 penalty keeps unused weights at zero."""
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L1(3e-3))
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            hidden,
            layers.Dense(4, activation="softmax"),
        ]
    )
    network, accuracy = fitted(model, planted[0], epochs=12)
    assert accuracy > 0.99
    return network


@pytest.mark.parametrize("method", EXPLAINERS)
def test_maps_of_a_network_that_learned_the_rule_mark_the_square(taught, planted, method):
    batch = planted[1].take(slice(0, 40)).explained_by(taught, method)
    assert RelevanceMass()(batch).mean > 0.95
    assert PointingGame()(batch).mean == 1


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_do_not_mark_the_square(taught, planted, name):
    batch = planted[1].take(slice(0, 40)).explained_by(taught, CONTROLS[name])
    # The square is 5 % of the image, and brighter than most of it.
    assert RelevanceMass()(batch).mean < 0.2


# --- The grid -------------------------------------------------------------------------------------


def test_a_grid_has_four_classes_and_each_is_marked_once(digits):
    known = digit_grid(digits, 3, size="double")
    assert known.images.shape == (12, 56, 56, 1)
    assert known.masks.sum(axis=(1, 2)).tolist() == [28 * 28] * 12
    for start in range(0, 12, 4):
        assert len(set(known.labels[start : start + 4])) == 4
        assert (known.masks[start : start + 4].sum(axis=0) == 1).all()
        assert (known.images[start : start + 4] == known.images[start]).all()
    pairs = zip(digits.test_images, digits.test_labels, strict=True)
    originals = {image.tobytes(): c for image, c in pairs}
    for image, label, mask in zip(known.images, known.labels, known.masks, strict=True):
        assert originals[image[mask].tobytes()] == label


def test_pixels_of_a_halved_grid_are_means_of_four(digits):
    small, large = (digit_grid(digits, 3, size=size) for size in ("same", "double"))
    assert small.images.shape == (12, 28, 28, 1)
    blocks = large.images.reshape(12, 28, 2, 28, 2, 1).astype(float)
    assert np.abs(small.images - blocks.mean(axis=(2, 4))).max() <= 0.5
    np.testing.assert_array_equal(small.masks, large.masks[:, ::2, ::2])
    np.testing.assert_array_equal(small.labels, large.labels)


@pytest.fixture(scope="module")
def pooling(digits):
    """Return a network that takes the maximum of each class's score over all positions."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            layers.ZeroPadding2D(8),
            layers.Conv2D(16, 5, strides=2, activation="relu"),
            layers.Conv2D(32, 5, strides=2, activation="relu"),
            layers.Conv2D(64, 4, activation="relu"),
            layers.Conv2D(10, 1),
            layers.GlobalMaxPooling2D(),
            layers.Softmax(),
        ]
    )
    network, accuracy = fitted(model, digits, epochs=8)
    assert accuracy > 0.9
    return network


@pytest.mark.parametrize("method", EXPLAINERS)
def test_maps_mark_the_cell_of_the_explained_class(pooling, digits, method):
    known = digit_grid(digits, 8, size="double")
    assert RelevanceMass()(known.explained_by(pooling, method)).mean > 0.9


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_score_a_quarter_on_a_grid(pooling, digits, name):
    known = digit_grid(digits, 8, size="double")
    found = RelevanceMass()(known.explained_by(pooling, CONTROLS[name])).mean
    assert found == pytest.approx(0.25, abs=0.02)


# --- The distractor -------------------------------------------------------------------------------


def cramers_v(kinds, labels):
    """Return Cramér's V of two labels with ten values: 0 if independent, 1 if equivalent."""
    table = np.zeros((10, 10))
    np.add.at(table, (kinds, labels), 1)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum() / 9)


@pytest.mark.parametrize("shortcut", [False, True])
def test_an_object_reveals_the_class_only_in_training_images_with_a_shortcut(digits, shortcut):
    dataset, known = distractor(digits, shortcut=shortcut)
    corners = [(slice(None), slice(a, a + 6), slice(b, b + 6)) for a in (0, 22) for b in (0, 22)]
    kinds = {}
    for part in ("train", "test"):
        images = getattr(dataset, f"{part}_images")
        # The corner with the object has the most white pixels: half of all.
        cells = np.stack([images[c].reshape(-1, 36) for c in corners], axis=1)
        objects = cells[np.arange(len(images)), (cells == 255).sum(axis=2).argmax(axis=1)]
        assert ((objects == 255).sum(axis=1) == 18).all()
        kinds[part] = np.unique(objects, axis=0, return_inverse=True)[1].ravel()
        assert kinds[part].max() == 9
    assert (cramers_v(kinds["train"], dataset.train_labels) > 0.99) == shortcut
    assert cramers_v(kinds["test"], dataset.test_labels) < 0.25
    assert known.distractors.sum(axis=(1, 2)).tolist() == [36] * len(known)
    assert not (known.masks & known.distractors).any()
    np.testing.assert_array_equal(known.masks, (known.images[..., 0] > 0) & ~known.distractors)
    rest = ~known.distractors
    np.testing.assert_array_equal(known.images[rest], digits.test_images[rest])


def test_maps_of_a_network_that_learned_the_shortcut_mark_the_object(digits):
    shares = []
    for shortcut in (False, True):
        dataset, known = distractor(digits, shortcut=shortcut)
        network, _ = fitted(mx.build_model("dense", seed=0), dataset, epochs=8)
        batch = known.take(slice(0, 60)).explained_by(network, IntegratedGradients(32))
        positive = np.maximum(batch.relevance, 0)
        shares.append((positive * known.distractors[:60]).sum() / positive.sum())
    assert shares[0] < 0.1
    assert shares[1] > 2 * shares[0]


# --- Closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", closed_forms(), ids=lambda form: form.formula)
def test_methods_give_the_maps_in_closed_form(form):
    network = mx.Network(form.model)
    for method, expected in form.maps.items():
        found = method(network, form.images, np.zeros(1, np.int32))
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=str(method))


def test_networks_compute_their_formulas():
    rng = np.random.default_rng(0)
    images = rng.random((20, 1, 2, 1), np.float32)
    x1, x2 = images.reshape(20, 2).T
    values = [2 * x1 - x2 + 0.5, np.maximum(x1, x2)]
    values += [np.maximum(x1 + x2 - 1, 0), 1 - np.maximum(1 - x1 - x2, 0)]
    for form, expected in zip(closed_forms(), values, strict=True):
        z = mx.Network(form.model).logits(images)
        np.testing.assert_allclose(z, np.stack([expected, 0 * x1], axis=1), atol=1e-6)


def test_closed_forms_hold_for_other_images():
    for form in (linear(0.1, 0.9), maximum(0.4, 0.1)):
        test_methods_give_the_maps_in_closed_form(form)


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: digit_grid(d, 0), "count: expected at least 1; got 0"),
        (lambda d: digit_grid(d, 2.5), "count: expected a whole number; got 2.5"),
        (lambda d: digit_grid(d, seed=-1), "seed: expected at least 0; got -1"),
        (lambda d: planted_rule(d, seed=-1), "seed: expected at least 0; got -1"),
        (lambda d: distractor(d, seed=-1), "seed: expected at least 0; got -1"),
        (lambda d: distractor(d, side=np.nan), "side: expected a whole number; got nan"),
        (lambda d: digit_grid(d, size="half"), "size: expected same or double; got 'half'"),
        (lambda d: planted_rule(d, classes=1), "classes: expected at least 2; got 1"),
        (lambda d: planted_rule(d, corner=(25, 0)), "side: expected a square inside .* 28 x 28"),
        (lambda d: planted_rule(d, side=1), "side: expected room for 4 patterns; got 1 x 1"),
        (lambda d: distractor(d, side=29), "side: expected a square inside"),
        (lambda _: maximum(0.1, 0.2), "x1, x2: expected x1 > x2 > 0; got 0.1 and 0.2"),
    ],
)
def test_errors_name_the_argument_that_is_out_of_range(digits, make, message):
    with pytest.raises(ValueError, match=message):
        make(digits)


def test_too_few_classes_or_odd_sides_are_errors():
    images, labels = np.zeros((4, 5, 6, 1), np.uint8), np.array([0, 1, 2, 2])
    few = mx.Dataset("few", images, labels, images, labels, ("a", "b", "c", "d"))
    with pytest.raises(ValueError, match="dataset: expected images of at least 4 classes; got 3"):
        digit_grid(few, size="double")
    with pytest.raises(ValueError, match="size: expected images of even sides to halve; got 5 x 6"):
        digit_grid(few)
