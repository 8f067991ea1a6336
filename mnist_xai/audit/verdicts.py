"""What an audit's figures mean, in plain sentences."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from mnist_xai.audit.results import MethodResult
from mnist_xai.audit.run import Audit
from mnist_xai.quality import CONTROLS

_FORGETS = "parameter_randomisation"
_CLASSES = "random_logit"
_FAITHFUL = ("pixel_flipping", "insertion")
_UNMOVED = 0.5  # Similarity to the map of a network without its training, above which it is alike.
_SAME = 0.9  # Similarity to the map of another class.
_MISSING = 0.01  # Share of the sum, as where an explanation warns.
_UNCALIBRATED = 0.05


def warnings(audit: Audit) -> list[str]:
    """Everything that a reader of the audit must not overlook, a sentence each.

    Args:
        audit: What was found.

    Returns:
        Sentences about the model first, then about methods, the gravest kind first.
    """
    rules: tuple[Callable[[Audit], Iterator[str]], ...] = (
        _of_model,
        _of_forgetting,
        _of_classes,
        _of_faithfulness,
        _of_sums,
        _of_dead_maps,
        _of_refusals,
    )
    return [sentence for rule in rules for sentence in rule(audit)]


def _of_model(audit: Audit) -> Iterator[str]:
    test = audit.evaluation
    if test.calibration_error > _UNCALIBRATED:
        confidence = float(test.probabilities.max(axis=1).mean())
        side = "more" if confidence > test.accuracy else "less"
        yield (
            f"The model is {side} sure than it is right: mean confidence {confidence:.1%}, "
            f"accuracy {test.accuracy:.1%}. Do not read its probabilities as probabilities."
        )
    if test.accuracy < 1 / test.probabilities.shape[1] * 2:
        yield (
            f"The model is hardly better than guessing ({test.accuracy:.1%} right): explanations "
            "tell why it answers as it does, not why that would be right."
        )


def _of_forgetting(audit: Audit) -> Iterator[str]:
    alike = {
        name: last
        for name, result in _methods(audit)
        if (last := abs(_last_similarity(result))) > _UNMOVED
    }
    if alike:
        yield (
            "Hardly changed when all weights are drawn anew (similarity of the ranks of the "
            f"pixels): {_measured(alike)}. Do not use {'it' if len(alike) == 1 else 'them'} to "
            "judge this model."
        )


def _of_classes(audit: Audit) -> Iterator[str]:
    alike = {
        name: scores.mean
        for name, result in _methods(audit)
        if (scores := result.scores.get(_CLASSES)) and scores.mean > _SAME
    }
    if alike:
        yield (
            f"Nearly the same for every class (similarity): {_measured(alike)}. It cannot be told "
            "from such a map why this class was answered and no other."
        )


def _of_faithfulness(audit: Audit) -> Iterator[str]:
    for metric in _FAITHFUL:
        control = audit.best_control(metric) if metric in audit.metrics else None
        if control is None:
            continue
        leads = {
            name: audit.difference_from_control(name, metric)[1] for name, _ in _methods(audit)
        }
        better = [name for name, low in leads.items() if low > 0]
        others = [name for name, low in leads.items() if low <= 0]
        what = f"than {_spaced(control)} by {_spaced(metric)}, as far as these images can tell"
        if len(others) > len(better):
            yield f"Better {what}, are of {len(leads)} methods only: {_listed(better) or 'none'}."
        elif others:
            yield f"No better {what}: {_listed(others)}."


def _of_sums(audit: Audit) -> Iterator[str]:
    missed = {
        name: float(np.median(result.missing))
        for name, result in _methods(audit)
        if len(result.missing) and np.median(result.missing) > _MISSING
    }
    if missed:
        shares = ", ".join(f"{_spaced(n)} ({share:.1%})" for n, share in _ordered(missed))
        yield (
            f"Missing of what the maps should sum to (median share): {shares}. Such pixels cannot "
            "be read as shares of the score."
        )


def _of_dead_maps(audit: Audit) -> Iterator[str]:
    for name, result in _methods(audit):
        refused = {
            (image, reason.removeprefix("its map "))
            for scores in result.scores.values()
            for image, reason in scores.refused.items()
            if reason.startswith("its map")
        }
        if refused:
            images = len({image for image, _ in refused})
            reasons = " or ".join(
                sorted({reason.removeprefix("its map ") for _, reason in refused})
            )
            yield f"{_called(name)}: the map of {_count(images, 'image')} {reasons}."


def _of_refusals(audit: Audit) -> Iterator[str]:
    for name, result in audit.results.items():
        if result.refused:
            yield f"{_called(name)} cannot treat this model: {result.refused}."


def _methods(audit: Audit) -> Iterator[tuple[str, MethodResult]]:
    """Findings of methods that are no controls and were not refused."""
    for name, result in audit.results.items():
        if name not in CONTROLS and not result.refused:
            yield name, result


def _last_similarity(result: MethodResult) -> float:
    """Mean similarity when every layer is random; NaN where it was not asked."""
    scores = result.scores.get(_FORGETS)
    if scores is None or scores.curves is None:
        return math.nan
    last = scores.curves[:, -1]
    kept = last[np.isfinite(last)]
    return float(kept.mean()) if len(kept) else math.nan


def _called(name: str) -> str:
    words = _spaced(name)
    return words[:1].upper() + words[1:]


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _ordered(values: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(values.items(), key=lambda pair: -pair[1])


def _measured(values: Mapping[str, float]) -> str:
    return ", ".join(f"{_spaced(name)} ({value:.2f})" for name, value in _ordered(values))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_spaced(name) for name in names)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
