"""Warnings that follow from the figures of invented audits."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from mnist_xai.audit import Audit, MethodResult
from mnist_xai.audit.tasks import BUDGETS
from mnist_xai.audit.verdicts import warnings
from mnist_xai.evaluation import Evaluation
from mnist_xai.quality import CONTROLS, Scores


@dataclass
class InventedAudit:
    """An audit with given scores, by method and metric."""

    scores: dict = field(default_factory=dict)
    residual_shares: dict = field(default_factory=dict)
    refused: dict = field(default_factory=dict)
    probabilities: np.ndarray = field(default_factory=lambda: np.eye(3)[[0, 1, 2, 0]])
    labels: np.ndarray = field(default_factory=lambda: np.array([0, 1, 2, 0]))

    def warnings(self):
        names = [*dict.fromkeys([*self.scores, *self.residual_shares, *self.refused]), *CONTROLS]
        results = {
            name: MethodResult(
                name,
                self.refused.get(name, ""),
                scores=self.scores.get(name, {}),
                residual_shares=np.array(self.residual_shares.get(name, [])),
            )
            for name in names
        }
        evaluation = Evaluation(self.probabilities.astype(np.float32), self.labels)
        budget = BUDGETS["full"]
        return warnings(Audit("m", None, None, evaluation, budget, {}, {}, results))


def constant(value, count=8):
    return Scores(np.full(count, value) + np.linspace(0, 1e-6, count))


def test_a_good_model_without_methods_has_no_warning():
    assert InventedAudit().warnings() == []


@pytest.mark.parametrize(("last", "warned"), [(0.8, True), (-0.8, True), (0.2, False)])
def test_a_map_that_is_similar_without_the_weights_is_a_warning(last, warned):
    curves = np.tile([0.9, last], (4, 1))
    scores = {"a_map": {"parameter_randomisation": Scores(curves.mean(axis=1), {}, curves)}}
    found = InventedAudit(scores=scores).warnings()
    assert found == (
        [
            "Almost unchanged when all weights are randomised (rank similarity to the map of the "
            "trained network): a map (0.80). Do not use this method to judge this model."
        ]
        if warned
        else []
    )


def test_a_map_that_is_the_same_for_every_class_is_a_warning():
    found = InventedAudit(scores={"one": {"random_logit": constant(0.95)}}).warnings()
    assert found == [
        "Almost the same map for every class (similarity): one (0.95). Such a map does not show "
        "why the model chose this class and not another."
    ]


def test_warnings_name_the_methods_that_beat_the_best_control_or_the_others_if_fewer():
    scores = {name: {"pixel_flipping": constant(5.0)} for name in CONTROLS}
    scores["sobel_edges"] = {"pixel_flipping": constant(1.0)}
    scores |= {f"bad_{i}": {"pixel_flipping": constant(3.0)} for i in range(3)}
    scores["good"] = {"pixel_flipping": constant(0.5)}
    assert InventedAudit(scores=scores).warnings() == [
        "Only 1 of 4 methods beats Sobel edges in pixel flipping: good."
    ]
    scores |= {f"good_{i}": {"pixel_flipping": constant(0.5)} for i in range(3)}
    assert InventedAudit(scores=scores).warnings() == [
        "3 of 7 methods do not beat Sobel edges in pixel flipping: bad 0, bad 1, bad 2."
    ]
    for name in ("good", "good_0", "good_1", "good_2"):
        scores[name] = {"pixel_flipping": constant(2.0)}
    assert InventedAudit(scores=scores).warnings() == [
        "None of 7 methods beats Sobel edges in pixel flipping."
    ]


def test_large_residuals_are_a_warning_with_the_largest_first():
    found = InventedAudit(
        residual_shares={"fair": [0.001, 0.02, 0.005], "bad": [0.03] * 3, "worse": [0.5] * 3}
    )
    assert found.warnings() == [
        "Maps that do not sum to the score as the method guarantees (median residual, as a share "
        "of the sum): worse (50.0%), bad (3.0%). Do not read their pixels as shares of the score."
    ]


def test_maps_without_score_and_methods_that_cannot_explain_the_model_are_warnings():
    reasons = {2: "its map is zero everywhere", 3: "its image is black"}
    scores = {"dead": {"sparseness": Scores(np.array([1, 1, np.nan, np.nan]), reasons)}}
    assert InventedAudit(scores=scores, refused={"no_cam": "conv: has no outputs"}).warnings() == [
        "Dead has no score for 1 image: its map is zero everywhere.",
        "No cam cannot explain this model: conv: has no outputs.",
    ]


def test_an_overconfident_or_underconfident_model_is_a_warning():
    sure = np.tile([0.98, 0.01, 0.01], (4, 1))
    found = InventedAudit(probabilities=sure, labels=np.array([0, 0, 0, 1])).warnings()
    assert found == [
        "The model is overconfident: mean confidence 98.0%, accuracy 75.0%. Do not read its "
        "outputs as probabilities."
    ]
    unsure = np.tile([0.4, 0.3, 0.3], (4, 1))
    assert (
        "underconfident"
        in InventedAudit(probabilities=unsure, labels=np.zeros(4, int)).warnings()[0]
    )


def test_a_model_that_guesses_is_a_warning():
    found = InventedAudit(labels=np.array([1, 2, 0, 1])).warnings()
    assert "hardly better than guessing (accuracy 0.0%)" in found[-1]
