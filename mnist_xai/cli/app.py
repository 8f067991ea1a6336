"""The command line: `mnist-xai`. TensorFlow is imported by the commands, not by their help."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mnist_xai.cli.interrupts import ignore_interrupts, resend_lost_interrupts
from mnist_xai.io.printable import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnist_xai.interpret import Network

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_Result = TypeVar("_Result")
_INTERRUPTED = 130  # What a shell reports after Ctrl-C.


class _Cli(click.Group):
    """Says every error in one line; the whole traceback with `--debug`."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with resend_lost_interrupts():
                sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f" ({context.command_path} --help shows how)" if context else ""
            # In one line, but whole: of what Keras complains, the first line is rarely the reason.
            _say(f"Error: {' '.join(error.format_message().split())}{hint}", err=True)
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            # Click makes the one of the other, and ends the line that ^C stands in, unless a second
            # press falls into that.
            ignore_interrupts()
            _say("Interrupted.", err=True)
            sys.exit(_INTERRUPTED)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # Whoever read the output has seen enough, as in `| head`: nothing to complain of.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None
        except KeyboardInterrupt:
            # At once: a press between the first one and this line is caught in `main`.
            ignore_interrupts()
            raise
        except Exception as error:
            if ctx.meta.get("debug"):
                raise
            raise click.ClickException(str(error) or type(error).__name__) from error


def _say(text: str, *, err: bool = False) -> None:
    """Print text: whatever it quotes from files, nothing in it acts on the terminal."""
    click.echo(printable(text, keep="\n"), err=err)


def _debug(command: _Decorated) -> _Decorated:
    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta["debug"] = True

    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=remember,
        help="Show the whole traceback of an error.",
    )(command)


def _image_options(command: _Decorated) -> _Decorated:
    for option in (
        click.option("--data", default="mnist", show_default=True, help="A data set, for --index."),
        click.option("--index", type=int, help="Number of a test image."),
        click.option("--image", type=click.Path(path_type=Path), help="A picture instead."),
    ):
        command = option(command)
    return command


_overwrite = click.option("--overwrite", is_flag=True, help="Replace what is there.")
_seed = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
_model = click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mnist-xai", prog_name="mnist-xai")
@_debug
def main() -> None:
    """Train the MNIST case study, and show why the network decides as it does.

    \b
    Example:
      mnist-xai train --save-to mine.keras
      mnist-xai explain mine.keras --index 0 --save-to why.png
    """


@main.command()
@click.option("--model", default="cnn", show_default=True, help="Name of a network.")
@click.option("--data", default="mnist", show_default=True, help="Name or path of a data set.")
@click.option("--recipe", default="default", show_default=True, help="default, article or small.")
@_seed
@click.option(
    "--save-to",
    type=click.Path(path_type=Path),
    default=Path("model.keras"),
    show_default=True,
    help="Where the model goes; its card goes beside it.",
)
@_overwrite
@click.option("--tensorboard", type=click.Path(path_type=Path), help="Folder for its logs.")
@click.option("--csv", type=click.Path(path_type=Path), help="File for the history.")
@_debug
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
    """Train, evaluate and save a network. A run that was stopped goes on where it was.

    \b
    Example:
      mnist-xai train --recipe article --save-to article.keras
    """
    beside = [save_to, save_to.with_suffix(".json")]
    overwrite = _may_replace(beside, overwrite, resumable=save_to)
    _start_tensorflow()
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
    result = _asking(work, beside, overwrite)
    validation, test = result.card["validation"], result.evaluation
    _say(
        f"{result.card['data']['name']}: validation accuracy {validation['accuracy']:.2%}, "
        f"test accuracy {test.accuracy:.2%}\nSaved {save_to}"
    )


