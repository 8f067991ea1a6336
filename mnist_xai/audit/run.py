"""The audit: every method, asked every question, one after the other."""

import csv
import dataclasses
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mnist_xai.audit.cached_method import CachedMethod
from mnist_xai.audit.results import MethodResult, ResultStore
from mnist_xai.audit.tasks import (
    BUDGETS,
    Budget,
    Indices,
    Task,
    images_of,
    shown_of,
    tasks_of,
)
from mnist_xai.data import Dataset, load_data
from mnist_xai.evaluation import Evaluation
from mnist_xai.interpret import METHODS, Method, Network, UnsupportedLayerError, explain
from mnist_xai.interpret.methods.explanation import Explanation
from mnist_xai.io.checkpoint import versions
from mnist_xai.io.files import check_writable, unfinished_path, write_atomically
from mnist_xai.io.locks import output_lock
from mnist_xai.io.saving import load_model
from mnist_xai.quality import CONTROLS, ExplainedBatch, Metric, Scores, paired_difference

_CONTESTED = ("faithfulness", "randomisation", "localisation")


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        model: What the model is called.
        network: The network audited.
        dataset: The data it was audited on.
        evaluation: Its predictions on all test images.
        budget: How much was looked at.
        shown: Numbers of the test images shown, by kind.
        methods: What was on batch, controls included, by name.
        results: What was found of each of them, by name.
        grids: What a reader has to know of the images with known evidence; empty without any.
        path: The page, where one was written.
    """

    model: str
    network: Network
    dataset: Dataset
    evaluation: Evaluation
    budget: Budget
    shown: Mapping[str, Indices]
    methods: Mapping[str, Method]
    results: Mapping[str, MethodResult]
    grids: str = ""
    path: Path | None = None

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics that scored at least one method, by name, in their order."""
        used = {name for result in self.results.values() for name in result.scores}
        return {name: m for name, m in self.budget.metrics().items() if name in used}

    def best_control(self, metric: str) -> str | None:
        """The control with the best mean score; None where it is no feat to beat one.

        A map that never changes is robust, keeps every axiom about change and may be simple: there
        a control is not to be beaten.
        """
        about = self.metrics[metric].about
        better = about.higher_is_better if about.family in _CONTESTED else None
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
        """By how much a method beats the best control: mean and 95 % interval, or NaN."""
        control = self.best_control(metric)
        ours = self.results[method].scores.get(metric)
        if control is None or ours is None:
            return math.nan, math.nan, math.nan
        return paired_difference(self.metrics[metric], ours, self.results[control].scores[metric])

    def summary(self) -> dict[str, Any]:
        """Every figure of the audit, for programs; the costs are the only ones that vary."""
        return {
            "model": self.model,
            "data": {"name": self.dataset.name, "sha256": self.dataset.sha256},
            "budget": dataclasses.asdict(self.budget),
            "test": self.evaluation.summary(),
            "shown": {kind: rows.tolist() for kind, rows in self.shown.items()},
            "metrics": {
                name: {
                    "family": metric.about.family,
                    "higher_is_better": metric.about.higher_is_better,
                    "reference": metric.about.reference,
                    "best_control": self.best_control(name),
                }
                for name, metric in self.metrics.items()
            },
            "methods": {name: self._of_method(name) for name in self.results},
        }

    def table(self) -> str:
        """The score of every image under every metric by every method, as CSV."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["method", "metric", "image", "score", "refused"])
        for name, result in self.results.items():
            for metric, scores in result.scores.items():
                for image, value in enumerate(scores.values):
                    shown = "" if np.isnan(value) else repr(float(value))
                    rows.writerow([name, metric, image, shown, scores.refused.get(image, "")])
        return text.getvalue()

    def _of_method(self, name: str) -> dict[str, Any]:
        result = self.results[name]
        missing = result.missing
        return {
            "control": name in CONTROLS,
            "refused": result.refused or None,
            "seconds_per_image": _or_none(result.seconds),
            "missing_share_median": _or_none(np.median(missing)) if len(missing) else None,
            "missing_share_largest": _or_none(missing.max()) if len(missing) else None,
            "absorbed_shares": dict(result.absorbed),
            "scores": {
                metric: {
                    "mean": _or_none(scores.mean),
                    "interval": [_or_none(end) for end in scores.interval()],
                    "images": int(np.isfinite(scores.values).sum()),
                    "difference_from_best_control": [
                        _or_none(v) for v in self.difference_from_control(name, metric)
                    ],
                }
                for metric, scores in result.scores.items()
            },
        }


def audit(
    model: str | os.PathLike[str] | keras.Model,
    data: str | os.PathLike[str] | Dataset = "mnist",
    *,
    methods: Sequence[str] | Mapping[str, Method] | None = None,
    budget: str | Budget = "fast",
    images: int | None = None,
    save_to: str | os.PathLike[str] | None = "audit.html",
    overwrite: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Audit:
    """Put a model and its explanations on batch, and write one page about it.

    Nothing is trained. An audit that was interrupted goes on where it was: what was found of a
    method is kept beside the page until the page is written.

    Args:
        model: A Keras classifier, or the path of a `.keras` file.
        data: A `Dataset`, or what `load_data` takes; only its test images are used.
        methods: Names of methods, or methods of your own by name; by default all of `METHODS`.
            The controls always take part.
        budget: One of `BUDGETS`, or a `Budget` of your own.
        images: How many test images the methods explain, instead of the budget's number.
        save_to: The page, ending in `.html`; the figures for programs go beside it, as `.json`
            and `.csv`. None to write nothing, and to keep nothing when interrupted.
        overwrite: Whether files that are there may be replaced.
        seed: Seed of the draw of test images.
        progress: Whether to show how many methods are done.

    Returns:
        Everything found, and the path of the page.

    Raises:
        OutputExistsError: When a file is in the way and `overwrite` is off.
        OutputBusyError: When another process is at work on the same page.
        TypeError, ValueError: For a model that is no classifier of images, a data set of other
            images or of classes that the model does not have, an unknown method or budget.
        DataError, DataUnavailableError, ModelFileError: As `load_data` and `load_model` do.
    """
    subjects = {**_chosen(methods), **CONTROLS}
    spending = _budget(budget, images)
    page = None if save_to is None else Path(save_to)
    kept = page and unfinished_path(page)
    if page:
        # Of what lies beside an unfinished audit, some may be its own.
        _check_page(page, overwrite or bool(kept and kept.exists()))
    with output_lock(page):
        keras_model = model if isinstance(model, keras.Model) else load_model(Path(model))
        dataset = data if isinstance(data, Dataset) else load_data(data)
        network = Network(keras_model)
        _check_fit(network, dataset)
        store = None
        if kept:
            store = ResultStore(kept, _fingerprint(network, dataset, spending, subjects, seed))
        if page and store and not all(map(store.find, subjects)):
            _check_page(page, overwrite)  # Nothing of it can be there yet.
        name = keras_model.name if isinstance(model, keras.Model) else Path(model).name
        result = _asked(name, network, dataset, spending, subjects, seed, store, progress)
        if page and store:
            # What came into the way meanwhile stays; the results do too.
            result = dataclasses.replace(result, path=page)
            _write(result, page, overwrite)
            store.remove()
    return result


def _asked(
    name: str,
    network: Network,
    dataset: Dataset,
    budget: Budget,
    subjects: Mapping[str, Method],
    seed: int,
    store: ResultStore | None,
    progress: bool,
) -> Audit:
    """Ask every method everything that the store does not tell yet."""
    everything = np.arange(len(dataset.test_images))
    probabilities = network.probabilities(images_of(dataset, everything))
    evaluation = Evaluation(probabilities, dataset.test_labels)
    shown = shown_of(evaluation)
    tasks = tasks_of(network, dataset, budget, seed)
    rows = np.concatenate(list(shown.values()))
    pictures = images_of(dataset, rows), evaluation.predictions[rows].astype(np.int32)
    results = dict(_results_of(network, subjects, pictures, tasks, store, progress))
    note = tasks[-1].note
    return Audit(
        name, network, dataset, evaluation, budget, shown, subjects, results, note, path=None
    )


def _results_of(
    network: Network,
    subjects: Mapping[str, Method],
    pictures: tuple[Any, Any],
    tasks: Sequence[Task],
    store: ResultStore | None,
    progress: bool,
) -> Iterator[tuple[str, MethodResult]]:
    """What is found of every method, read where it was found before."""
    bar = keras.utils.Progbar(len(subjects), unit_name="method") if progress else None
    cache: dict[Hashable, Any] = {}
    for name, method in subjects.items():
        result = store.find(name) if store else None
        if result is None:
            result = _result_of(name, method, network, pictures, tasks, cache)
            if store:
                store.keep(result)
        yield name, result
        if bar:
            bar.add(1)


def _result_of(
    name: str,
    method: Method,
    network: Network,
    pictures: tuple[Any, Any],
    tasks: Sequence[Task],
    cache: dict[Hashable, Any],
) -> MethodResult:
    """Ask a method everything; what does not depend on its maps is remembered for the others."""
    try:
        # Before the clock runs, since the first explanation also compiles.
        shown = explain(network, pictures[0], pictures[1], method=method)
        start = time.perf_counter()
        first = explain(network, tasks[0].images, tasks[0].targets, method=method)
        seconds = (time.perf_counter() - start) / len(first.maps)
    except (UnsupportedLayerError, ValueError) as error:
        return MethodResult(name, refused=str(error))
    scores: dict[str, Scores] = {}
    cached = CachedMethod(method, network)
    for task in (task for task in tasks if task.metrics):
        batch = ExplainedBatch.of(
            network,
            task.images,
            cached,
            task.targets,
            maps=first.maps[: len(task.images)] if task.same else None,
            masks=task.masks,
            cache=cache,
        )
        scores |= {key: metric(batch) for key, metric in task.metrics.items()}
    missing, absorbed = _certificate(first)
    return MethodResult(name, "", shown.maps, scores, missing, absorbed, seconds)


def _certificate(explanation: Explanation) -> tuple[Any, dict[str, float]]:
    """The share of its promise that each map misses, and what is absorbed by name."""
    if explanation.residuals is None or explanation.differences is None:
        return np.zeros(0), {}
    whole = np.maximum(np.abs(explanation.differences), 1e-12).astype(np.float64)
    absorbed = {
        name: float(np.mean(np.abs(values) / whole))
        for name, values in explanation.absorbed.items()
    }
    return np.abs(explanation.residuals) / whole, absorbed


def _chosen(methods: Sequence[str] | Mapping[str, Method] | None) -> dict[str, Method]:
    if isinstance(methods, Mapping):
        taken = [name for name in methods if name in CONTROLS]
        if taken:
            raise ValueError(f"methods: expected names other than the controls'; got {taken[0]!r}")
        return dict(methods)
    return {name: METHODS.named(name) for name in (METHODS if methods is None else methods)}


def _budget(budget: str | Budget, images: int | None) -> Budget:
    if isinstance(budget, str):
        if budget not in BUDGETS:
            raise ValueError(f"budget: expected one of {', '.join(BUDGETS)}; got {budget!r}")
        budget = BUDGETS[budget]
    if images is None:
        return budget
    return dataclasses.replace(budget, images=images, again=min(budget.again, images))


def _check_page(page: Path, overwrite: bool) -> None:
    if page.suffix != ".html":
        raise ValueError(f"save_to: expected a name ending in .html; got {page}")
    for suffix in (".html", ".json", ".csv"):
        check_writable(page.with_suffix(suffix), overwrite=overwrite)


def _check_fit(network: Network, dataset: Dataset) -> None:
    """Refuse data that the model was not made for, before any work is absorbed."""
    shape = dataset.image_shape
    if any(side not in (None, n) for side, n in zip(network.image_shape, shape, strict=True)):
        raise ValueError(
            f"data: expected images {network.image_shape}, as {network.model.name!r} takes them; "
            f"{dataset.name} has {shape}"
        )
    if len(dataset.class_names) != network.classes:
        raise ValueError(
            f"data: expected {network.classes} classes, as {network.model.name!r} tells apart; "
            f"{dataset.name} has {len(dataset.class_names)}"
        )


def _fingerprint(
    network: Network,
    dataset: Dataset,
    budget: Budget,
    subjects: Mapping[str, Method],
    seed: int,
) -> dict[str, Any]:
    """What the results are a function of."""
    weights = hashlib.sha256(json.dumps(network.model.get_config(), default=str).encode())
    for value in network.model.get_weights():
        weights.update(np.ascontiguousarray(value).data)
    return {
        "weights": weights.hexdigest(),
        "data": dataset.sha256,
        "versions": versions(),
        "budget": dataclasses.asdict(budget),
        "seed": seed,
        "metrics": {name: repr(metric) for name, metric in budget.metrics().items()},
        "methods": {name: repr(method) for name, method in subjects.items()},
    }


def _write(result: Audit, page: Path, overwrite: bool) -> None:
    from mnist_xai.audit.page import audit_page

    summary = json.dumps(result.summary(), indent=2, allow_nan=False)
    contents = {".json": summary + "\n", ".csv": result.table(), ".html": audit_page(result)}
    for suffix, content in contents.items():  # Last the page: with it, everything is there.
        write_atomically(page.with_suffix(suffix), content, overwrite=overwrite)


def _or_none(value: float | np.floating[Any]) -> float | None:
    return float(value) if math.isfinite(value) else None
