"""The function `reproduce`: train, evaluate, explain and audit the case study in one folder."""

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
from mnist_xai.io.files import OutputExistsError, write_atomically
from mnist_xai.io.locks import output_lock
from mnist_xai.report import Section, html_page, png
from mnist_xai.train import TrainResult, train

_MAX_SHOWN = 10  # Test images in a row of pictures: one for each class of MNIST.


def reproduce(
    folder: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] = "mnist",
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Run the case study of document 000, and write model, figures and pages into one folder.

    The last step is a fast audit of the network. A run that was stopped during the audit resumes
    there.

    Args:
        folder: The run folder; it is created when missing.
        data: Anything that `load_data` takes. When MNIST is not available, scikit-learn's digits
            are used instead, and every output says so.
        seed: Seed of the training.
        overwrite: Whether a finished run in the folder may be replaced.

    Returns:
        The path of the run's `index.html`.

    Raises:
        OutputExistsError: When the folder holds a finished run and `overwrite` is False.
        OutputBusyError: When another process is writing to the folder.
        DataError, DataUnavailableError: When `load_data` raises them for other data than MNIST.

    Source: document 000, chapter 8.
    """
    run = Path(folder)
    index = run / "index.html"
    audit_page = run / "audit.html"
    if index.exists() and audit_page.exists() and not overwrite:
        raise OutputExistsError(f"{index} exists; pass overwrite=True (--overwrite) to replace it")
    with output_lock(index):
        dataset, recipe = _data_or_digits(data)
        if not index.exists() or overwrite:
            _case_study(run, dataset, recipe, seed)
        audit(run / "cnn.keras", dataset, save_to=audit_page, overwrite=True)
    return index


def _case_study(run: Path, dataset: Dataset, recipe: str, seed: int) -> None:
    """Train; write the model, its figures and its pictures, and last the page."""
    result = train(
        data=dataset,
        recipe=recipe,
        seed=seed,
        save_to=run / "cnn.keras",
        overwrite=True,  # A model without a page is from a run that did not finish.
        csv=run / "history.csv",
    )
    sections = list(_sections(result, dataset))
    for section in sections:
        if section.picture:
            write_atomically(run / f"{_file_stem(section.title)}.png", section.picture)
    write_atomically(run / "history.json", json.dumps(result.history, indent=2) + "\n")
    (run / "audit.html").unlink(missing_ok=True)  # The audit of an earlier network.
    write_atomically(run / "index.html", _page(result, dataset, sections))


def _data_or_digits(data: str | os.PathLike[str]) -> tuple[Dataset, str]:
    try:
        return load_data(data), "default"
    except DataUnavailableError as error:
        if data != "mnist":
            raise
        digits = load_data("digits")
        print(  # noqa: T201  The user must see that this is not MNIST.
            f"MNIST IS NOT AVAILABLE: {error}\n"
            f"USING THE {len(digits.train_images) + len(digits.test_images):,} HANDWRITTEN DIGITS "
            "OF SCIKIT-LEARN INSTEAD (8 x 8, SCALED TO 28 x 28). THE RESULTS ARE NOT FOR MNIST."
        )
        return digits, "small"


def _sections(result: TrainResult, dataset: Dataset) -> Iterator[Section]:
    """Yield every section of the page: a title, a text, a picture or a table."""
    stamp = f"{dataset.name}, SHA-256 {dataset.sha256[:12]}; seed {result.card['seed']}"
    test, names = result.evaluation, dataset.class_names
    images = normalise(dataset.test_images)

    yield Section(
        "Learning curves",
        "Loss and accuracy after each epoch. Training images are warped and validation images "
        "are not, so validation images are easier.",
        png(plots.learning_curves(result.history, stamp=stamp)),
    )
    yield Section(
        "Confusion matrix",
        f"{len(test.misclassified)} of {len(test.labels)} test images are misclassified; "
        "colour marks the mistakes.",
        png(plots.confusion_matrix(test.confusion, names, stamp=stamp)),
        test.per_class_table(names),
    )
    if len(worst := test.misclassified[:24]):
        yield Section(
            "Misclassified images",
            "The most confident mistakes: label, prediction and its probability.",
            png(
                plots.image_grid(
                    images[worst],
                    [_mistake(test.probabilities[i], test.labels[i], names) for i in worst],
                    "Most confident mistakes: label → prediction (probability)",
                    stamp=stamp,
                )
            ),
        )
    else:
        yield Section("Misclassified images", "No test image is misclassified.")

    network = Network(result.model)
    chosen = _one_per_class(dataset.test_labels, test.predictions)
    shown, labels = images[chosen], [f"label {names[i]}" for i in dataset.test_labels[chosen]]
    first = shown[:1]
    for layer, maps in layer_outputs(network, first, ["conv1", "conv2"]).items():
        yield Section(
            f"Feature maps of {layer}",
            f"The output of each channel of {layer} for one test image, after its ReLU.",
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
        "How the logit of the predicted class changes with each pixel: red where more ink raises "
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
        "audit.html": "the audit of the network and its explanations",
        "history.csv": "loss and accuracy after each epoch",
        "history.json": "loss and accuracy after each epoch, for programs",
    }
    beside |= {f"{_file_stem(s.title)}.png": s.title.lower() for s in sections if s.picture}
    return html_page(f"The case study on {dataset.name}", summary, sections, beside)


def _one_per_class(
    labels: NDArray[np.integer], predictions: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Return the first correctly classified image of each of the first classes."""
    right = np.flatnonzero(labels == predictions)
    _, first = np.unique(labels[right], return_index=True)
    return right[first][:_MAX_SHOWN]


def _mistake(probabilities: NDArray[np.floating], label: int, names: tuple[str, ...]) -> str:
    predicted = int(probabilities.argmax())
    return f"{names[label]} → {names[predicted]} ({probabilities[predicted]:.0%})"


def _file_stem(title: str) -> str:
    return title.lower().replace(" ", "_")
