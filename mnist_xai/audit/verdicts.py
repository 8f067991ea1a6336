"""State what the figures of an audit mean, as warnings in plain sentences."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from mnist_xai.audit.outcome import Audit
from mnist_xai.audit.results import MethodResult
from mnist_xai.audit.wording import (
    capitalised,
    control_name,
    count,
    listing,
    listing_with_values,
    spaced,
)
from mnist_xai.quality import CONTROLS

_WEIGHT_METRIC = "parameter_randomisation"
_CLASS_METRIC = "random_logit"
_FAITHFULNESS_METRICS = ("pixel_flipping", "insertion")
# Thresholds above which a reader is warned:
_SIMILAR_WITHOUT_WEIGHTS = 0.5  # Similarity to the map of the network with random weights.
_SIMILAR_ACROSS_CLASSES = 0.9  # Similarity to the map of another class.
_LARGE_RESIDUAL = 0.01  # Share of the guaranteed sum; `Explanation.warnings` uses the same.
_LARGE_CALIBRATION_ERROR = 0.05


def warnings(audit: Audit) -> list[str]:
    """Return everything that a reader of the audit must not overlook.

    Args:
        audit: The outcome of the audit.

    Returns:
        Sentences about the model, then about the methods, the most serious kind first.
    """
    rules: tuple[Callable[[Audit], Iterator[str]], ...] = (
        _miscalibrated_model,
        _guessing_model,
        _independent_of_weights,
        _independent_of_class,
        _not_better_than_control,
        _incomplete_sums,
        _maps_without_score,
        _refusals,
    )
    return [sentence for rule in rules for sentence in rule(audit)]


def _miscalibrated_model(audit: Audit) -> Iterator[str]:
    test = audit.evaluation
    if test.calibration_error > _LARGE_CALIBRATION_ERROR:
        confidence = float(test.probabilities.max(axis=1).mean())
        side = "overconfident" if confidence > test.accuracy else "underconfident"
        yield (
            f"The model is {side}: mean confidence {confidence:.1%}, accuracy "
            f"{test.accuracy:.1%}. Do not read its outputs as probabilities."
        )


def _guessing_model(audit: Audit) -> Iterator[str]:
    test = audit.evaluation
    if test.accuracy < 1 / test.probabilities.shape[1] * 2:
        yield (
            f"The model is hardly better than guessing (accuracy {test.accuracy:.1%}). "
            "Explanations show why it predicts a class, not that the class is right."
        )


def _independent_of_weights(audit: Audit) -> Iterator[str]:
    similar = {
        name: similarity
        for name, result in _explained_methods(audit)
        if (similarity := abs(_similarity_without_weights(result))) > _SIMILAR_WITHOUT_WEIGHTS
    }
    if similar:
        yield (
            "Almost unchanged when all weights are randomised (rank similarity to the map of the "
            f"trained network): {listing_with_values(similar, '.2f')}. Do not use "
            f"{'this method' if len(similar) == 1 else 'these methods'} to judge this model."
        )


def _independent_of_class(audit: Audit) -> Iterator[str]:
    similar = {
        name: scores.mean
        for name, result in _explained_methods(audit)
        if (scores := result.scores.get(_CLASS_METRIC)) and scores.mean > _SIMILAR_ACROSS_CLASSES
    }
    if similar:
        yield (
            "Almost the same map for every class (similarity): "
            f"{listing_with_values(similar, '.2f')}. Such a map does not show why the model chose "
            "this class and not another."
        )


def _not_better_than_control(audit: Audit) -> Iterator[str]:
    for metric in _FAITHFULNESS_METRICS:
        control = audit.best_control(metric) if metric in audit.metrics else None
        if control is None:
            continue
        # The lower end of the interval: a method beats the control if chance does not explain it.
        lows = {
            name: audit.difference_from_control(name, metric)[1]
            for name, _ in _explained_methods(audit)
        }
        better = [name for name, low in lows.items() if low > 0]
        others = [name for name, low in lows.items() if low <= 0]
        control, total = f"{control_name(control)} in {spaced(metric)}", len(lows)
        if others and not better:
            yield f"None of {count(total, 'method')} beats {control}."
        elif len(others) > len(better):
            verb = "beats" if len(better) == 1 else "beat"
            yield f"Only {len(better)} of {total} methods {verb} {control}: {listing(better)}."
        elif others:
            verb = "does" if len(others) == 1 else "do"
            yield f"{len(others)} of {total} methods {verb} not beat {control}: {listing(others)}."


def _incomplete_sums(audit: Audit) -> Iterator[str]:
    residuals = {
        name: float(np.median(result.residual_shares))
        for name, result in _explained_methods(audit)
        if len(result.residual_shares) and np.median(result.residual_shares) > _LARGE_RESIDUAL
    }
    if residuals:
        yield (
            "Maps that do not sum to the score as the method guarantees (median residual, as a "
            f"share of the sum): {listing_with_values(residuals, '.1%')}. Do not read their "
            "pixels as shares of the score."
        )


def _maps_without_score(audit: Audit) -> Iterator[str]:
    for name, result in _explained_methods(audit):
        refused = {
            (image, reason)
            for scores in result.scores.values()
            for image, reason in scores.refused.items()
            if reason.startswith("its map")  # Other reasons are about the image or the metric.
        }
        if refused:
            images = count(len({image for image, _ in refused}), "image")
            reasons = " or ".join(sorted({reason for _, reason in refused}))
            yield f"{capitalised(name)} has no score for {images}: {reasons}."


def _refusals(audit: Audit) -> Iterator[str]:
    for name, result in audit.results.items():
        if result.refused:
            yield f"{capitalised(name)} cannot explain this model: {result.refused}."


def _explained_methods(audit: Audit) -> Iterator[tuple[str, MethodResult]]:
    """Yield the results of the methods that can explain the network, without the controls."""
    for name, result in audit.explained.items():
        if name not in CONTROLS:
            yield name, result


def _similarity_without_weights(result: MethodResult) -> float:
    """Return the mean similarity when all layers are random; NaN where it was not measured."""
    scores = result.scores.get(_WEIGHT_METRIC)
    if scores is None or scores.curves is None:
        return math.nan
    last = scores.curves[:, -1]
    finite = last[np.isfinite(last)]
    return float(finite.mean()) if len(finite) else math.nan
