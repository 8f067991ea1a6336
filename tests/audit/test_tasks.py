import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import mnist_xai as mx
from mnist_xai.audit import BUDGETS, Budget, tasks
from mnist_xai.audit.tasks import choose_examples, draw_sample, tasks_of
from mnist_xai.evaluation import Evaluation
from mnist_xai.quality import METRICS
from mnist_xai.quality.synthetic.ground_truth import digit_grid

BUDGET = Budget(images=8, rerun_images=3, samples=2, without=("road", "road_least"))


class RecognisesSome(mx.Network):
    """A network that recognises a share of the cells of grids; its other logits are random."""

    def __init__(self, model, dataset, share):
        super().__init__(model)
        known = digit_grid(dataset, BUDGET.images, seed=0)
        recognised = np.random.default_rng(0).random(len(known)) < share
        self.grids = mx.normalise(known.images)
        self.grid_logits = np.random.default_rng(1).random((len(known), 10))
        self.grid_logits[np.flatnonzero(recognised), known.labels[recognised]] = 2

    def logits(self, images):
        if images.shape == self.grids.shape and np.array_equal(images, self.grids):
            return self.grid_logits
        return super().logits(images)


def test_every_metric_is_in_one_task_with_the_images_that_it_needs(model, small_digits):
    sample, rerun, grids = tasks_of(RecognisesSome(model, small_digits, 1), small_digits, BUDGET, 0)
    metrics = [*sample.metrics, *rerun.metrics, *grids.metrics]
    assert sorted(metrics) == sorted(set(METRICS) - {"road", "road_least"})
    assert (len(sample.images), len(rerun.images)) == (8, 3)
    np.testing.assert_array_equal(rerun.images, sample.images[:3])
    assert sample.from_sample
    assert rerun.from_sample
    assert not grids.from_sample
    assert {m.about.needs for m in grids.metrics.values()} == {"masks"}


def test_maps_of_recognised_cells_are_scored(model, small_digits):
    network = RecognisesSome(model, small_digits, 1)
    grids = tasks_of(network, small_digits, BUDGET, 0)[-1]
    known = digit_grid(small_digits, BUDGET.images, seed=0)
    assert "among the network's top 4 predictions for 100% of the cells" in grids.note
    assert "chance would give 40%" in grids.note
    np.testing.assert_array_equal(grids.masks, known.masks[:4])
    np.testing.assert_array_equal(grids.targets, known.labels[:4])


def test_no_grid_is_scored_if_cells_are_recognised_no_more_often_than_by_chance(
    model, small_digits
):
    grids = tasks_of(RecognisesSome(model, small_digits, 0), small_digits, BUDGET, 0)[-1]
    assert not len(grids.images)
    assert grids.metrics == {}
    assert grids.note.endswith("does not recognise the cells, so no map was scored.")


def test_the_note_says_why_images_cannot_be_arranged_in_grids(small_digits):
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


def test_a_sample_has_no_repeated_image_and_depends_on_the_seed_only(small_digits):
    rows = draw_sample(small_digits, 50, 0)
    assert len(set(rows)) == 50
    np.testing.assert_array_equal(rows, draw_sample(small_digits, 50, 0))
    assert not np.array_equal(rows, draw_sample(small_digits, 50, 1))
    assert len(draw_sample(small_digits, 500, 0)) == len(small_digits.test_images)


def test_a_model_without_errors_has_no_wrong_example():
    evaluation = Evaluation(np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.array([0, 1, 2, 0]))
    examples = choose_examples(evaluation)
    assert examples["right"].tolist() == [0, 1, 2]
    assert examples["wrong"].tolist() == []
