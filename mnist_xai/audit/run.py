"""Run an audit: every metric on every method, and one page about the outcome."""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mnist_xai.audit.cached_method import CachedMethod
from mnist_xai.audit.outcome import Audit
from mnist_xai.audit.page import audit_page
from mnist_xai.audit.results import MethodResult, ResultStore
from mnist_xai.audit.tasks import (
    BUDGETS,
    Budget,
    Task,
    choose_examples,
    tasks_of,
)
from mnist_xai.data import Dataset, load_data
from mnist_xai.evaluation import Evaluation, warn_of_other_range
from mnist_xai.interpret import METHODS, Method, Network, UnsupportedLayerError, explain
from mnist_xai.interpret.core.entry import Preprocess
from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.pixels import Pixels
from mnist_xai.interpret.methods.explanation import Explanation
from mnist_xai.io.checkpoint import versions
from mnist_xai.io.files import check_writable, unfinished_path, write_atomically
from mnist_xai.io.locks import output_lock
from mnist_xai.io.saving import load_model, said_of_images
from mnist_xai.quality import CONTROLS, ExplainedBatch, Scores

Examples = tuple[Array, NDArray[np.int32]]
"""The images that the page shows, and their predicted classes."""


def audit(
    model: str | os.PathLike[str] | keras.Model | Network,
    data: str | os.PathLike[str] | Dataset = "mnist",
    *,
    methods: Sequence[str] | Mapping[str, Method] | None = None,
    budget: str | Budget = "fast",
    images: int | None = None,
    save_to: str | os.PathLike[str] | None = "audit.html",
    overwrite: bool = False,
    seed: int = 0,
    progress: bool = True,
    pixels: Pixels | None = None,
    preprocess: Preprocess | None = None,
    output: str | int | None = None,
) -> Audit:
    """Audit a model and its explanation methods, and write one page about the outcome.

    Nothing is trained. The result of each method is stored beside the page until the page is
    written, so that an interrupted audit continues where it stopped.

    Args:
        model: A Keras classifier, a `Network` on one, or the path of a `.keras` file.
        data: A `Dataset`, or an argument of `load_data`; only its test images are used.
        methods: Names of methods, or your own methods by name; by default all of `METHODS`.
            The controls always take part.
        budget: One of `BUDGETS`, or your own `Budget`.
        images: Number of test images that the methods explain, instead of the budget's.
        save_to: The page, ending in `.html`; its figures go into a `.json` and a `.csv` file
            beside it. None to write nothing, and to store nothing for an interrupted audit.
        overwrite: Whether existing files may be replaced.
        seed: Seed of the sample of test images.
        progress: Whether to show how many methods are done.
        pixels: The range of the model's pixels, see `Network`; by default what the model shows,
            or else [0, 1].
        preprocess: What makes the model's pixels from pictures, see `Network`.
        output: Which of several outputs to audit, see `Network`.

    Returns:
        The outcome, with the path of the page.

    Raises:
        OutputExistsError: If an output exists and `overwrite` is off.
        OutputBusyError: If another process is writing the same page.
        TypeError, ValueError: For a model that is not an image classifier, a data set whose images
            or classes do not fit the model, an unknown method or an unknown budget.
        DataError, DataUnavailableError, ModelFileError: As `load_data` and `load_model` do.
    """
    chosen = {**_chosen_methods(methods), **CONTROLS}
    limits = _chosen_budget(budget, images)
    page = None if save_to is None else Path(save_to)
    folder = page and unfinished_path(page)
    if page:
        # If an unfinished audit lies here, the outputs may be its own: allow them for now.
        _check_outputs(page, overwrite or bool(folder and folder.exists()))
    with output_lock(page):
        name, loaded = _loaded(model)
        said = {} if isinstance(model, keras.Model | Network) else said_of_images(model)
        if pixels is not None or preprocess is not None:
            said = {}
        options = {"pixels": pixels, "preprocess": preprocess, "output": output} | said
        network = Network.with_options(loaded, **options)
        dataset = (
            data if isinstance(data, Dataset) else load_data(data, image_shape=network.image_shape)
        )
        _check_fit(network, dataset)
        store = None
        if folder:
            store = ResultStore(folder, _fingerprint(network, dataset, limits, chosen, seed))
        if page and store and not all(map(store.find, chosen)):
            # Some methods are still to run, so existing outputs are not this audit's.
            _check_outputs(page, overwrite)
        outcome = _run(network, dataset, limits, chosen, seed, store, progress)
        if name:
            outcome = dataclasses.replace(outcome, model=name)
        if page and store:
            outcome = dataclasses.replace(outcome, path=page)
            # Raises if an output has appeared meanwhile; it and the stored results are kept.
            _write(outcome, page, overwrite)
            store.remove()
    return outcome


def _loaded(
    model: str | os.PathLike[str] | keras.Model | Network,
) -> tuple[str, keras.Model | Network]:
    """Return the model, and the name of its file if it comes from one."""
    if isinstance(model, keras.Model | Network):
        return "", model
    return Path(model).name, load_model(Path(model))


def _run(
    network: Network,
    dataset: Dataset,
    budget: Budget,
    methods: Mapping[str, Method],
    seed: int,
    store: ResultStore | None,
    progress: bool,
) -> Audit:
    """Evaluate the model, and score the methods whose results are not stored yet."""
    images = network.images_of(dataset.test_images)
    probabilities = network.probabilities(images)
    evaluation = Evaluation(probabilities, dataset.test_labels)
    warn_of_other_range(network, network.inputs.check_images(images), evaluation)
    chosen = choose_examples(evaluation)
    rows = np.concatenate(list(chosen.values()))
    examples = (
        network.images_of(dataset.test_images[rows]),
        evaluation.predictions[rows].astype(np.int32),
    )
    tasks = tasks_of(network, dataset, budget, seed)
    results = dict(_results(network, methods, examples, tasks, store, progress))
    return Audit(
        network.model.name,
        network,
        dataset,
        evaluation,
        budget,
        chosen,
        methods,
        results,
        grid_note=tasks[-1].note,
    )


