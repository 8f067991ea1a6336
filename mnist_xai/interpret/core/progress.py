"""Progress of a long computation: how many passes are done, and when a pass is being compiled.

What runs passes calls `advance` and `compiling`; who wants to know listens. Nobody listens by
default, and each thread listens for itself.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import keras


class Listener(Protocol):
    """Hears how a computation progresses."""

    def advance(self, passes: int) -> None:
        """Hear that this many passes are done, one for each image and run of the network."""

    def compiling(self) -> None:
        """Hear that compiling a pass takes long."""


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener | None) -> Iterator[None]:
    """Let a listener hear of the progress inside the block."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def advance(passes: int) -> None:
    """Tell the listener, if there is one, that this many passes are done."""
    listener = _LISTENER.get()
    if listener:
        listener.advance(passes)


@contextmanager
def compiling() -> Iterator[None]:
    """Tell the listener, if there is one, when the block takes longer than some seconds."""
    listener = _LISTENER.get()
    if not listener:
        yield
        return
    timer = threading.Timer(_PATIENCE, listener.compiling)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_PATIENCE = 2.0  # Seconds of compiling after which the user is told.
_LONG = 60.0  # Seconds; longer computations are announced.


class PassBar:
    """A progress bar in passes, with an estimate before anything longer than a minute.

    Args:
        images: Number of images.
        passes: Passes for each image.
        unit: What a pass is, `"forward"` or `"gradient"`.
    """

    def __init__(self, images: int, passes: float, unit: str) -> None:
        self._images, self._each, self._unit = images, max(1, round(passes)), unit
        self._total = images * self._each
        self._bar = keras.utils.Progbar(self._total, unit_name="pass")
        self._done = self._finished = 0
        self._start: tuple[float, int] | None = None
        self._told = self._estimated = False

    def compiling(self) -> None:
        """Say that a pass is being compiled, the first time."""
        if not self._told:
            print("compiling the network for this method ...", flush=True)  # noqa: T201
            self._told = True

    def advance(self, passes: int) -> None:
        """Show that this many passes more are done."""
        # A method may make fewer or more passes than it states: `finish` corrects it.
        self._done = min(self._done + passes, self._total - 1)
        now = time.monotonic()
        if self._start is None:  # The first call of a compiled pass takes longer.
            self._start = now, self._done
        elif not self._estimated and self._done > self._start[1]:
            self._estimate(now)
        self._bar.update(self._done)

    def finish(self, images: int) -> None:
        """Show that this many images more are finished."""
        self._finished += images
        self._done = self._finished * self._each
        self._bar.update(self._done)

    def _estimate(self, now: float) -> None:
        """Say how long the rest takes, if that is longer than a minute."""
        self._estimated = True
        started, done = self._start or (now, 0)
        seconds = (now - started) / (self._done - done) * (self._total - self._done)
        if seconds > _LONG:
            of = "the image" if self._images == 1 else f"each of {self._images} images"
            print(  # noqa: T201
                f"about {seconds / 60:.0f} min: {self._each:,} {self._unit} "
                f"pass{'' if self._each == 1 else 'es'} for {of}",
                flush=True,
            )
