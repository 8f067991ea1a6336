"""Accuracy, calibration and confusion of a classifier."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import expit, softmax
from sklearn import metrics

from mnist_xai import Evaluation, build_model, evaluate


@pytest.fixture
def evaluation():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 4)).astype(np.float32) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Evaluation(p, rng.integers(0, 4, 500))


def test_metrics_equal_those_of_scikit_learn(evaluation):
    y, y_hat = evaluation.labels, evaluation.predictions
    assert evaluation.accuracy == pytest.approx(metrics.accuracy_score(y, y_hat))
    assert evaluation.loss == pytest.approx(metrics.log_loss(y, evaluation.probabilities), rel=1e-5)
    np.testing.assert_array_equal(evaluation.confusion, metrics.confusion_matrix(y, y_hat))
    precision, recall, _, _ = metrics.precision_recall_fscore_support(y, y_hat)
    np.testing.assert_allclose(evaluation.precision, precision)
    np.testing.assert_allclose(evaluation.recall, recall)


def test_calibration_error_equals_its_formula_in_a_loop(evaluation):
    confidence = evaluation.probabilities.max(axis=1)
    right = evaluation.predictions == evaluation.labels
    expected = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert evaluation.calibration_error == pytest.approx(expected, rel=1e-6)


def test_calibration_error_is_zero_when_calibrated_and_large_when_overconfident():
    labels = np.array([0, 0, 0, 1] * 50)
    calibrated = Evaluation(np.tile(np.float32([0.75, 0.25]), (200, 1)), labels)
    overconfident = Evaluation(np.tile(np.float32([1, 0]), (200, 1)), labels)
    assert calibrated.calibration_error == pytest.approx(0, abs=1e-6)
    assert overconfident.calibration_error == pytest.approx(0.25)
    assert np.isfinite(overconfident.loss)


def test_the_best_temperature_is_the_factor_by_which_logits_were_scaled():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(20_000, 4)) * 2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)  # Drawn from p.
    for factor in (0.3, 1, 3):
        scaled = np.exp(factor * z)
        scaled /= scaled.sum(axis=1, keepdims=True)
        found = Evaluation(scaled.astype(np.float32), labels).best_temperature()
        assert found == pytest.approx(factor, rel=0.03)


def test_the_most_confident_mistake_comes_first():
    p = np.float32([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    evaluation = Evaluation(p, np.array([0, 0, 0, 1]))
    assert evaluation.misclassified.tolist() == [2, 1]


def test_precision_and_recall_of_a_class_that_never_occurs_are_none():
    evaluation = Evaluation(np.float32([[0.9, 0.1, 0], [0.2, 0.8, 0]]), np.array([0, 0]))
    assert evaluation.per_class(("a", "b", "c")) == [
        {"class": "a", "images": 2, "precision": 1.0, "recall": 0.5},
        {"class": "b", "images": 0, "precision": 0.0, "recall": None},
        {"class": "c", "images": 0, "precision": None, "recall": None},
    ]


def test_evaluate_agrees_with_keras(cnn, digits):
    images = digits.test_images / np.float32(255)
    found = evaluate(cnn, images, digits.test_labels)
    cnn.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    loss, accuracy = cnn.evaluate(images, digits.test_labels, verbose=0)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda x, y: ((255 * x).astype(np.uint8), y),
            TypeError,
            r"expected floats in \[0, 1\]; got uint8. mnist_xai.normalise",
        ),
        (
            lambda x, y: (x[:, :14], y),
            ValueError,
            r"expected \(N, 28, 28, 1\); got \(5, 14, 28, 1\)",
        ),
        (lambda x, y: (x[:0], y[:0]), ValueError, "at least one"),
        (lambda x, y: (x, y[:3]), ValueError, r"expected 5 integers; got int64 \(3,\)"),
        (lambda x, y: (x, y / 2), ValueError, "expected 5 integers; got float64"),
        (
            lambda x, y: (x, y + 6),
            ValueError,
            "0 to 9, the classes of the model; got 6 to 10",
        ),
        (lambda x, y: (x, y - 1), ValueError, "got -1 to 3"),
    ],
)
def test_invalid_images_and_labels_are_refused(cnn, images, change, error, message):
    with pytest.raises(error, match=message):
        evaluate(cnn, *change(images, np.arange(5)))


def test_logits_are_turned_into_probabilities(images):
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
    found = evaluate(model, images, np.arange(5)).probabilities
    np.testing.assert_allclose(found, softmax(model(images), axis=1), rtol=1e-5)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_unit_is_evaluated_as_two_classes(images, activation):
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(1, activation)]
    )
    out = model(images).numpy()
    p = out if activation else expit(out)
    found = evaluate(model, images, np.array([0, 1, 1, 0, 1])).probabilities
    np.testing.assert_allclose(found, np.hstack([1 - p, p]), rtol=1e-5)


def mean_of_channel(network_input, slope):
    """Two classes: whether the mean pixel is above or below the middle of [0, 1]."""
    mean = layers.GlobalAveragePooling2D()(network_input)
    unit = layers.Dense(1, "sigmoid")
    out = unit(mean)
    unit.set_weights([np.full((1, 1), slope), np.array([-slope / 2])])
    return out


def test_a_range_in_which_the_model_is_far_more_accurate_is_reported():
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, mean_of_channel(image, 20.0))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    units = np.clip(labels[:, None, None, None] * 0.5 + 0.5 * rng.random((80, 8, 8, 1)), 0, 1)
    units = units.astype(np.float32)
    assert evaluate(model, units, labels).accuracy > 0.9
    with pytest.warns(UserWarning, match=r"in the range \[0, 1\] \(pixels='unit'\).*misread"):
        evaluate(model, 255 * units, labels, pixels="bytes")


def test_a_classifier_behind_preprocessing_has_its_own_accuracy(images):
    image = keras.Input((28, 28, 1))
    inner = build_model("dense", seed=0)
    model = keras.Model(image, inner(layers.Rescaling(1 / 255)(image)))
    labels = np.asarray(inner(images)).argmax(axis=1)
    assert evaluate(model, (255 * images).astype(np.float32), labels).accuracy == 1
    with pytest.raises(ValueError, match="Multiply them by 255"):
        evaluate(model, images, labels)


def test_dropout_is_off_during_evaluation(images):
    model = build_model("dense", seed=0)
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Dropout(0.5), model])
    labels = np.arange(5)
    first, second = (evaluate(model, images, labels).probabilities for _ in range(2))
    np.testing.assert_array_equal(first, second)
