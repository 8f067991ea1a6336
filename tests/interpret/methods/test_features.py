import numpy as np
import pytest

from mnist_xai.interpret.methods.perturbation.features import (
    Grid,
    Patches,
    Pixels,
    Segmentation,
    feature_count,
    present,
    shared,
    spread,
)


def test_patches_are_cut_off_at_the_edges_of_the_image():
    expected = [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    np.testing.assert_array_equal(Patches(2).labels(3, 5), expected)


def test_the_sides_of_two_cells_of_a_grid_differ_by_at_most_one_pixel():
    labels = Grid(3).labels(28, 29)
    assert set(np.bincount(labels.ravel())) <= {9 * 9, 9 * 10, 10 * 10}
    assert labels.max() == 8
    np.testing.assert_array_equal(Grid(7).labels(28, 28), Patches(4).labels(28, 28))
    np.testing.assert_array_equal(Grid(4).labels(4, 4), Pixels().labels(4, 4))


def test_a_segmentation_numbers_its_features_in_the_order_of_the_masks_numbers():
    labels = Segmentation([[7, 7, -1], [9, 7, -1]]).labels(2, 3)
    np.testing.assert_array_equal(labels, [[1, 1, 0], [2, 1, 0]])
    assert labels.dtype == np.int32


def test_segmentations_with_equal_masks_are_equal_and_later_changes_of_the_array_do_not_matter():
    mask = np.arange(6).reshape(2, 3)
    one, same = Segmentation(mask), Segmentation(mask.astype(np.uint8))
    assert one == same
    assert hash(one) == hash(same)
    assert one != Segmentation(mask.T)
    assert repr(one) == "Segmentation(2 x 3 pixels, 6 features)"
    mask[:] = 0
    assert one.labels(2, 3).max() == 5


def test_a_feature_is_present_if_any_channel_of_any_pixel_differs_from_the_baseline():
    labels = np.array([[0, 2], [1, 2]], np.int32)
    images = np.full((2, 2, 2, 3), 0.1, np.float32)
    images[0, 1, 1, 2] = 0.5  # One channel of one of the two pixels of feature 2.
    images[1, 1, 0] = 0
    expected = [[False, False, True], [False, True, False]]
    np.testing.assert_array_equal(present(images, labels, 0.1), expected)
    assert present(images, labels, 0.0).sum() == 5


def test_pixels_share_the_value_of_their_feature_or_each_get_all_of_it():
    labels = np.array([[0, 1, 1]], np.int32)
    np.testing.assert_array_equal(shared(np.array([[2, 3]]), labels)[0, 0, :, 0], [2, 1.5, 1.5])
    np.testing.assert_array_equal(spread(np.array([[2, 3]]), labels)[0, 0, :, 0], [2, 3, 3])


def test_features_are_counted_for_images_of_the_networks_size(network):
    found = [feature_count(f, network) for f in (Pixels(), Patches(5), Grid(4))]
    assert found == [784, 36, 16]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Patches(0), "side: expected at least 1; got 0"),
        (lambda: Grid(0), "cells: expected at least 1; got 0"),
        (lambda: Grid(5).labels(9, 4), "cells: expected at most 4 for images of 9 x 4 pixels"),
        (lambda: Segmentation([0, 1]), r"mask: expected integers \(H, W\); got int64 \(2,\)"),
        (lambda: Segmentation([[0.5]]), r"mask: expected integers \(H, W\); got float64"),
        (lambda: Segmentation(np.zeros((0, 2), int)), r"mask: expected integers"),
        (
            lambda: Segmentation([[0, 1]]).labels(28, 28),
            r"mask: expected the images' size \(28, 28\); got \(1, 2\)",
        ),
    ],
)
def test_bad_features_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
