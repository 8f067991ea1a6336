"""Commands that train and evaluate: `train`, `evaluate`, `data`, `reproduce`."""

import json
from functools import partial
from pathlib import Path

import click

from mnist_xai.cli import inputs, options, terminal
from mnist_xai.cli.outputs import confirm_overwrite, run_with_consent, save_figure
from mnist_xai.cli.terminal import print_table, say


@click.command()
@click.option("--model", default="cnn", show_default=True, help="Name of a network.")
@options.data
@click.option("--recipe", default="default", show_default=True, help="default, article or small.")
@options.seed
@click.option(
    "--save-to",
    type=click.Path(path_type=Path),
    default=Path("model.keras"),
    show_default=True,
    help="Model file; the model card is written beside it.",
)
@options.overwrite
@click.option("--tensorboard", type=click.Path(path_type=Path), help="Folder for TensorBoard logs.")
@click.option("--csv", type=click.Path(path_type=Path), help="File for the training history.")
@options.debug
def train(
    model: str,
    data: str,
    recipe: str,
    seed: int,
    save_to: Path,
    overwrite: bool,
    tensorboard: Path | None,
    csv: Path | None,
) -> None:
    """Train, evaluate and save a network. Resumes a run that was stopped.

    \b
    Example:
      mnist-xai train --recipe article --save-to article.keras
    """
    outputs = [save_to, save_to.with_suffix(".json")]
    overwrite = confirm_overwrite(outputs, overwrite, resumable=save_to)
    terminal.start_tensorflow()
    from mnist_xai.train import train as fit

    work = partial(
        fit,
        model,
        data=data,
        recipe=recipe,
        seed=seed,
        save_to=save_to,
        tensorboard=tensorboard,
        csv=csv,
    )
    result = run_with_consent(work, outputs, overwrite)
    validation, test = result.card["validation"], result.evaluation
    say(
        f"{result.card['data']['name']}: validation accuracy {validation['accuracy']:.2%}, "
        f"test accuracy {test.accuracy:.2%}\nSaved {save_to}"
    )


@click.command()
@options.model
@options.data
@options.network
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@options.debug
def evaluate(
    model_path: Path,
    data: str,
    pixels: str | None,
    preprocess: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Print accuracy, loss and calibration of a saved model on the test images.

    \b
    Example:
      mnist-xai evaluate saved_models/cnn.keras --json
    """
    terminal.start_tensorflow()
    import mnist_xai as mx

    network = inputs.load_network(model_path, pixels, preprocess, output)
    dataset = inputs.load_data_for(network, data)
    inputs.check_classes(network, dataset)
    images = network.images_of(dataset.test_images)
    result = mx.evaluate(network, images, dataset.test_labels)
    if as_json:
        figures = {
            "data": dataset.name,
            "pixels": str(network.pixels),
            **result.summary(),
            "per_class": result.per_class(dataset.class_names),
            "confusion": result.confusion.tolist(),
            "misclassified": result.misclassified.tolist(),
        }
        say(json.dumps(figures, indent=2))
        return
    say(
        f"{dataset.name}, {len(result.labels):,} test images with pixels in {network.pixels}\n"
        f"accuracy           {result.accuracy:.4f} ({len(result.misclassified)} mistakes)\n"
        f"cross-entropy      {result.loss:.4f} nats\n"
        f"calibration error  {result.calibration_error:.4f}\n"
    )
    print_table(result.per_class_table(dataset.class_names))


@click.command()
@click.argument("source", default="mnist")
@click.option("--save-to", type=click.Path(path_type=Path), help="PNG of some training images.")
@options.overwrite
@options.debug
def data(source: str, save_to: Path | None, overwrite: bool) -> None:
    """Load and check a data set, given by name or path, and describe it.

    \b
    Example:
      mnist-xai data digits --save-to digits.png
    """
    if save_to:
        overwrite = confirm_overwrite([save_to], overwrite)
    terminal.start_tensorflow()
    import numpy as np

    import mnist_xai as mx

    dataset = mx.load_data(source)
    height, width, channels = dataset.image_shape
    say(
        f"{dataset.name}: {len(dataset.train_images):,} training and "
        f"{len(dataset.test_images):,} test images of {height} x {width} x {channels}\n"
        f"SHA-256 {dataset.sha256}\n"
    )
    parts = (dataset.train_labels, dataset.test_labels)
    train_counts, test_counts = (np.bincount(y, minlength=len(dataset.class_names)) for y in parts)
    rows = zip(dataset.class_names, train_counts, test_counts, strict=True)
    print_table([["class", "training", "test"], *rows])
    if save_to:
        from mnist_xai.plots import image_grid

        part = "train" if len(dataset.train_images) else "test"
        shown, labels = (getattr(dataset, f"{part}_{what}")[:40] for what in ("images", "labels"))
        names = [dataset.class_names[label] for label in labels]
        title = f"{'Training' if part == 'train' else 'Test'} images of {dataset.name}"
        figure = image_grid(mx.normalise(shown), names, title, columns=10)
        save_figure(figure, save_to, overwrite=overwrite)
        say(f"Saved {save_to}")


@click.command()
@click.option(
    "--save-to",
    type=click.Path(path_type=Path),
    default=Path("runs/case-study"),
    show_default=True,
    help="Folder for everything that the run writes.",
)
@options.data
@options.seed
@options.overwrite
@options.debug
def reproduce(save_to: Path, data: str, seed: int, overwrite: bool) -> None:
    """Train and audit the case study; write everything into one folder.

    \b
    Example:
      mnist-xai reproduce --save-to runs/case-study
    """
    overwrite = confirm_overwrite([save_to / "audit.html"], overwrite)
    terminal.start_tensorflow()
    from mnist_xai.reproduce import reproduce as run

    say(f"Open {run(save_to, data=data, seed=seed, overwrite=overwrite).resolve()}")
