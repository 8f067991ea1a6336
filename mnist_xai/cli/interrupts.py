"""Ctrl-C: do not lose the first one, ignore the following ones."""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

_RESEND_AFTER = 0.005  # Seconds; the finaliser has ended by then.


@contextlib.contextmanager
def resend_lost_interrupts() -> Iterator[None]:
    """Send every Ctrl-C again that Python loses while the block runs.

    Python raises KeyboardInterrupt wherever the main thread happens to be. In a finaliser or in
    the callback of a weak reference, Python prints the exception and goes on. Compiling a network
    frees so many objects that this happens now and then. So a lost Ctrl-C is sent again, until it
    arrives outside a finaliser.
    """
    previous = sys.unraisablehook

    def resend(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # Not from here: an exception in this hook would be lost too.
            threading.Timer(_RESEND_AFTER, _thread.interrupt_main).start()
        else:
            previous(unraisable)

    sys.unraisablehook = resend
    try:
        yield
    finally:
        sys.unraisablehook = previous


def ignore_interrupts() -> None:
    """Ignore every further Ctrl-C, because the process is already ending after the first.

    Does nothing outside the main thread: only the main thread receives Ctrl-C.
    """
    while True:
        try:
            signal.signal(signal.SIGINT, _nothing)  # Consumes signals that are pending.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt:
            continue
        except ValueError:
            pass
        return


def _nothing(*_: Any) -> None:
    pass
