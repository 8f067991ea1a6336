"""The page of an audit: pictures, tables and sentences of what was found."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from mnist_xai import plots
from mnist_xai.audit.results import MethodResult
from mnist_xai.audit.run import Audit
from mnist_xai.audit.tasks import images_of
from mnist_xai.audit.verdicts import warnings
from mnist_xai.quality import CONTROLS, Metric, Scores
from mnist_xai.quality.statistics import Values
from mnist_xai.report import Cell, Section, Table, html_page, png

_FAMILIES = {
    "faithfulness": "Does what the map calls important matter to the score?",
    "robustness": "Does the map stay the same when the image hardly changes?",
    "randomisation": "Does the map change when the network, or the class, is another?",
    "complexity": "How much does a reader have to look at?",
    "localisation": "Does the map point where the evidence is known to lie?",
    "axiom": "Does the method keep the rules that it should keep?",
}
_READING = (
    "Mean over the images, and half the width of its 95 % confidence interval; in the head stands "
    "whether more or less is better. Choose a head to sort by it."
)
_CONTEST = (
    "+ is better than the best control, and ! is not, image by image, as far as the interval tells."
)
_NO_SCORE = Cell("–", math.nan)


def audit_page(audit: Audit) -> str:
    """Lay out the page of an audit.

    Args:
        audit: What was found.

    Returns:
        One self-contained HTML page.
    """
    test, dataset, budget = audit.evaluation, audit.dataset, audit.budget
    methods = sum(name not in CONTROLS for name in audit.results)
    summary = [
        f"The model {audit.model} ({audit.network.model.count_params():,} parameters) and "
        f"{methods} ways to explain it, on {dataset.name} "
        f"({len(dataset.test_images):,} test images, SHA-256 {dataset.sha256[:12]}).",
        f"It is right on {test.accuracy:.2%} of the test images. Every method explained "
        f"{budget.images} of them, drawn at random; the metrics that have to run a method again "
        f"used the first {budget.again}. What is explained is the logit of the predicted class.",
        "No score in this page proves an explanation right. A method that does no better than a "
        "control, which never looks at the model, has shown nothing.",
    ]
    sections = list(_sections(audit))
    beside = {}
    if audit.path:
        beside = {
            audit.path.with_suffix(".json").name: "every figure, for programs",
            audit.path.with_suffix(".csv").name: "the score of every image",
        }
    return html_page(f"Audit of {audit.model}", summary, sections, beside)


def _sections(audit: Audit) -> Iterator[Section]:
    found = warnings(audit)
    yield Section(
        "Warnings",
        "What must not be overlooked, in plain words." if found else "There is none.",
        points=found,
    )
    yield from _of_model(audit)
    yield from _leaderboards(audit)
    yield from _maps(audit)
    yield from _curves(audit)
    yield _certificates(audit)
    yield _costs(audit)
    yield _glossary(audit)


def _of_model(audit: Audit) -> Iterator[Section]:
    test, names, stamp = audit.evaluation, audit.dataset.class_names, _stamp(audit)
    head = ["class", "images", "precision", "recall"]
    rows = [
        [r["class"], str(r["images"]), *(_share(r[key]) for key in ("precision", "recall"))]
        for r in test.per_class(names)
    ]
    yield Section(
        "Errors of the model",
        f"{len(test.misclassified)} of {len(test.labels):,} test images are mistaken; colour marks "
        "the mistakes.",
        png(plots.confusion_matrix(test.confusion, names, stamp=stamp)),
        [head, *rows],
    )
    confidence, right = test.probabilities.max(axis=1), test.predictions == test.labels
    yield Section(
        "Calibration of the model",
        f"How often the model is right by how sure it is. Expected calibration error "
        f"{test.calibration_error:.4f}, cross-entropy {test.loss:.4f} nats.",
        png(plots.reliability_diagram(confidence, right, stamp=stamp)),
    )


def _leaderboards(audit: Audit) -> Iterator[Section]:
    for family, question in _FAMILIES.items():
        metrics = {n: m for n, m in audit.metrics.items() if m.about.family == family}
        if not metrics and family == "localisation" and audit.grids:
            yield Section(f"Leaderboard: {family}", f"{question} Not asked. {audit.grids}")
        if not metrics:
            continue
        text = [question, _READING]
        if any(audit.best_control(name) for name in metrics):
            text.append(_CONTEST)
        if family == "localisation":
            text.append(audit.grids)
        yield Section(f"Leaderboard: {family}", " ".join(text), table=_leaderboard(audit, metrics))


def _leaderboard(audit: Audit, metrics: Mapping[str, Metric]) -> Table:
    arrows = {True: " (more)", False: " (less)", None: ""}
    head = [
        Cell("method"),
        *(
            Cell(_spaced(n) + arrows[m.about.higher_is_better], hint=f"It says {m.about.shows}.")
            for n, m in metrics.items()
        ),
    ]
    rows = [
        [
            Cell(f"{_spaced(name)}{' (control)' if name in CONTROLS else ''}"),
            *(_score(audit, name, metric) for metric in metrics),
        ]
        for name, result in audit.results.items()
        if not result.refused
    ]
    return [head, *rows]


def _score(audit: Audit, method: str, metric: str) -> Cell:
    """A mean with its interval, marked where it differs from the best control's."""
    scores = audit.results[method].scores.get(metric)
    if scores is None or not math.isfinite(scores.mean):
        return _NO_SCORE
    low, high = scores.interval()
    half = f" ± {_rounded((high - low) / 2, 2)}" if math.isfinite(low) else ""
    text = f"{_rounded(scores.mean)}{half}"
    if method in CONTROLS:
        return Cell(text, scores.mean)
    mean, at_least, at_most = audit.difference_from_control(method, metric)
    if not math.isfinite(mean):
        return Cell(text, scores.mean)
    control = audit.best_control(metric) or ""
    relation = "better" if at_least > 0 else "worse" if at_most < 0 else "no better, no worse,"
    hint = (
        f"{_spaced(method)} is {relation} than {_spaced(control)} on the same images: lead "
        f"{_rounded(mean)}, interval {_rounded(at_least)} to {_rounded(at_most)}."
    )
    return Cell(text, scores.mean, "good" if at_least > 0 else "bad", hint)


