"""The outcome of an audit: the results of all methods, compared with the best control."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_xai.audit.results import MethodResult
from mnist_xai.audit.tasks import Budget, Indices
from mnist_xai.data import Dataset
from mnist_xai.evaluation import Evaluation
from mnist_xai.interpret import Method, Network
from mnist_xai.quality import CONTROLS, Metric, paired_difference

_COMPARED_WITH_CONTROLS = ("faithfulness", "randomisation", "localisation")


@dataclass(frozen=True, eq=False)
class Audit:
    """The outcome of an audit.

    Attributes:
        model: Name of the model.
        network: The network audited.
        dataset: The data set; its test images were used.
        evaluation: The predictions for all test images.
        budget: How many images and samples were used.
        examples: Indices of the test images that the page shows, by kind: right, wrong, uncertain.
        methods: The methods by name, controls included.
        results: The result of each method, by name.
        grid_note: What a reader has to know about the images with known evidence; empty if no
            metric used any.
        path: The page; None if none was written.
    """

    model: str
    network: Network
    dataset: Dataset
    evaluation: Evaluation
    budget: Budget
    examples: Mapping[str, Indices]
    methods: Mapping[str, Method]
    results: Mapping[str, MethodResult]
    grid_note: str = ""
    path: Path | None = None

    @property
    def metrics(self) -> dict[str, Metric]:
        """Return the metrics that scored at least one method, by name."""
        used = {name for result in self.results.values() for name in result.scores}
        return {name: m for name, m in self.budget.metrics().items() if name in used}

    @property
    def explained(self) -> dict[str, MethodResult]:
        """Return the results of the methods that can explain this network, controls included."""
        return {name: result for name, result in self.results.items() if not result.refused}

    def best_control(self, metric: str) -> str | None:
        """Return the control with the best mean score.

        Returns:
            Its name; None where beating the control proves nothing. A map that never changes is
            robust, satisfies every axiom about changes and may be simple.
        """
        about = self.metrics[metric].about
        better = about.higher_is_better if about.family in _COMPARED_WITH_CONTROLS else None
        means = {
            name: self.results[name].scores[metric].mean
            for name in CONTROLS
            if metric in self.results[name].scores
        }
        means = {name: mean for name, mean in means.items() if math.isfinite(mean)}
        if better is None or not means:
            return None
        return (max if better else min)(means, key=lambda name: means[name])

    def difference_from_control(self, method: str, metric: str) -> tuple[float, float, float]:
        """Return by how much a method beats the best control on the same images.

        Returns:
            Mean of the differences, positive where the method is better, and both ends of its
            95 % confidence interval; NaN where there is nothing to compare.
        """
        control = self.best_control(metric)
        scores = self.results[method].scores.get(metric)
        if control is None or scores is None:
            return math.nan, math.nan, math.nan
        return paired_difference(self.metrics[metric], scores, self.results[control].scores[metric])

    def summary(self) -> dict[str, Any]:
        """Return every figure of the audit as JSON values.

        A repeated audit gives the same figures, except `seconds_per_image`.
        """
        return {
            "model": self.model,
            "data": {"name": self.dataset.name, "sha256": self.dataset.sha256},
            "budget": dataclasses.asdict(self.budget),
            "test": self.evaluation.summary(),
            "examples": {kind: rows.tolist() for kind, rows in self.examples.items()},
            "metrics": {
                name: {
                    "family": metric.about.family,
                    "higher_is_better": metric.about.higher_is_better,
                    "reference": metric.about.reference,
                    "best_control": self.best_control(name),
                }
                for name, metric in self.metrics.items()
            },
            "methods": {name: self._method_summary(name) for name in self.results},
        }

    def table(self) -> str:
        """Return the score of every method, metric and image as CSV."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["method", "metric", "image", "score", "refused"])
        for name, result in self.results.items():
            for metric, scores in result.scores.items():
                for image, value in enumerate(scores.values):
                    score = "" if np.isnan(value) else repr(float(value))
                    rows.writerow([name, metric, image, score, scores.refused.get(image, "")])
        return text.getvalue()

    def _method_summary(self, name: str) -> dict[str, Any]:
        result = self.results[name]
        residuals = result.residual_shares.tolist()
        return {
            "control": name in CONTROLS,
            "refused": result.refused or None,
            "seconds_per_image": _finite_or_none(result.seconds),
            "residual_share_median": _finite_or_none(np.median(residuals)) if residuals else None,
            "residual_share_max": _finite_or_none(max(residuals)) if residuals else None,
            "absorbed_shares": dict(result.absorbed_shares),
            "scores": {metric: self._score_summary(name, metric) for metric in result.scores},
        }

    def _score_summary(self, method: str, metric: str) -> dict[str, Any]:
        scores = self.results[method].scores[metric]
        difference, *interval = self.difference_from_control(method, metric)
        return {
            "mean": _finite_or_none(scores.mean),
            "interval": [_finite_or_none(end) for end in scores.interval()],
            "images": int(np.isfinite(scores.values).sum()),
            "difference_from_best_control": {
                "mean": _finite_or_none(difference),
                "interval": [_finite_or_none(end) for end in interval],
            },
        }


def _finite_or_none(value: float | np.floating[Any]) -> float | None:
    return float(value) if math.isfinite(value) else None
