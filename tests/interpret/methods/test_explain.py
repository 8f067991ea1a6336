"""How `explain` is called."""

import numpy as np
import pytest

import mnist_xai as mx

LABELS = [3, 1, 4, 1, 5]


@pytest.mark.parametrize("targets", [LABELS, np.eye(10)[LABELS], np.eye(10, dtype=bool)[LABELS]])
def test_targets_come_third_as_integers_or_one_hot_rows(network, images, targets):
    found = mx.explain(network, images, targets, method="gradient")
    assert found.targets.tolist() == LABELS
    np.testing.assert_array_equal(found.maps, mx.gradient_map(network, images, LABELS))


def test_one_integer_is_the_target_of_every_image(network, images):
    found = mx.explain(network, images, 7, method="gradient")
    assert found.targets.tolist() == [7] * len(images)


@pytest.mark.parametrize("method", ["gradient", mx.METHODS["gradient"]])
def test_a_method_in_the_place_of_targets_is_refused_with_the_way_out(network, images, method):
    with pytest.raises(TypeError, match="Pass the method by keyword, method="):
        mx.explain(network, images, method)


def test_former_names_still_work(network, images):
    assert mx.interpret.Accounted is mx.interpret.Conservative
    found = mx.explain(network, images, method="lrp_epsilon")
    assert found.lost is found.absorbed


def test_a_method_that_overrides_its_call_is_called(network, images):
    class Twice(mx.interpret.Gradient):
        def __call__(self, network, images, targets, *, score="logit"):
            return 2 * super().__call__(network, images, targets, score=score)

    once = mx.explain(network, images, method="gradient").maps
    np.testing.assert_array_equal(mx.explain(network, images, method=Twice()).maps, 2 * once)
