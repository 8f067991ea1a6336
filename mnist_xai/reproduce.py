"""The whole case study in one run folder: train, evaluate, look inside, put it on trial."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_xai import plots
from mnist_xai.audit import audit
from mnist_xai.data import Dataset, load_data, normalise
from mnist_xai.interpret import Network, attention_map, gradient_map, layer_outputs
from mnist_xai.io.datasets import DataUnavailableError
from mnist_xai.io.files import OutputExistsError, write_whole
from mnist_xai.io.locks import alone
from mnist_xai.report import Section, html_page, png
from mnist_xai.train import TrainResult, train

_SHOWN = 10  # Test images in a row of pictures, one for each class of MNIST.


def reproduce(
    folder: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] = "mnist",
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Run the case study of document 000 and write everything it shows into one folder.

    The last step is a fast audit of the network. A run that was stopped during it goes on with it.

    Args:
        folder: The run folder, made when it is missing.
        data: What `load_data` takes. Where MNIST can be had from nowhere, the digits of
            scikit-learn take its place, and every output says so.
        seed: Seed of the training.
        overwrite: Whether a finished run in the folder may be replaced.

    Returns:
        The path of the run's `index.html`.

    Raises:
        OutputExistsError: When the folder holds a finished run and `overwrite` is off.
        OutputBusyError: When another process is at work in the folder.
        DataError, DataUnavailableError: As `load_data` does, for anything but MNIST.

    Source: document 000, chapter 8.
    """
    run = Path(folder)
    index = run / "index.html"
    trial = run / "audit.html"
    if index.exists() and trial.exists() and not overwrite:
        raise OutputExistsError(f"{index} exists; pass overwrite=True (--overwrite) to replace it")
    with alone(index):
        dataset, recipe = _data_or_digits(data)
        if not index.exists() or overwrite:
            _case_study(run, dataset, recipe, seed)
        audit(run / "cnn.keras", dataset, save_to=trial, overwrite=True)
    return index


def _case_study(run: Path, dataset: Dataset, recipe: str, seed: int) -> None:
    """Train, and write the model, its figures and its pictures; the page comes last."""
    result = train(
        data=dataset,
        recipe=recipe,
        seed=seed,
        save_to=run / "cnn.keras",
        overwrite=True,  # A model without its page is of a run that never ended.
        csv=run / "history.csv",
    )
    sections = list(_sections(result, dataset))
    for section in sections:
        if section.picture:
            write_whole(run / f"{_slug(section.title)}.png", section.picture)
    write_whole(run / "history.json", json.dumps(result.history, indent=2) + "\n")
    (run / "audit.html").unlink(missing_ok=True)  # That of an earlier network.
    write_whole(run / "index.html", _page(result, dataset, sections))


def _data_or_digits(data: str | os.PathLike[str]) -> tuple[Dataset, str]:
    try:
        return load_data(data), "default"
    except DataUnavailableError as error:
        if data != "mnist":
            raise
        digits = load_data("digits")
        print(  # noqa: T201  The user has to see that this is not MNIST.
            f"MNIST CANNOT BE REACHED: {error}\n"
            f"GOING ON WITH THE {len(digits.train_images) + len(digits.test_images):,} HANDWRITTEN "
            "DIGITS OF SCIKIT-LEARN (8 x 8, BROUGHT TO 28 x 28). THE FIGURES ARE NOT MNIST'S."
        )
        return digits, "small"


