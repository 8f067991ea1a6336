import numpy as np
import pytest
from scipy import ndimage

from mnist_xai.interpret.methods.base import Method
from mnist_xai.quality import CONTROLS, ImageItself, RandomMap, SobelEdges


def maps_of(control, network, images, targets=None):
    targets = np.zeros(len(images), np.int32) if targets is None else targets
    return control(network, images, targets)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_a_method_that_ignores_the_network(name, network, images):
    control = CONTROLS[name]
    assert isinstance(control, Method)
    assert control.about.family == "control"
    assert control.passes(network) == 0
    maps = maps_of(control, None, images)
    assert maps.dtype == np.float32
    assert maps.shape == (5, 28, 28, 1)
    np.testing.assert_array_equal(maps[3:4], maps_of(control, network, images[3:4]))


def test_random_maps_depend_on_image_target_and_seed_only(network, images):
    maps = maps_of(RandomMap(), network, images)
    assert abs(maps.mean()) < 0.05
    assert maps.std() == pytest.approx(1, abs=0.05)
    others = [
        maps_of(RandomMap(), network, images + np.float32(1e-3)),
        maps_of(RandomMap(), network, images, np.ones(5, np.int32)),
        maps_of(RandomMap(seed=1), network, images),
        np.roll(maps, 1, axis=0),
    ]
    for other in others:
        assert abs(np.corrcoef(maps.ravel(), other.ravel())[0, 1]) < 0.06


def test_edges_are_found_only_where_the_image_changes(network):
    image = np.zeros((1, 9, 9, 1), np.float32)
    image[0, :, 4:] = 1
    edges = maps_of(SobelEdges(), network, image)[0, ..., 0]
    assert edges[:, 3:5].tolist() == [[4, 4]] * 9
    assert not edges[:, :3].any()
    assert not edges[:, 5:].any()


def test_edges_are_sobels_filters_in_both_directions(network, images):
    right = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    slopes = [
        [ndimage.correlate(grey, kernel, mode="nearest") for grey in images[..., 0]]
        for kernel in (right, right.T)
    ]
    maps = maps_of(SobelEdges(), network, images)[..., 0]
    np.testing.assert_allclose(maps, np.hypot(*slopes), rtol=1e-5)


def test_the_image_itself_is_a_copy(network, images):
    maps = maps_of(ImageItself(), network, images)
    np.testing.assert_array_equal(maps, images)
    maps[:] = 0
    assert images.any()