@main.command()
@_model
@click.option("--data", default="mnist", show_default=True, help="Name or path of a data set.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@_debug
def evaluate(model_path: Path, data: str, as_json: bool) -> None:
    """Run a saved model on the test images and print how often it is right.

    \b
    Example:
      mnist-xai evaluate saved_models/cnn.keras --json
    """
    _start_tensorflow()
    import mnist_xai as mx

    model = mx.load_model(model_path)
    dataset = mx.load_data(data)
    result = mx.evaluate(model, mx.normalise(dataset.test_images), dataset.test_labels)
    per_class = result.per_class(dataset.class_names)
    if as_json:
        figures = {
            "data": dataset.name,
            **result.summary(),
            "per_class": per_class,
            "confusion": result.confusion.tolist(),
            "misclassified": result.misclassified.tolist(),
        }
        _say(json.dumps(figures, indent=2))
        return
    _say(
        f"{dataset.name}, {len(result.labels):,} test images\n"
        f"accuracy           {result.accuracy:.4f} ({len(result.misclassified)} mistakes)\n"
        f"cross-entropy      {result.loss:.4f} nats\n"
        f"calibration error  {result.calibration_error:.4f}\n"
    )
    _echo_table(
        ["class", "images", "precision", "recall"],
        [[r["class"], r["images"], _share(r["precision"]), _share(r["recall"])] for r in per_class],
    )


@main.command()
@_model
@_image_options
@click.option("--save-to", type=click.Path(path_type=Path), help="Folder for the pictures.")
@_overwrite
@_debug
def layers(
    model_path: Path,
    data: str,
    index: int | None,
    image: Path | None,
    save_to: Path | None,
    overwrite: bool,
) -> None:
    """List a model's layers, and picture what each makes of an image.

    \b
    Example:
      mnist-xai layers saved_models/cnn.keras --index 0 --save-to layers
    """
    _start_tensorflow()
    import mnist_xai as mx

    network = mx.Network(mx.load_model(model_path))
    _echo_table(
        ["layer", "output shape"],
        [[name, " x ".join(map(str, shape))] for name, shape in network.layer_shapes.items()],
    )
    if save_to is None:
        return
    from mnist_xai.plots import feature_maps

    x, stamp = _one_image(network, data, index, image)
    spatial = [name for name, shape in network.layer_shapes.items() if len(shape) == 3]
    for name, maps in mx.layer_outputs(network, x, spatial).items():
        path = save_to / f"{name.replace('/', '.')}.png"
        _save_figure(feature_maps(x[0], maps[0], name, stamp=stamp), path, overwrite)
        _say(f"Saved {path}")


@main.command()
@_model
@_image_options
@click.option(
    "--method",
    default="integrated_gradients",
    show_default=True,
    help="One of those that `mnist-xai methods` lists.",
)
@click.option("--target", type=int, help="The class to explain; by default the predicted one.")
@click.option(
    "--score",
    type=click.Choice(["logit", "probability"]),
    default="logit",
    show_default=True,
    help="What is explained.",
)
@click.option(
    "--save-to",
    type=click.Path(path_type=Path),
    default=Path("explanation.png"),
    show_default=True,
    help="A picture (.png) or the map itself (.npy).",
)
@_overwrite
@_debug
def explain(
    model_path: Path,
    data: str,
    index: int | None,
    image: Path | None,
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
    overwrite = _may_replace([save_to], overwrite)
    _start_tensorflow()
    import mnist_xai as mx
    from mnist_xai.interpret import METHODS

    chosen = METHODS.named(method)
    network = mx.Network(mx.load_model(model_path))
    x, stamp = _one_image(network, data, index, image)
    explanation = mx.explain(network, x, target, method=chosen, score=score)
    if save_to.suffix == ".npy":
        _save_array(explanation.maps[0], save_to)
    else:
        _save_figure(explanation.plot(stamp=stamp), save_to, overwrite=True)
    probabilities = network.probabilities(x)[0]
    _say(
        f"Predicted class {probabilities.argmax()} (p = {probabilities.max():.3f}); explained: "
        f"class {explanation.targets[0]}\n{explanation}\nSaved {save_to}"
    )


@main.command()
@_model
@click.option("--data", default="mnist", show_default=True, help="Name or path of a data set.")
@click.option(
    "--methods", multiple=True, help="Names, separated by commas; by default all there are."
)
@click.option("--images", type=click.IntRange(min=2), help="How many test images are explained.")
@click.option(
    "--budget",
    type=click.Choice(["fast", "full"]),
    default="fast",
    show_default=True,
    help="How much is looked at: a minute's worth, or a quarter of an hour's.",
)
@click.option(
    "--save-to",
    type=click.Path(path_type=Path),
    default=Path("audit.html"),
    show_default=True,
    help="The page; figures for programs go beside it.",
)
@_seed
@_overwrite
@_debug
def audit(
    model_path: Path,
    data: str,
    methods: tuple[str, ...],
    images: int | None,
    budget: str,
    save_to: Path,
    seed: int,
    overwrite: bool,
) -> None:
    """Put a saved model and its explanations on trial, and write one page about it.

    \b
    Example:
      mnist-xai audit saved_models/cnn.keras --save-to audit.html
    """
    if save_to.suffix != ".html":
        raise click.UsageError(f"--save-to: expected a name ending in .html; got {save_to}")
    beside = [save_to.with_suffix(suffix) for suffix in (".html", ".json", ".csv")]
    overwrite = _may_replace(beside, overwrite, resumable=save_to)
    _start_tensorflow()
    import mnist_xai as mx

    work = partial(
        mx.audit,
        model_path,
        data,
        methods=[name for given in methods for name in given.split(",")] or None,
        budget=budget,
        images=images,
        save_to=save_to,
        seed=seed,
    )
    found = _asking(work, beside, overwrite)
    refused = [name for name, result in found.results.items() if result.refused]
    if refused:
        _say(f"Refused by the model: {', '.join(refused)}")
    _say(f"Open {save_to.resolve()}")


@main.command()
@click.argument("name", required=False)
@click.option("--family", help="Only those of a family; the beginning of its name will do.")
@_debug
def methods(name: str | None, family: str | None) -> None:
    """List the methods: what each shows, when it misleads, what it costs; or tell all of one.

    \b
    Example:
      mnist-xai methods --family gradient
      mnist-xai methods gradcam
    """
    if name and family is not None:
        raise click.UsageError("expected the name of a method or --family, not both")
    _start_tensorflow()
    import mnist_xai as mx
    from mnist_xai.cli import catalogue
    from mnist_xai.interpret import METHODS

    width = shutil.get_terminal_size().columns
    chosen = mx.METHODS if family is None else catalogue.of_family(family)
    method = None if name is None else METHODS.named(name)
    network = mx.Network(mx.build_model("cnn"))
    if name and method:
        _say(catalogue.details(name, method, network, width))
        return
    _say(catalogue.table(chosen, network, width))


@main.command()
@click.argument("source", default="mnist")
@click.option("--save-to", type=click.Path(path_type=Path), help="A picture of some images.")
@_overwrite
@_debug
def data(source: str, save_to: Path | None, overwrite: bool) -> None:
    """Load a data set by name or path, check it, and say what is in it.

    \b
    Example:
      mnist-xai data digits --save-to digits.png
    """
    if save_to:
        overwrite = _may_replace([save_to], overwrite)
    _start_tensorflow()
    import numpy as np

    import mnist_xai as mx

    dataset = mx.load_data(source)
    height, width, channels = dataset.image_shape
    _say(
        f"{dataset.name}: {len(dataset.train_images):,} training and "
        f"{len(dataset.test_images):,} test images of {height} x {width} x {channels}\n"
        f"SHA-256 {dataset.sha256}\n"
    )
    parts = (dataset.train_labels, dataset.test_labels)
    train_counts, test_counts = (np.bincount(y, minlength=len(dataset.class_names)) for y in parts)
    rows = zip(dataset.class_names, train_counts, test_counts, strict=True)
    _echo_table(["class", "training", "test"], [list(row) for row in rows])
    if save_to:
        from mnist_xai.plots import image_grid

        labels = [dataset.class_names[label] for label in dataset.train_labels[:40]]
        images = mx.normalise(dataset.train_images[:40])
        figure = image_grid(images, labels, f"Training images of {dataset.name}", columns=10)
        _save_figure(figure, save_to, overwrite)
        _say(f"Saved {save_to}")


@main.command()
@click.option(
    "--save-to",
    type=click.Path(path_type=Path),
    default=Path("runs/case-study"),
    show_default=True,
    help="The run folder.",
)
@click.option("--data", default="mnist", show_default=True, help="Name or path of a data set.")
@_seed
@_overwrite
@_debug
def reproduce(save_to: Path, data: str, seed: int, overwrite: bool) -> None:
    """Train the case study, put it on trial, and write all of it into one folder.

    \b
    Example:
      mnist-xai reproduce --save-to runs/case-study
    """
    overwrite = _may_replace([save_to / "audit.html"], overwrite)
    _start_tensorflow()
    from mnist_xai.reproduce import reproduce as run

    _say(f"Open {run(save_to, data=data, seed=seed, overwrite=overwrite).resolve()}")


def _start_tensorflow() -> None:
    """Import TensorFlow without the lines that it writes to standard error while it starts.

    They come from its C++ part before any setting reaches it, so the stream itself is
    turned away; when the import fails, everything is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except Exception:  # Not Ctrl-C, which is no failure to be explained.
            aside.seek(0)
            os.write(stderr, aside.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _may_replace(paths: list[Path], overwrite: bool, resumable: Path | None = None) -> bool:
    """Ask about outputs in the way when there is someone to ask; refuse when there is not.

    Beside unfinished work of an output, the library alone can tell what is whose (`_asking`).
    """
    from mnist_xai.io.files import OutputExistsError, unfinished_path

    there = [path for path in paths if path.exists()]
    unfinished = resumable and unfinished_path(resumable).exists()
    if not there or overwrite or unfinished:
        return overwrite
    if not _at_a_terminal():
        raise OutputExistsError(f"{there[0]} exists; --overwrite replaces it")
    names = printable(", ".join(map(str, there)))
    click.confirm(f"{names} exists. Replace it?", abort=True)
    return True


def _asking(work: Callable[..., _Result], paths: list[Path], overwrite: bool) -> _Result:
    """Do work that refuses outputs in the way; then ask, and do it again with leave."""
    from mnist_xai.io.files import OutputExistsError

    try:
        return work(overwrite=overwrite)
    except OutputExistsError:
        if not _may_replace(paths, overwrite):
            raise
    return work(overwrite=True)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _one_image(
    network: "Network", data: str, index: int | None, image: Path | None
) -> tuple["NDArray[np.float32]", str]:
    """The image that the user chose, `(1, H, W, C)`, and what a picture of it is stamped with."""
    import mnist_xai as mx
    from mnist_xai.io.readers import read_picture

    if (index is None) == (image is None):
        raise click.UsageError("expected either --index N or --image FILE")
    if image is not None:
        return network.inputs.check_images(mx.normalise(read_picture(image)[None])), image.name
    dataset = mx.load_data(data)
    count = len(dataset.test_images)
    if not 0 <= (index or 0) < count:
        raise click.UsageError(f"--index: expected 0 to {count - 1}; got {index}")
    chosen = mx.normalise(dataset.test_images[index : index + 1])  # type: ignore[operator]
    return network.inputs.check_images(chosen), f"{dataset.name}, test image {index}"


def _save_figure(figure: Any, path: Path, overwrite: bool) -> None:
    from mnist_xai.io.files import check_output, write_whole
    from mnist_xai.report import png

    check_output(path, overwrite=overwrite)
    write_whole(path, png(figure))


def _save_array(array: "NDArray[np.float32]", path: Path) -> None:
    import io

    import numpy as np

    from mnist_xai.io.files import write_whole

    content = io.BytesIO()
    np.save(content, array)
    write_whole(path, content.getvalue())


def _echo_table(head: list[str], rows: list[list[Any]]) -> None:
    cells = [head, *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        _say("  ".join([row[0].ljust(widths[0]), *others]))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