def _sections(result: TrainResult, dataset: Dataset) -> Iterator[Section]:
    """Every picture and table of the run, with the words that go with it."""
    stamp = f"{dataset.name}, SHA-256 {dataset.sha256[:12]}; seed {result.card['seed']}"
    test, names = result.evaluation, dataset.class_names
    images = normalise(dataset.test_images)

    yield Section(
        "Learning curves",
        "Loss and accuracy after each epoch. Training images are warped, validation images "
        "are not: they are the easier ones.",
        png(plots.learning_curves(result.history, stamp=stamp)),
    )
    yield Section(
        "Confusion matrix",
        f"{len(test.misclassified)} of {len(test.labels)} test images are mistaken; "
        "colour marks the mistakes.",
        png(plots.confusion_matrix(test.confusion, names, stamp=stamp)),
        _per_class_table(result),
    )
    if len(worst := test.misclassified[:24]):
        yield Section(
            "Misclassified images",
            "The mistakes of which the network is surest: label, prediction and its probability.",
            png(
                plots.image_grid(
                    images[worst],
                    [_verdict(test.probabilities[i], test.labels[i], names) for i in worst],
                    "Surest mistakes: label → prediction (probability)",
                    stamp=stamp,
                )
            ),
        )
    else:
        yield Section("Misclassified images", "No test image is mistaken.")

    network = Network(result.model)
    chosen = _one_of_each_class(dataset.test_labels, test.predictions)
    shown, labels = images[chosen], [f"label {names[i]}" for i in dataset.test_labels[chosen]]
    first = shown[:1]
    for layer, maps in layer_outputs(network, first, ["conv1", "conv2"]).items():
        yield Section(
            f"Feature maps of {layer}",
            f"What each channel of {layer} makes of one test image, after its ReLU.",
            png(plots.feature_maps(first[0], maps[0], layer, stamp=stamp)),
        )
    for layer in ("conv1", "conv2"):
        yield Section(
            f"Attention maps of {layer}",
            f"Where {layer} is active: the sum of its squared activations over the channels.",
            png(
                plots.attention_maps(
                    shown,
                    attention_map(network, shown, layer),
                    labels,
                    f"Activation attention of {layer}",
                    stamp=stamp,
                )
            ),
        )
    targets = test.predictions[chosen]
    yield Section(
        "Gradient maps",
        "How the predicted class's logit changes with each pixel: red where more ink raises "
        "it, blue where more ink lowers it.",
        png(
            plots.signed_maps(
                shown,
                gradient_map(network, shown, targets),
                labels,
                "Gradient of the predicted class's logit",
                unit="logit per unit of ink",
                stamp=stamp,
            )
        ),
    )


def _page(result: TrainResult, dataset: Dataset, sections: list[Section]) -> str:
    test = result.evaluation
    summary = [
        f"Data set: {dataset.name}, {len(dataset.train_images):,} training and "
        f"{len(dataset.test_images):,} test images, SHA-256 {dataset.sha256}.",
        f"The network of document 000, section 8.2: {result.card['parameters']:,} parameters, "
        f"trained for {len(result.history['loss'])} epochs with seed {result.card['seed']}.",
        f"On the test images: accuracy {test.accuracy:.2%}, cross-entropy {test.loss:.4f} nats, "
        f"expected calibration error {test.calibration_error:.4f}.",
    ]
    beside = {
        "cnn.keras": "the trained network",
        "cnn.json": "its model card",
        "audit.html": "the network and every way to explain it, on trial",
        "history.csv": "loss and accuracy after each epoch",
        "history.json": "the same for programs",
    }
    beside |= {f"{_slug(s.title)}.png": s.title.lower() for s in sections if s.picture}
    return html_page(f"The case study on {dataset.name}", summary, sections, beside)


def _per_class_table(result: TrainResult) -> list[list[str]]:
    head = ["class", "images", "precision", "recall"]
    rows = [
        [
            row["class"],
            str(row["images"]),
            "–" if row["precision"] is None else f"{row['precision']:.4f}",
            "–" if row["recall"] is None else f"{row['recall']:.4f}",
        ]
        for row in result.card["test"]["per_class"]
    ]
    return [head, *rows]


def _one_of_each_class(
    labels: NDArray[np.integer], predictions: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The first rightly classified image of each of the first classes."""
    right = np.flatnonzero(labels == predictions)
    _, first = np.unique(labels[right], return_index=True)
    return right[first][:_SHOWN]


def _verdict(probabilities: NDArray[np.floating], label: int, names: tuple[str, ...]) -> str:
    predicted = int(probabilities.argmax())
    return f"{names[label]} → {names[predicted]} ({probabilities[predicted]:.0%})"


def _slug(title: str) -> str:
    return title.lower().replace(" ", "_")
