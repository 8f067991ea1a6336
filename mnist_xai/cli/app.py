"""The program `mnist-xai`: its group of commands, and how errors are shown.

Commands import TensorFlow when they run, so `--help` does not wait for it.
"""

import os
import sys
from typing import Any

import click

from mnist_xai.cli import auditing, explaining, options, training
from mnist_xai.cli.interrupts import ignore_interrupts, resend_lost_interrupts
from mnist_xai.cli.terminal import said_warnings, say

_INTERRUPTED = 130  # The exit code that a shell reports after Ctrl-C.


class _Program(click.Group):
    """Shows every error in one line, and with `--debug` the full traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with resend_lost_interrupts(), said_warnings():
                sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context else ""
            # Join the lines and keep all of them: Keras's messages rarely begin with the reason.
            say(f"Error: {' '.join(error.format_message().split())}{hint}", err=True)
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            # Click turns KeyboardInterrupt into Abort, unless a second Ctrl-C interrupts that.
            ignore_interrupts()
            say("Interrupted.", err=True)
            sys.exit(_INTERRUPTED)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # The reader of the output has closed it, as `| head` does: this is no error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None
        except KeyboardInterrupt:
            # Ignore further Ctrl-C from here on; one before this line is caught in `main`.
            ignore_interrupts()
            raise
        except Exception as error:
            if ctx.meta.get("debug"):
                raise
            raise click.ClickException(str(error) or type(error).__name__) from error


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mnist-xai", prog_name="mnist-xai")
@options.debug
def main() -> None:
    """Train a network on MNIST, and show why it decides as it does.

    \b
    Example:
      mnist-xai train --save-to mine.keras
      mnist-xai explain mine.keras --index 0 --save-to why.png
    """


for _command in (
    training.train,
    training.evaluate,
    training.data,
    training.reproduce,
    explaining.explain,
    explaining.layers,
    explaining.methods,
    auditing.audit,
):
    main.add_command(_command)
