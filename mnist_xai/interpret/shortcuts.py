"""Identities by which a gradient pass saves work and gives the same to the last bit but rounding.

- Max-pooling commutes with ReLU, `max_i relu(z_i) = relu(max_i z_i)`. Taken after the pooling, a
  ReLU and its gradient have a quarter of the numbers to go through, or less.
- The gradient of a pooling whose windows do not overlap goes to the first largest number of each
  window. Comparing with the maximum finds it several times faster than the library's search.
- The first layer's linear part may have been run already (`front.py`).
"""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from mnist_xai.interpret.front import reads
from mnist_xai.interpret.graph import Call, Caller, without_activation


@dataclass(frozen=True)
class Shortcuts:
    """Which layers of a network are called in another way that gives the same.

    Attributes:
        deferred: Layers whose ReLU waits until after the pooling.
        pools: Poolings without overlap; True where a ReLU waits for them.
    """

    deferred: frozenset[str]
    pools: dict[str, bool]

    def caller(self, front: str | None = None, h: Any = None) -> Caller:
        """What calls the layers; `h` is what the front has made of the images already."""

        def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if name == front:
                return h if name in self.deferred else layer.activation(h)
            if name in self.deferred:
                return _linear_part(layer)(*args, **kwargs)
            if name in self.pools:
                pooled = max_pool(args[0], *layer.pool_size)
                return tf.nn.relu(pooled) if self.pools[name] else pooled
            return layer(*args, **kwargs)

        return call


def find_shortcuts(calls: dict[str, Call]) -> Shortcuts:
    """The shortcuts of a network whose calls were written down."""
    deferred, pools = set(), {}
    for name, call in calls.items():
        if not _is_plain_pooling(call.layer):
            continue
        makers = [n for n, made in calls.items() if made.output is call.args[0]]
        readers = [other for other in calls.values() if reads(other, call.args[0])]
        pools[name] = bool(makers) and len(readers) == 1 and is_relu(calls[makers[-1]].layer)
        if pools[name]:
            deferred.add(makers[-1])
    return Shortcuts(frozenset(deferred), pools)


def max_pool(x: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """Max-pooling without overlap or padding, with a faster gradient of the same values."""

    def pool(x: tf.Tensor) -> Any:
        pooled = tf.nn.max_pool2d(x, (rows, columns), (rows, columns), "VALID")
        return pooled, lambda g: unpool(x, pooled, g, rows, columns)

    return tf.custom_gradient(pool)(x)


def unpool(x: tf.Tensor, pooled: tf.Tensor, g: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """Put each `g` where its window has its first maximum, and zeros elsewhere.

    Args:
        x: `(N, H, W, K)`, what was pooled.
        pooled: `(N, H // rows, W // columns, K)`, its maxima.
        g: The same shape.
        rows: Height of a window.
        columns: Width of a window.

    Returns:
        `(N, H, W, K)`.
    """
    height, width, channels = pooled.shape[1:]
    windows = x[:, : height * rows, : width * columns]
    # Channels of one window row side by side: (N, H/rows, rows, W/columns, columns · K).
    windows = tf.reshape(windows, [-1, height, rows, width, columns * channels])
    largest = windows >= tf.concat([pooled] * columns, -1)[:, :, tf.newaxis]
    chosen, lines = None, []
    for i in range(rows):
        line = []
        for j in range(columns):
            here = largest[:, :, i, :, j * channels : (j + 1) * channels]
            first = here if chosen is None else here & ~chosen
            chosen = here if chosen is None else here | chosen
            line.append(first)
        lines.append(tf.concat(line, -1))
    spread = tf.concat([g] * columns, -1)[:, :, tf.newaxis]
    image = tf.where(tf.stack(lines, 2), spread, tf.zeros((), g.dtype))
    image = tf.reshape(image, [-1, height * rows, width * columns, channels])
    below, right = x.shape[1] - height * rows, x.shape[2] - width * columns
    return tf.pad(image, [[0, 0], [0, below], [0, right], [0, 0]]) if below or right else image


def is_relu(layer: Any) -> bool:
    """Whether a layer ends in a plain ReLU."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return layer.max_value is None and plain
    fused = getattr(layer, "activation", None) is keras.activations.relu
    return fused or type(layer) is keras.src.ops.nn.Relu


def _linear_part(layer: Any) -> Any:
    """A layer without its ReLU; the identity where it is nothing else."""
    alone = isinstance(layer, keras.layers.Activation) or not hasattr(layer, "activation")
    return (lambda x, **_: x) if alone else without_activation(layer)


def _is_plain_pooling(layer: Any) -> bool:
    return (
        isinstance(layer, keras.layers.MaxPooling2D)
        and tuple(layer.pool_size) == tuple(layer.strides)
        and layer.padding == "valid"
        and layer.data_format == "channels_last"
    )
