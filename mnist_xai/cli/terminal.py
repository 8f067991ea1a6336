"""What the commands print, and how TensorFlow starts without printing."""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from mnist_xai.io.safe_text import escape_controls


def say(text: str, *, err: bool = False) -> None:
    """Print text with control characters escaped: it may quote names from files."""
    click.echo(escape_controls(text, keep="\n"), err=err)


@contextlib.contextmanager
def said_warnings() -> Iterator[None]:
    """Print warnings for users in one line, without file and source code, while the block runs."""
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if category is UserWarning:
            say(f"Warning: {' '.join(str(message).split())}", err=True)
        else:
            shown(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


def print_table(rows: Sequence[Sequence[Any]]) -> None:
    """Print rows in aligned columns; the first row is the head, the first column is text."""
    cells = [[escape_controls(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        say("  ".join([row[0].ljust(widths[0]), *others]))


def start_tensorflow() -> None:
    """Import TensorFlow without the lines that it writes to standard error.

    Its C++ part writes them before any setting takes effect, so standard error is redirected to
    a file. When the import fails, the file is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except Exception:  # Ctrl-C is not a failed import: nothing to show.
            log.seek(0)
            os.write(stderr, log.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
