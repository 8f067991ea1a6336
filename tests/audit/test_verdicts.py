"""Sentences that follow from figures, on audits made up for them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from mnist_xai.audit import Audit, MethodResult
from mnist_xai.audit.tasks import BUDGETS
from mnist_xai.audit.verdicts import warnings
from mnist_xai.evaluation import Evaluation
from mnist_xai.quality import CONTROLS, Scores


@dataclass
class Made:
    """An audit of given scores: by method, by metric."""

    scores: dict = field(default_factory=dict)
    missing: dict = field(default_factory=dict)
    refused: dict = field(default_factory=dict)
    probabilities: np.ndarray = field(default_factory=lambda: np.eye(3)[[0, 1, 2, 0]])
    labels: np.ndarray = field(default_factory=lambda: np.array([0, 1, 2, 0]))

    def told(self):
        names = [*dict.fromkeys([*self.scores, *self.missing, *self.refused]), *CONTROLS]
        results = {
            name: MethodResult(
                name,
                self.refused.get(name, ""),
                scores=self.scores.get(name, {}),
                missing=np.array(self.missing.get(name, [])),
            )
            for name in names
        }
        evaluation = Evaluation(self.probabilities.astype(np.float32), self.labels)
        budget = BUDGETS["full"]
        return warnings(Audit("m", None, None, evaluation, budget, {}, {}, results))


def constant(value, count=8):
    return Scores(np.full(count, value) + np.linspace(0, 1e-6, count))


def test_nothing_is_told_of_a_model_and_methods_without_fault():
    assert Made().told() == []


@pytest.mark.parametrize(("last", "told"), [(0.8, True), (-0.8, True), (0.2, False)])
def test_a_map_that_outlives_the_weights_is_told(last, told):
    curves = np.tile([0.9, last], (4, 1))
    scores = {"a_map": {"parameter_randomisation": Scores(curves.mean(axis=1), {}, curves)}}
    found = Made(scores=scores).told()
    assert found == (
        [
            "Hardly changed when all weights are drawn anew (similarity of the ranks of the "
            "pixels): a map (0.80). Do not use it to judge this model."
        ]
        if told
        else []
    )


def test_a_map_of_no_class_is_told():
    found = Made(scores={"one": {"random_logit": constant(0.95)}}).told()
    assert found == [
        "Nearly the same for every class (similarity): one (0.95). It cannot be told from such a "
        "map why this class was answered and no other."
    ]


def test_the_methods_that_beat_the_best_control_are_told_where_they_are_few():
    scores = {name: {"pixel_flipping": constant(5.0)} for name in CONTROLS}
    scores["sobel_edges"] = {"pixel_flipping": constant(1.0)}
    scores |= {f"bad_{i}": {"pixel_flipping": constant(3.0)} for i in range(3)}
    scores["good"] = {"pixel_flipping": constant(0.5)}
    what = "than sobel edges by pixel flipping, as far as these images can tell"
    assert Made(scores=scores).told() == [f"Better {what}, are of 4 methods only: good."]
    scores |= {f"good_{i}": {"pixel_flipping": constant(0.5)} for i in range(3)}
    assert Made(scores=scores).told() == [f"No better {what}: bad 0, bad 1, bad 2."]
    for name in ("good", "good_0", "good_1", "good_2"):
        scores[name] = {"pixel_flipping": constant(2.0)}
    assert Made(scores=scores).told() == [f"Better {what}, are of 7 methods only: none."]


def test_a_promise_that_is_missed_is_told_with_the_worst_first():
    found = Made(missing={"fair": [0.001, 0.02, 0.005], "bad": [0.03] * 3, "worse": [0.5] * 3})
    assert found.told() == [
        "Missing of what the maps should sum to (median share): worse (50.0%), bad (3.0%). Such "
        "pixels cannot be read as shares of the score."
    ]


def test_dead_maps_and_refusals_are_told():
    reasons = {2: "its map is zero everywhere", 3: "its image is black"}
    scores = {"dead": {"sparseness": Scores(np.array([1, 1, np.nan, np.nan]), reasons)}}
    assert Made(scores=scores, refused={"no_cam": "conv: has no outputs"}).told() == [
        "Dead: the map of 1 image is zero everywhere.",
        "No cam cannot treat this model: conv: has no outputs.",
    ]


def test_a_model_that_is_surer_than_right_is_told():
    sure = np.tile([0.98, 0.01, 0.01], (4, 1))
    found = Made(probabilities=sure, labels=np.array([0, 0, 0, 1])).told()
    assert found == [
        "The model is more sure than it is right: mean confidence 98.0%, accuracy 75.0%. Do not "
        "read its probabilities as probabilities."
    ]
    doubting = np.tile([0.4, 0.3, 0.3], (4, 1))
    assert "less sure" in Made(probabilities=doubting, labels=np.zeros(4, int)).told()[0]


def test_a_model_that_guesses_is_told():
    found = Made(labels=np.array([1, 2, 0, 1])).told()
    assert "hardly better than guessing (0.0% right)" in found[-1]
