"""Lay out the page of an audit: its warnings, figures and tables."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from mnist_xai import plots
from mnist_xai.audit.outcome import Audit
from mnist_xai.audit.results import MethodResult
from mnist_xai.audit.verdicts import warnings
from mnist_xai.audit.wording import (
    capitalised,
    control_name,
    count,
    four_decimals,
    percent,
    rounded,
    spaced,
)
from mnist_xai.data import normalise
from mnist_xai.quality import CONTROLS, Metric, Scores
from mnist_xai.quality.statistics import Values
from mnist_xai.report import Cell, Section, Table, html_page, png

_QUESTIONS = {
    "faithfulness": "Does the score change when the pixels that the map calls important change?",
    "robustness": "Does the map stay the same when the image changes slightly?",
    "randomisation": "Does the map change with the weights of the network and with the class?",
    "complexity": "How concentrated is the map?",
    "localisation": "Does the map point to the region where the evidence is known to lie?",
    "axiom": "Does the method satisfy the axioms that a method of its kind should satisfy?",
}
_HOW_TO_READ = (
    "Each cell is the mean over the images ± half the width of its 95 % confidence interval. The "
    "head of a column says whether more or less is better; click it to sort by the column."
)
_MARKS = (
    "The mark + means better than the best control on the same images: the 95 % confidence "
    "interval of the difference is above zero. The mark ! means that this was not shown."
)
_NO_SCORE = Cell("–", math.nan)


def audit_page(audit: Audit) -> str:
    """Return the page of an audit as one self-contained HTML document.

    Args:
        audit: The outcome of the audit.
    """
    files_beside = {}
    if audit.path:
        files_beside = {
            audit.path.with_suffix(".json").name: "all figures, for programs",
            audit.path.with_suffix(".csv").name: "the score of every image",
        }
    return html_page(
        f"Audit of {audit.model}", _introduction(audit), list(_sections(audit)), files_beside
    )


def _introduction(audit: Audit) -> list[str]:
    test, dataset, budget = audit.evaluation, audit.dataset, audit.budget
    methods = sum(name not in CONTROLS for name in audit.results)
    images = min(budget.images, len(dataset.test_images))
    return [
        f"This page audits the model {audit.model} ({audit.network.model.count_params():,} "
        f"parameters) and {count(methods, 'explanation method')} on {dataset.name} "
        f"({len(dataset.test_images):,} test images, SHA-256 {dataset.sha256[:12]}).",
        f"The model classifies {test.accuracy:.2%} of the test images correctly. Every method "
        f"explains the logit of the predicted class for {images} of them, drawn at random. Metrics "
        f"that run a method again use the first {min(budget.rerun_images, images)}.",
        "No score on this page proves that an explanation is right. A method that does not beat "
        "the controls, which never look at the model, has shown nothing.",
    ]


def _sections(audit: Audit) -> Iterator[Section]:
    found = warnings(audit)
    yield Section(
        "Warnings",
        "Read these first." if found else "There are no warnings.",
        points=found,
    )
    yield from _model_sections(audit)
    yield from _leaderboards(audit)
    yield from _example_maps(audit)
    yield from _randomisation_curves(audit)
    yield _residuals(audit)
    yield _costs(audit)
    yield _glossary(audit)


def _model_sections(audit: Audit) -> Iterator[Section]:
    test, names, stamp = audit.evaluation, audit.dataset.class_names, _stamp(audit)
    head = ["class", "images", "precision", "recall"]
    rows = [
        [r["class"], str(r["images"]), *(four_decimals(r[key]) for key in ("precision", "recall"))]
        for r in test.per_class(names)
    ]
    yield Section(
        "Errors of the model",
        f"The model misclassifies {len(test.misclassified)} of {len(test.labels):,} test images. "
        "Colour marks the errors.",
        png(plots.confusion_matrix(test.confusion, names, stamp=stamp)),
        [head, *rows],
    )
    confidence, right = test.probabilities.max(axis=1), test.predictions == test.labels
    yield Section(
        "Calibration of the model",
        f"Accuracy by confidence. Expected calibration error {test.calibration_error:.4f}, "
        f"cross-entropy {test.loss:.4f} nats.",
        png(plots.reliability_diagram(confidence, right, stamp=stamp)),
    )


def _leaderboards(audit: Audit) -> Iterator[Section]:
    for family, question in _QUESTIONS.items():
        metrics = {n: m for n, m in audit.metrics.items() if m.about.family == family}
        notes = [audit.grid_note] if family == "localisation" and audit.grid_note else []
        title = f"Leaderboard: {family}"
        if metrics:
            marks = [_MARKS] if any(audit.best_control(name) for name in metrics) else []
            text = " ".join([question, _HOW_TO_READ, *marks, *notes])
            yield Section(title, text, table=_leaderboard(audit, metrics))
        elif notes:
            yield Section(title, " ".join([question, "Not measured.", *notes]))


def _leaderboard(audit: Audit, metrics: Mapping[str, Metric]) -> Table:
    directions = {True: " (more)", False: " (less)", None: ""}
    head = [
        Cell("method"),
        *(
            Cell(
                spaced(name) + directions[metric.about.higher_is_better],
                hint=f"Shows {metric.about.shows}.",
            )
            for name, metric in metrics.items()
        ),
    ]
    rows = [
        [
            Cell(f"{spaced(name)}{' (control)' if name in CONTROLS else ''}"),
            *(_score_cell(audit, name, metric) for metric in metrics),
        ]
        for name in audit.explained
    ]
    return [head, *rows]


def _score_cell(audit: Audit, method: str, metric: str) -> Cell:
    """Return a mean with its interval, marked by the comparison with the best control."""
    scores = audit.results[method].scores.get(metric)
    if scores is None or not math.isfinite(scores.mean):
        return _NO_SCORE
    low, high = scores.interval()
    half = f" ± {rounded((high - low) / 2, 2)}" if math.isfinite(low) else ""
    text = f"{rounded(scores.mean)}{half}"
    difference, low, high = audit.difference_from_control(method, metric)
    if method in CONTROLS or not math.isfinite(difference):
        return Cell(text, scores.mean)
    control = control_name(audit.best_control(metric) or "")
    relation = "better than" if low > 0 else "worse than" if high < 0 else "not clearly better than"
    hint = (
        f"{capitalised(method)} is {relation} {control} on the same images: mean difference "
        f"{rounded(difference)}, interval {rounded(low)} to {rounded(high)} (positive is better)."
    )
    return Cell(text, scores.mean, "good" if low > 0 else "bad", hint)


def _example_maps(audit: Audit) -> Iterator[Section]:
    rows = np.concatenate(list(audit.examples.values()))
    images, titles = normalise(audit.dataset.test_images[rows]), list(_example_titles(audit))
    kinds = ", ".join(f"{len(rows)} {kind}" for kind, rows in audit.examples.items() if len(rows))
    for family, results in _by_family(audit).items():
        title = f"Explanations: {family}"
        maps = {name: result.example_maps for name, result in results.items()}
        figure = plots.method_rows(images, maps, titles, title, stamp=_stamp(audit))
        yield Section(
            title,
            f"Test images ({kinds}) above their maps. Red supports the predicted class and blue "
            "opposes it. Every map has its own scale.",
            png(figure),
        )


def _example_titles(audit: Audit) -> Iterator[str]:
    test, names = audit.evaluation, audit.dataset.class_names
    for kind, rows in audit.examples.items():
        for row in rows:
            label, prediction = names[test.labels[row]], names[test.predictions[row]]
            yield f"{kind}\n{label} → {prediction}\n{test.probabilities[row].max():.1%} sure"


def _randomisation_curves(audit: Audit) -> Iterator[Section]:
    metric = "parameter_randomisation"
    panels = {
        family: {
            method: curve
            for method, result in results.items()
            if (curve := _mean_curve(result.scores.get(metric))) is not None
        }
        for family, results in _by_family(audit).items()
    }
    panels = {family: curves for family, curves in panels.items() if curves}
    if not panels:
        return
    points = len(next(iter(next(iter(panels.values())).values())))
    ticks = [str(number) for number in range(1, points + 1)]
    yield Section(
        "Randomisation curves",
        "Rank similarity to the map of the trained network when the layers get random weights, the "
        "last layer first and one more at every point: 1 is the same order of the pixels, -1 the "
        "reverse order. A map that explains what the network has learnt falls to 0.",
        png(
            plots.curve_panels(
                panels,
                ticks,
                "Similarity to the map of the trained network",
                xlabel="layers with random weights, counted from the output",
                ylabel="similarity",
                columns=1,
                stamp=_stamp(audit),
            )
        ),
    )


def _mean_curve(scores: Scores | None) -> Values | None:
    if scores is None or scores.curves is None:
        return None
    complete = scores.curves[np.isfinite(scores.curves).all(axis=1)]
    return complete.mean(axis=0) if len(complete) else None


def _residuals(audit: Audit) -> Section:
    rows: list[list[str | Cell]] = []
    for name, result in audit.results.items():
        residuals = result.residual_shares
        if len(residuals):
            absorbed = ", ".join(
                f"{key} {share:.1%}" for key, share in result.absorbed_shares.items()
            )
            median, largest = float(np.median(residuals)), float(residuals.max())
            rows.append(
                [
                    spaced(name),
                    Cell(percent(median), median),
                    Cell(percent(largest), largest, "bad" if largest > 0.01 else "good"),
                    absorbed or "–",
                ]
            )
    return Section(
        "Completeness",
        "Some methods guarantee that a map sums to the score, or to its difference from the score "
        "of a baseline. The residual is the difference between the map's sum and this guarantee. "
        "Residuals and what biases and stabilisers absorb (mean size) are shares of the "
        "guaranteed sum.",
        table=[["method", "residual (median)", "residual (largest)", "absorbed"], *rows],
    )


def _costs(audit: Audit) -> Section:
    rows: list[list[str | Cell]] = [
        [
            spaced(name),
            Cell(f"{1000 * result.seconds:,.1f} ms", result.seconds),
            Cell(f"{passes:,.0f}", passes),
        ]
        for name, result in audit.explained.items()
        for passes in [audit.methods[name].passes(audit.network)]
    ]
    return Section(
        "Cost of each method",
        "Time for one image, measured once on the machine of the audit, and passes through the "
        "network.",
        table=[["method", "time per image", "passes"], *rows],
    )


def _glossary(audit: Audit) -> Section:
    points = [
        f"{capitalised(name)} shows {m.about.shows}. Caveat: {m.about.caveat}. "
        f"Settings: {m!r}. Source: {m.about.reference}."
        for name, m in audit.metrics.items()
    ]
    return Section("Metrics", "What each metric of this page shows.", points=points)


def _by_family(audit: Audit) -> dict[str, dict[str, MethodResult]]:
    """Return the results of the methods that can explain the network, by family and name."""
    families: dict[str, dict[str, MethodResult]] = {}
    for name, result in audit.explained.items():
        families.setdefault(audit.methods[name].about.family, {})[name] = result
    return families


def _stamp(audit: Audit) -> str:
    return f"{audit.dataset.name}, SHA-256 {audit.dataset.sha256[:12]}; {audit.model}"
