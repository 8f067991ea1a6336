"""Data sets, normalisation, augmentation and training batches."""

import numpy as np
import pytest
import tensorflow as tf

from mnist_xai import Augmentation, DataError, Dataset, load_data, normalise
from mnist_xai.data import SOURCES, training_batches, warp

STRONG = Augmentation(rotation=15, scale=0.2, aspect=0.1, shear=0.3, translation=3)
SHAPE = (28, 28, 1)


def test_an_unknown_source_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match="mnist, fashion_mnist, cifar10, digits.*got 'mnits'"):
        load_data("mnits")
    assert SOURCES == ("mnist", "fashion_mnist", "cifar10", "digits")


def test_normalise_divides_by_255():
    found = normalise(np.uint8([0, 51, 255]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 0.2, 1], rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_normalise_refuses_images_that_may_be_normalised_already(dtype):
    with pytest.raises(TypeError, match="expected uint8 from 0 to 255; got"):
        normalise(np.zeros(3, dtype))


def test_the_hash_depends_on_images_and_labels_only(digits):
    same = Dataset("other name", digits.train_images.copy(), digits.train_labels.astype(np.uint8),
                   digits.test_images, digits.test_labels, digits.class_names)  # fmt: skip
    assert same.sha256 == digits.sha256
    changed = digits.train_images.copy()
    changed[7, 3, 3] ^= 1
    other = Dataset("digits", changed, digits.train_labels, digits.test_images,
                    digits.test_labels, digits.class_names)  # fmt: skip
    assert other.sha256 != digits.sha256


def test_labels_outside_the_classes_are_refused(digits):
    with pytest.raises(DataError, match="expected train labels from 0 to 2; got 0 to 9"):
        Dataset("digits", digits.train_images, digits.train_labels, digits.test_images,
                digits.test_labels, ("a", "b", "c"))  # fmt: skip


# --- Augmentation ------------------------------------------------------------------------


def test_a_warp_is_a_function_of_seed_epoch_and_image_only():
    few, many = (STRONG.transforms(3, 5, count, SHAPE) for count in (10, 1000))
    np.testing.assert_array_equal(few, many[:10])
    np.testing.assert_array_equal(few, STRONG.transforms(3, 5, 10, SHAPE))
    for seed, epoch in ((4, 5), (3, 6), (5, 3)):
        assert not np.isclose(few, STRONG.transforms(seed, epoch, 10, SHAPE)).all(axis=1).any()


def test_warps_stay_within_their_ranges_and_reach_the_ends():
    warps = STRONG.transforms(0, 0, 20_000, SHAPE).astype(np.float64)
    a = warps[:, [0, 1, 3, 4]].reshape(-1, 2, 2)
    centre = np.full(2, 13.5)
    shift = warps[:, [2, 5]] + a @ centre - centre
    assert 2.99 < np.abs(shift).max() <= 3.0001
    angle = np.rad2deg(np.arctan2(a[:, 1, 0], a[:, 0, 0]))
    assert 14.9 < np.abs(angle).max() <= 15.0001
    width, area = np.hypot(a[:, 0, 0], a[:, 1, 0]), np.linalg.det(a)
    height = area / width
    assert height.min() + 1e-6 >= 0.8
    assert height.min() < 0.801
    assert 1.199 < height.max() <= 1.2 + 1e-6
    assert 0.9 - 1e-5 <= (width / height).min() < 0.91
    assert 1.09 < (width / height).max() <= 1.1 + 1e-5
    # R'A = [[s_x, k s_y], [0, s_y]].
    shear = (a[:, 0, 0] * a[:, 0, 1] + a[:, 1, 0] * a[:, 1, 1]) / width / height
    assert 0.299 < np.abs(shear).max() <= 0.3 + 1e-5
    assert abs(np.mean(warps[:, 6:])) == 0


def test_no_augmentation_is_the_identity(digits):
    images = normalise(digits.train_images[:20])
    warps = Augmentation().transforms(0, 0, 20, SHAPE)
    np.testing.assert_allclose(warp(images, warps), images, atol=1e-6)


def test_an_integer_translation_moves_whole_pixels():
    image = np.random.default_rng(0).random((1, 6, 7, 2), np.float32)
    moved = np.asarray(warp(image, np.float32([[1, 0, 2, 0, 1, -1, 0, 0]])))
    np.testing.assert_allclose(moved[0, 1:, :-2], image[0, :-1, 2:], atol=1e-6)
    assert not moved[0, 0].any()
    assert not moved[0, :, -2:].any()


def test_a_warp_equals_bilinear_interpolation_in_a_loop():
    image = np.random.default_rng(0).random((1, 9, 9, 1), np.float32)
    transform = STRONG.transforms(0, 0, 1, (9, 9, 1))
    found = np.asarray(warp(image, transform))[0, ..., 0]
    a0, a1, a2, b0, b1, b2 = transform[0, :6].astype(np.float64)
    padded = np.pad(image[0, ..., 0].astype(np.float64), 20)
    for y in range(9):
        for x in range(9):
            u, v = a0 * x + a1 * y + a2 + 20, b0 * x + b1 * y + b2 + 20
            i, j = int(np.floor(v)), int(np.floor(u))
            s, t = v - i, u - j
            expected = (
                padded[i, j] * (1 - s) * (1 - t) + padded[i + 1, j] * s * (1 - t)
                + padded[i, j + 1] * (1 - s) * t + padded[i + 1, j + 1] * s * t
            )  # fmt: skip
            assert abs(found[y, x] - expected) < 1e-5


@pytest.mark.parametrize("bad", [{"rotation": -1}, {"scale": 1}, {"aspect": 2}])
def test_invalid_ranges_are_refused(bad):
    with pytest.raises(ValueError, match="expected every range >= 0, scale and aspect < 1"):
        Augmentation(**bad)


# --- Batches -----------------------------------------------------------------------------


def batches(digits, first_step=0, augmentation=STRONG, seed=1):
    return training_batches(
        digits.train_images[:100], digits.train_labels[:100], batch_size=16, classes=10,
        seed=seed, augmentation=augmentation, first_step=first_step,
    )  # fmt: skip


def test_batches_from_any_step_equal_those_of_an_uninterrupted_stream(digits):
    whole = list(batches(digits).take(15))  # 6 steps a pass: two and a half passes.
    for first in (1, 6, 13):
        images, labels = next(iter(batches(digits, first)))
        np.testing.assert_array_equal(images, whole[first][0])
        np.testing.assert_array_equal(labels, whole[first][1])


def test_a_pass_contains_each_image_at_most_once_with_its_own_warp(digits):
    images = normalise(digits.train_images[:100])
    plain = np.concatenate([np.asarray(x) for x, _ in batches(digits, augmentation=None).take(6)])
    found = [int(np.abs(images - x).sum(axis=(1, 2, 3)).argmin()) for x in plain]
    np.testing.assert_allclose(plain, images[found], atol=1e-7)
    assert len(set(found)) == 96
    warped = np.concatenate([np.asarray(x) for x, _ in batches(digits).take(6)])
    expected = warp(images[found], STRONG.transforms(1, 0, 100, SHAPE)[found])
    np.testing.assert_allclose(warped, expected, atol=1e-6)


def test_labels_stay_with_their_images(digits):
    images, labels = digits.train_images[:100, ..., 0], digits.train_labels[:100]
    for x, y in batches(digits, augmentation=None).take(6):
        for image, one_hot in zip(np.asarray(x), np.asarray(y), strict=True):
            i = np.abs(images / 255 - image[..., 0]).sum(axis=(1, 2)).argmin()
            assert one_hot.sum() == 1
            assert one_hot.argmax() == labels[i]


def test_passes_and_seeds_have_different_orders(digits):
    first = np.asarray(next(iter(batches(digits)))[0])
    assert not np.array_equal(first, next(iter(batches(digits, first_step=6)))[0])
    assert not np.array_equal(first, next(iter(batches(digits, seed=2)))[0])


def test_warped_images_stay_between_0_and_1(digits):
    for x, _ in batches(digits).take(6):
        assert tf.reduce_min(x) >= 0
        assert tf.reduce_max(x) <= 1 + 1e-6
