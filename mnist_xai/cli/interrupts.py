"""Ctrl-C, heard wherever it falls."""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

_PAUSE = 0.005  # Seconds until the same again: the finaliser is over by then.


@contextlib.contextmanager
def resend_lost_interrupts() -> Iterator[None]:
    """See that no Ctrl-C is absorbed until the block ends.

    Python raises KeyboardInterrupt wherever the main thread happens to be. Where that is a
    finaliser or the callback of a weak reference, the exception is printed and forgotten, and the
    work goes on. Compiling a network frees so much that now and then a Ctrl-C falls there; it
    is sent once more, until it falls elsewhere.
    """
    before = sys.unraisablehook

    def again(absorbed: Any) -> None:
        if issubclass(absorbed.exc_type, KeyboardInterrupt):
            # Not from here: this hook is a place where it would be absorbed as well.
            threading.Timer(_PAUSE, _thread.interrupt_main).start()
        else:
            before(absorbed)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def ignore_interrupts() -> None:
    """Ignore every further Ctrl-C: this process has heard one, and ends.

    It does nothing outside the main thread, which is the only one that hears any.
    """
    while True:
        try:
            signal.signal(signal.SIGINT, _nothing)  # It takes those that are on their way.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt:
            continue
        except ValueError:
            pass
        return


def _nothing(*_: Any) -> None:
    pass
