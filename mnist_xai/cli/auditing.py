"""The command `audit`."""

from functools import partial
from pathlib import Path

import click

from mnist_xai.cli import inputs, options, terminal
from mnist_xai.cli.outputs import confirm_overwrite, run_with_consent
from mnist_xai.cli.terminal import say


@click.command()
@options.model
@options.data
@options.network
@click.option("--methods", multiple=True, help="Names, separated by commas; by default all.")
@click.option("--images", type=click.IntRange(min=2), help="Number of test images to explain.")
@click.option(
    "--budget",
    type=click.Choice(["fast", "full"]),
    default="fast",
    show_default=True,
    help="How much to measure: about a minute, or about a quarter of an hour.",
)
@click.option(
    "--save-to",
    type=click.Path(path_type=Path),
    default=Path("audit.html"),
    show_default=True,
    help="HTML page; the figures are written beside it as .json and .csv.",
)
@options.seed
@options.overwrite
@options.debug
def audit(
    model_path: Path,
    data: str,
    pixels: str | None,
    preprocess: str | None,
    output: str | None,
    methods: tuple[str, ...],
    images: int | None,
    budget: str,
    save_to: Path,
    seed: int,
    overwrite: bool,
) -> None:
    """Test a saved model and its explanations; write one HTML page.

    \b
    Example:
      mnist-xai audit saved_models/cnn.keras --save-to audit.html
    """
    if save_to.suffix != ".html":
        raise click.UsageError(f"--save-to: expected a name ending in .html; got {save_to}")
    outputs = [save_to.with_suffix(suffix) for suffix in (".html", ".json", ".csv")]
    overwrite = confirm_overwrite(outputs, overwrite, resumable=save_to)
    terminal.start_tensorflow()
    import mnist_xai as mx

    told = any((pixels, preprocess, output))
    model = inputs.load_network(model_path, pixels, preprocess, output) if told else model_path
    work = partial(
        mx.audit,
        model,
        data,
        methods=[name for given in methods for name in given.split(",")] or None,
        budget=budget,
        images=images,
        save_to=save_to,
        seed=seed,
    )
    found = run_with_consent(work, outputs, overwrite)
    refused = [name for name, result in found.results.items() if result.refused]
    if refused:
        say(f"These methods cannot explain the model: {', '.join(refused)}")
    say(f"Open {save_to.resolve()}")
