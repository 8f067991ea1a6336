"""Commands that look into a model: `explain`, `layers`, `methods`."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_xai.cli import inputs, options, terminal
from mnist_xai.cli.outputs import confirm_overwrite, save_array, save_figure
from mnist_xai.cli.terminal import print_table, say

if TYPE_CHECKING:
    from mnist_xai.interpret import Explanation, Network

_MANY = 10  # Passes from which on progress is shown in a terminal.


@click.command()
@options.model
@options.image
@options.network
@click.option(
    "--method",
    default="integrated_gradients",
    show_default=True,
    help="Name of a method; `mnist-xai methods` lists them.",
)
@click.option("--target", type=int, help="Class to explain; by default the predicted class.")
@click.option(
    "--score",
    type=click.Choice(["logit", "probability", "output"]),
    default="logit",
    show_default=True,
    help="Score to explain.",
)
@click.option(
    "--save-to",
    type=click.Path(path_type=Path),
    default=Path("explanation.png"),
    show_default=True,
    help="A picture (.png) or the map as an array (.npy).",
)
@options.overwrite
@options.debug
def explain(
    model_path: Path,
    data: str | None,
    index: int | None,
    image: Path | None,
    pixels: str | None,
    preprocess: str | None,
    output: str | None,
    method: str,
    target: int | None,
    score: Any,
    save_to: Path,
    overwrite: bool,
) -> None:
    """Show which pixels raise and which lower the score of a class.

    \b
    Example:
      mnist-xai explain saved_models/cnn.keras --index 0 --save-to why.png
    """
    if save_to.suffix not in {".png", ".npy"}:
        raise click.UsageError(f"--save-to: expected a name ending in .png or .npy; got {save_to}")
    overwrite = confirm_overwrite([save_to], overwrite)
    terminal.start_tensorflow()
    import mnist_xai as mx
    from mnist_xai.interpret import METHODS

    chosen = METHODS.named(method)
    network = inputs.load_network(model_path, pixels, preprocess, output)
    given = inputs.one_image(network, data, index, image)
    explanation = mx.explain(
        *(network, given.values, target),
        method=chosen,
        score=score,
        progress=sys.stdout.isatty() and chosen.passes(network) > _MANY,
    )
    if save_to.suffix == ".npy":
        save_array(explanation.maps[0], save_to)
    else:
        save_figure(explanation.plot(stamp=given.stamp), save_to, overwrite=True)
    say(f"{_answer(network, given, explanation)}\n{explanation}\nSaved {save_to}")


def _answer(network: "Network", given: inputs.OneImage, explanation: "Explanation") -> str:
    """Return a sentence on what the network predicts and what was explained."""
    target = int(explanation.targets[0])
    if explanation.score == "output":
        return f"Explained: output {target}, which is {explanation.scores[0]:.4g}"
    probabilities = network.probabilities(given.values)[0]
    predicted = given.class_name(int(probabilities.argmax()))
    return (
        f"Predicted class {predicted} (p = {probabilities.max():.3f}); explained: "
        f"class {given.class_name(target)}"
    )


@click.command()
@options.model
@options.image
@options.network
@click.option("--save-to", type=click.Path(path_type=Path), help="Folder for the pictures.")
@options.overwrite
@options.debug
def layers(
    model_path: Path,
    data: str | None,
    index: int | None,
    image: Path | None,
    pixels: str | None,
    preprocess: str | None,
    output: str | None,
    save_to: Path | None,
    overwrite: bool,
) -> None:
    """List a model's layers; with --save-to, draw their outputs for one image.

    \b
    Example:
      mnist-xai layers saved_models/cnn.keras --index 0 --save-to layers
    """
    terminal.start_tensorflow()
    import mnist_xai as mx

    network = inputs.load_network(model_path, pixels, preprocess, output)
    rows = [[name, " x ".join(map(str, shape))] for name, shape in network.layer_shapes.items()]
    print_table([["layer", "output shape"], *rows])
    if save_to is None:
        return
    from mnist_xai.plots import feature_maps

    given = inputs.one_image(network, data, index, image)
    spatial = [name for name, shape in network.layer_shapes.items() if len(shape) == 3]
    for name, maps in mx.layer_outputs(network, given.values, spatial).items():
        path = save_to / f"{name.replace('/', '.')}.png"
        figure = feature_maps(given.picture, maps[0], name, stamp=given.stamp)
        save_figure(figure, path, overwrite=overwrite)
        say(f"Saved {path}")


@click.command()
@click.argument("name", required=False)
@click.option("--family", help="Only the methods of this family; its first letters are enough.")
@options.debug
def methods(name: str | None, family: str | None) -> None:
    """List the methods, or describe one of them in full.

    The list says what each method shows, when it misleads and what it costs.

    \b
    Example:
      mnist-xai methods --family gradient
      mnist-xai methods gradcam
    """
    if name and family is not None:
        raise click.UsageError("expected the name of a method or --family; got both")
    terminal.start_tensorflow()
    import mnist_xai as mx
    from mnist_xai.cli import catalogue
    from mnist_xai.interpret import METHODS

    width = shutil.get_terminal_size().columns
    chosen = METHODS if family is None else catalogue.of_family(family)
    method = None if name is None else METHODS.named(name)
    network = mx.Network(mx.build_model("cnn"))
    if name and method:
        say(catalogue.details(name, method, network, width))
        return
    say(catalogue.table(chosen, network, width))
