"""The files that commands write: ask before replacing them, then write them whole."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mnist_xai.io.files import (
    OutputExistsError,
    check_writable,
    unfinished_path,
    write_atomically,
)
from mnist_xai.io.safe_text import escape_controls

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Result = TypeVar("_Result")


def confirm_overwrite(paths: list[Path], overwrite: bool, resumable: Path | None = None) -> bool:
    """Ask whether existing outputs may be replaced.

    Args:
        paths: The files that the command is going to write.
        overwrite: Whether `--overwrite` was given.
        resumable: The output of which unfinished work may exist. Then nothing is asked yet,
            because the existing files may belong to this run; `run_with_consent` asks later.

    Returns:
        Whether existing files may be replaced.

    Raises:
        OutputExistsError: When a file exists and there is no terminal to ask at.
        click.Abort: When the user says no.
    """
    existing = [path for path in paths if path.exists()]
    unfinished = resumable and unfinished_path(resumable).exists()
    if not existing or overwrite or unfinished:
        return overwrite
    if not _at_a_terminal():
        raise OutputExistsError(f"{existing[0]} exists; pass --overwrite to replace it")
    names = escape_controls(", ".join(map(str, existing)))
    click.confirm(f"{names} exists. Replace it?", abort=True)
    return True


def run_with_consent(work: Callable[..., _Result], paths: list[Path], overwrite: bool) -> _Result:
    """Run `work(overwrite=...)`; if it refuses existing outputs, ask, then retry with overwrite."""
    try:
        return work(overwrite=overwrite)
    except OutputExistsError:
        if not confirm_overwrite(paths, overwrite):
            raise
    return work(overwrite=True)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def save_figure(figure: Any, path: Path, *, overwrite: bool) -> None:
    """Write a matplotlib figure as PNG."""
    from mnist_xai.report import png

    check_writable(path, overwrite=overwrite)
    write_atomically(path, png(figure))


def save_array(array: "NDArray[np.float32]", path: Path) -> None:
    """Write an array as `.npy`."""
    import io

    import numpy as np

    content = io.BytesIO()
    np.save(content, array)
    write_atomically(path, content.getvalue())
