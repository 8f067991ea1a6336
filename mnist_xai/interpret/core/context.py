"""The other inputs of a model with several: one row for all images, or one for each.

A pass works on images, on changed copies of them and on pairs, and a row of the context has to
reach them all. So images that have rows of their own are explained one at a time: the row is a
variable that the compiled passes read.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf


class Context:
    """Holds the other inputs of a model fixed.

    Attributes:
        count: Number of rows: 1 for the same row for all images, else that of the images.
    """

    def __init__(self) -> None:
        self.count = 1
        self._row = tf.Variable(0, dtype=tf.int32, trainable=False)
        self._lock = threading.RLock()  # Held while a row is in place.
        self._owner: int | None = None

    def holder(
        self, name: str, value: Any, takes: tuple[tuple[int | None, ...], str] | None = None
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return what gives an input's value for a batch of images.

        Args:
            name: Name of the input.
            value: Its value, with one row for all images, or one for each.
            takes: Shape and type that the model takes, the number of rows first.

        Raises:
            ValueError: For a value of another shape, and another number of rows than before.
        """
        rows = tf.convert_to_tensor(np.asarray(value))
        if takes:
            rows = tf.cast(rows, takes[1])
            rows = rows[tf.newaxis] if rows.shape.rank == len(takes[0]) - 1 else rows
            if not rows.shape.is_compatible_with(takes[0]):
                sides = ", ".join(str(side or "any") for side in takes[0][1:])
                raise ValueError(
                    f"context: expected for {name!r} rows (N, {sides}); got {tuple(rows.shape)}"
                )
        elif rows.dtype == tf.float64:
            rows = tf.cast(rows, tf.float32)
        count = rows.shape[0] if rows.shape.rank else None
        if not count or (count > 1 and self.count not in (1, count)):
            raise ValueError(
                f"context: expected for {name!r} one row for all images, or one for each of the "
                f"same number of images; got {tuple(rows.shape)}"
            )
        self.count = max(self.count, count)

        def held(images: tf.Tensor) -> tf.Tensor:
            row = rows if count == 1 else rows[self._row, tf.newaxis]
            return tf.repeat(row, tf.shape(images)[0], axis=0)

        return held

    def chunks(self, count: int, size: int) -> list[slice]:
        """Return slices of rows that cover `count` images, each for one call of `at`.

        Raises:
            ValueError: For another number of images than the context has rows.
        """
        if self.count > 1 and not self._in_place:
            if count != self.count:
                raise ValueError(
                    f"images: expected {self.count}, one for each row of the context; got {count}"
                )
            size = 1
        return [slice(start, start + size) for start in range(0, count, size)]

    @contextmanager
    def at(self, rows: slice) -> Iterator[None]:
        """Put the row of a chunk's image in place; keep one that is in place already."""
        if self.count == 1 or self._in_place:
            yield
            return
        with self._lock:
            self._owner = threading.get_ident()
            self._row.assign(rows.start)
            try:
                yield
            finally:
                self._owner = None

    def checking(self, compiled: Callable[..., Any]) -> Callable[..., Any]:
        """Return a pass that is refused while no row is in place."""
        if self.count == 1:
            return compiled

        def call(*args: Any) -> Any:
            if not self._in_place:
                raise ValueError(
                    f"context: has {self.count} rows, one for each image, and here images are not "
                    "passed one by one; make a Network for each image, with its row as the context"
                )
            return compiled(*args)

        return call

    @property
    def _in_place(self) -> bool:
        return self._owner == threading.get_ident()