def _maps(audit: Audit) -> Iterator[Section]:
    rows = np.concatenate(list(audit.shown.values()))
    images, titles = images_of(audit.dataset, rows), list(_titles(audit))
    kinds = ", ".join(f"{len(rows)} {kind}" for kind, rows in audit.shown.items() if len(rows))
    for family, found in _by_family(audit).items():
        yield Section(
            f"Explanations: {family}",
            f"Test images ({kinds}) above their maps, red for the predicted class and blue "
            "against it. Every map has a scale of its own.",
            png(
                plots.method_rows(
                    images,
                    {name: result.shown for name, result in found.items()},
                    titles,
                    f"Explanations: {family}",
                    stamp=_stamp(audit),
                )
            ),
        )


def _titles(audit: Audit) -> Iterator[str]:
    test, names = audit.evaluation, audit.dataset.class_names
    for kind, rows in audit.shown.items():
        for row in rows:
            p = test.probabilities[row].max()
            yield (
                f"{kind}\n{names[test.labels[row]]} → {names[test.predictions[row]]}\n{p:.1%} sure"
            )


def _curves(audit: Audit) -> Iterator[Section]:
    name = "parameter_randomisation"
    panels = {
        family: {
            method: curve
            for method, result in found.items()
            if (curve := _mean_curve(result.scores.get(name))) is not None
        }
        for family, found in _by_family(audit).items()
    }
    panels = {family: curves for family, curves in panels.items() if curves}
    if not panels:
        return
    points = len(next(iter(next(iter(panels.values())).values())))
    ticks = [str(number) for number in range(1, points + 1)]
    yield Section(
        "Randomisation curves",
        "How similar a map stays when the layers are given random weights, one more at every "
        "point, the last layer first: 1 is the same order of the pixels, -1 the opposite one. A "
        "map that explains what was learnt comes to 0.",
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
    kept = scores.curves[np.isfinite(scores.curves).all(axis=1)]
    return kept.mean(axis=0) if len(kept) else None


def _certificates(audit: Audit) -> Section:
    rows: list[list[str | Cell]] = []
    for name, result in audit.results.items():
        missing = result.missing
        if len(missing):
            absorbed = ", ".join(f"{key} {share:.1%}" for key, share in result.absorbed.items())
            median, largest = float(np.median(missing)), float(missing.max())
            rows.append(
                [
                    _spaced(name),
                    Cell(_percent(median), median),
                    Cell(_percent(largest), largest, "bad" if largest > 0.01 else "good"),
                    absorbed or "–",
                ]
            )
    return Section(
        "Completeness certificates",
        "Some methods promise that a map sums to the score, or to its difference from a baseline. "
        "Here is the share of that sum which is missing, and what biases and stabilisers kept "
        "(mean size, as shares of the score).",
        table=[["method", "missing (median)", "missing (largest)", "kept by name"], *rows],
    )


def _costs(audit: Audit) -> Section:
    rows: list[list[str | Cell]] = [
        [
            _spaced(name),
            Cell(f"{1000 * f.seconds:,.1f} ms", f.seconds),
            Cell(f"{passes:,.0f}", passes),
        ]
        for name, f in audit.results.items()
        if not f.refused
        for passes in [audit.methods[name].passes(audit.network)]
    ]
    return Section(
        "Cost of each method",
        "Time that one image took, measured once on the machine of the audit, and passes through "
        "the network.",
        table=[["method", "time for an image", "passes"], *rows],
    )


def _glossary(audit: Audit) -> Section:
    points = [
        f"{_spaced(name).capitalize()} says {m.about.shows}. Caveat: "
        f"{m.about.caveat}. Settings: {m!r}. Source: {m.about.reference}."
        for name, m in audit.metrics.items()
    ]
    return Section("What the metrics are", "Every metric of this page.", points=points)


def _by_family(audit: Audit) -> dict[str, dict[str, MethodResult]]:
    """Findings of the methods that were not refused, by family and name."""
    families: dict[str, dict[str, MethodResult]] = {}
    for name, result in audit.results.items():
        if not result.refused:
            families.setdefault(audit.methods[name].about.family, {})[name] = result
    return families


def _stamp(audit: Audit) -> str:
    return f"{audit.dataset.name}, SHA-256 {audit.dataset.sha256[:12]}; {audit.model}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _rounded(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.0e}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(share: float) -> str:
    return f"{share:.2%}" if share >= 5e-5 or share == 0 else f"{share * 100:.0e} %"
