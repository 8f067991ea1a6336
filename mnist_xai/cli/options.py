"""Options and arguments that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def debug(command: _Command) -> _Command:
    """Add `--debug`; the group reads it from the context when an error is raised."""

    def store(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta["debug"] = True

    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=store,
        help="Show the full traceback of an error.",
    )(command)


def image(command: _Command) -> _Command:
    """Add `--data`, `--index` and `--image`: the two ways to choose one image."""
    for option in (
        click.option(
            "--data",
            help="Data set that --index refers to, by default mnist; with --image, only the names "
            "of its classes are shown.",
        ),
        click.option("--index", type=int, help="Index of a test image, from 0."),
        click.option(
            "--image", type=click.Path(path_type=Path), help="Image file, instead of --index."
        ),
    ):
        command = option(command)
    return command


def network(command: _Command) -> _Command:
    """Add `--pixels`, `--preprocess` and `--output`: how the model takes pictures and answers."""
    for option in (
        click.option(
            "--pixels",
            help="What black and white are for the model: unit (0 to 1), bytes (0 to 255), tf (-1 "
            "to 1), caffe, torch, or LOW,HIGH; by default what the model shows.",
        ),
        click.option(
            "--preprocess",
            help="A module of keras.applications, such as resnet50, whose preprocess_input the "
            "pictures go through.",
        ),
        click.option("--output", help="Name or index of the output, where there are several."),
    ):
        command = option(command)
    return command


data = click.option(
    "--data",
    default="mnist",
    show_default=True,
    help="Name of a data set, or a path: a folder of class folders, with or without train/ and "
    "test/ above them, a folder of IDX files, or an .npz file.",
)
model = click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
overwrite = click.option("--overwrite", is_flag=True, help="Replace existing files.")
seed = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed."
)
