import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.audit import BUDGETS, Budget, tasks
from mnist_xai.audit.tasks import sample_of, shown_of, tasks_of
from mnist_xai.evaluation import Evaluation
from mnist_xai.quality import METRICS
from mnist_xai.quality.synthetic.ground_truth import digit_grid

BUDGET = Budget(images=8, again=3, samples=2, without=("road", "road_least"))


class Sees(mx.Network):
    """A network that is told what some of the grids show, and makes nothing of the others."""

    def __init__(self, model, dataset, share):
        super().__init__(model)
        known = digit_grid(dataset, BUDGET.images, seed=0)
        told = np.random.default_rng(0).random(len(known)) < share
        self.grids = mx.normalise(known.images)
        self.answers = np.random.default_rng(1).random((len(known), 10))
        self.answers[np.flatnonzero(told), known.labels[told]] = 2

    def logits(self, images):
        if images.shape == self.grids.shape and np.array_equal(images, self.grids):
            return self.answers
        return super().logits(images)


def test_exams_ask_each_metric_once_of_the_images_that_it_needs(model, small_digits):
    once, again, grids = tasks_of(Sees(model, small_digits, 1), small_digits, BUDGET, 0)
    asked = [*once.metrics, *again.metrics, *grids.metrics]
    assert sorted(asked) == sorted(set(METRICS) - {"road", "road_least"})
    assert (len(once.images), len(again.images)) == (8, 3)
    np.testing.assert_array_equal(again.images, once.images[:3])
    assert once.same
    assert again.same
    assert not grids.same
    assert {m.about.needs for m in grids.metrics.values()} == {"masks"}


def test_a_network_is_held_to_the_cells_that_it_sees(model, small_digits):
    network = Sees(model, small_digits, 1)
    grids = tasks_of(network, small_digits, BUDGET, 0)[-1]
    known = digit_grid(small_digits, BUDGET.images, seed=0)
    assert "the class of 100% of the quarters among its first 4 answers" in grids.note
    assert "by chance it would be 40%" in grids.note
    np.testing.assert_array_equal(grids.masks, known.masks[:4])
    np.testing.assert_array_equal(grids.targets, known.labels[:4])


def test_a_network_that_sees_nothing_in_grids_is_held_to_none(model, small_digits):
    grids = tasks_of(Sees(model, small_digits, 0), small_digits, BUDGET, 0)[-1]
    assert not len(grids.images)
    assert grids.metrics == {}
    assert grids.note.endswith("so that no map was held to it.")


def test_images_that_make_no_grid_are_said_to(small_digits):
    odd = dataclasses.replace(
        small_digits,
        train_images=small_digits.train_images[:, :13],
        test_images=small_digits.test_images[:, :13],
    )

    grids = tasks._grids(SimpleNamespace(image_shape=(13, 14, 1)), odd, BUDGET, 0)
    assert "images of even sides to halve; got 13 x 14" in grids.note
    assert not len(grids.images)


@pytest.mark.parametrize("name", BUDGETS)
def test_no_metric_runs_the_method_more_often_than_the_budget_allows(name):
    budget = BUDGETS[name]
    for metric in budget.metrics().values():
        if metric.about.needs == "method":
            for field in ("samples", "others"):
                assert getattr(metric, field, 0) <= budget.samples
    assert budget.metrics()["sensitivity_n"] == METRICS["sensitivity_n"]


def test_a_sample_is_drawn_without_replacement_by_its_seed(small_digits):
    rows = sample_of(small_digits, 50, 0)
    assert len(set(rows)) == 50
    np.testing.assert_array_equal(rows, sample_of(small_digits, 50, 0))
    assert not np.array_equal(rows, sample_of(small_digits, 50, 1))
    assert len(sample_of(small_digits, 500, 0)) == len(small_digits.test_images)


def test_a_model_without_a_mistake_has_none_to_show():
    evaluation = Evaluation(np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.array([0, 1, 2, 0]))
    shown = shown_of(evaluation)
    assert shown["right"].tolist() == [0, 1, 2]
    assert shown["wrong"].tolist() == []