def _results(
    network: Network,
    methods: Mapping[str, Method],
    examples: Examples,
    tasks: Sequence[Task],
    store: ResultStore | None,
    progress: bool,
) -> Iterator[tuple[str, MethodResult]]:
    """Yield the result of every method by name, from the store where it has one."""
    bar = keras.utils.Progbar(len(methods), unit_name="method") if progress else None
    cache: dict[Hashable, Any] = {}
    for name, method in methods.items():
        result = store.find(name) if store else None
        if result is None:
            result = _score_method(name, method, network, examples, tasks, cache)
            if store:
                store.keep(result)
        yield name, result
        if bar:
            bar.add(1)


def _score_method(
    name: str,
    method: Method,
    network: Network,
    examples: Examples,
    tasks: Sequence[Task],
    cache: dict[Hashable, Any],
) -> MethodResult:
    """Score one method by every metric; `cache` holds results that do not depend on the maps."""
    try:
        # Explain the examples before the measurement: the first call also compiles.
        example_maps = explain(network, *examples, method=method).maps
        start = time.perf_counter()
        sample = explain(network, tasks[0].images, tasks[0].targets, method=method)
        seconds = (time.perf_counter() - start) / len(sample.maps)
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
            maps=sample.maps[: len(task.images)] if task.from_sample else None,
            masks=task.masks,
            cache=cache,
        )
        scores |= {key: metric(batch) for key, metric in task.metrics.items()}
    residuals, absorbed = _shares_of_sum(sample)
    return MethodResult(name, "", example_maps, scores, residuals, absorbed, seconds)


def _shares_of_sum(explanation: Explanation) -> tuple[Any, dict[str, float]]:
    """Return residuals `(N,)` and mean absorbed parts by name, as fractions of the promised sum."""
    if explanation.residuals is None or explanation.differences is None:
        return np.zeros(0), {}
    total = np.maximum(np.abs(explanation.differences), 1e-12).astype(np.float64)
    absorbed = {
        name: float(np.mean(np.abs(values) / total))
        for name, values in explanation.absorbed.items()
    }
    return np.abs(explanation.residuals) / total, absorbed


def _chosen_methods(methods: Sequence[str] | Mapping[str, Method] | None) -> dict[str, Method]:
    if isinstance(methods, Mapping):
        taken = [name for name in methods if name in CONTROLS]
        if taken:
            raise ValueError(f"methods: expected names other than the controls'; got {taken[0]!r}")
        return dict(methods)
    return {name: METHODS.named(name) for name in (METHODS if methods is None else methods)}


def _chosen_budget(budget: str | Budget, images: int | None) -> Budget:
    if isinstance(budget, str):
        if budget not in BUDGETS:
            raise ValueError(f"budget: expected one of {', '.join(BUDGETS)}; got {budget!r}")
        budget = BUDGETS[budget]
    if images is None:
        return budget
    return dataclasses.replace(budget, images=images, rerun_images=min(budget.rerun_images, images))


def _check_outputs(page: Path, overwrite: bool) -> None:
    if page.suffix != ".html":
        raise ValueError(f"save_to: expected a name ending in .html; got {page}")
    for suffix in (".html", ".json", ".csv"):
        check_writable(page.with_suffix(suffix), overwrite=overwrite)


def _check_fit(network: Network, dataset: Dataset) -> None:
    """Check, before any work, that images and classes of the data fit the model."""
    shape = dataset.image_shape
    if any(side not in (None, n) for side, n in zip(network.image_shape, shape, strict=True)):
        raise ValueError(
            f"data: expected images {network.image_shape}, the input of {network.model.name!r}; "
            f"{dataset.name} has {shape}"
        )
    if len(dataset.class_names) != network.classes:
        raise ValueError(
            f"data: expected {network.classes} classes, the outputs of {network.model.name!r}; "
            f"{dataset.name} has {len(dataset.class_names)}"
        )


def _fingerprint(
    network: Network,
    dataset: Dataset,
    budget: Budget,
    methods: Mapping[str, Method],
    seed: int,
) -> dict[str, Any]:
    """Return everything that the results depend on, to recognise those of another audit."""
    weights = hashlib.sha256(json.dumps(network.model.get_config(), default=str).encode())
    for value in network.model.get_weights():
        weights.update(np.ascontiguousarray(value).data)
    return {
        "weights": weights.hexdigest(),
        "pixels": str(network.pixels),
        "preprocess": str(network.runner.entry.preprocess),
        "head": repr(network.runner.head),
        "data": dataset.sha256,
        "versions": versions(),
        "budget": dataclasses.asdict(budget),
        "seed": seed,
        "metrics": {name: repr(metric) for name, metric in budget.metrics().items()},
        "methods": {name: repr(method) for name, method in methods.items()},
    }


def _write(outcome: Audit, page: Path, overwrite: bool) -> None:
    summary = json.dumps(outcome.summary(), indent=2, allow_nan=False)
    contents = {".json": summary + "\n", ".csv": outcome.table(), ".html": audit_page(outcome)}
    for suffix, content in contents.items():  # The page last: if it exists, all outputs do.
        write_atomically(page.with_suffix(suffix), content, overwrite=overwrite)
