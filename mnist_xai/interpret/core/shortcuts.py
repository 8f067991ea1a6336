"""An identity by which a gradient pass saves work: max-pooling commutes with ReLU.

`max_i relu(z_i) = relu(max_i z_i)`, and where the maximum is positive it is the same number's, so
the gradients are equal too. Taken after the pooling, a ReLU and its gradient have a quarter of the
numbers to go through, or fewer.
"""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from mnist_xai.interpret.core.graph import Call, Caller, last_activation, reads, without_activation


@dataclass(frozen=True)
class Shortcuts:
    """Which layers of a network are called in another way that gives the same.

    Attributes:
        deferred: Layers whose ReLU waits until after the pooling.
        pools: The poolings that a ReLU waits for.
    """

    deferred: frozenset[str]
    pools: frozenset[str]

    def caller(self, h: Any = None, known: tuple[str | None, ...] = ()) -> Caller:
        """What calls the layers, but not those of which `h` is known to come out, ReLU apart."""

        def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if name in self.deferred:
                return h if name in known else layer_before_relu(layer)(*args, **kwargs)
            if name in self.pools:
                return tf.nn.relu(h if name in known else layer(*args, **kwargs))
            return layer.activation(h) if name in known else layer(*args, **kwargs)

        return call


def find_shortcuts(calls: dict[str, Call]) -> Shortcuts:
    """The shortcuts of a network whose calls were written down."""
    deferred, pools = set(), set()
    for name, call in calls.items():
        if not isinstance(call.layer, _MAX_POOLING):
            continue
        makers = [n for n, made in calls.items() if made.output is call.args[0]]
        readers = [other for other in calls.values() if reads(other, call.args[0])]
        if makers and len(readers) == 1 and is_relu(calls[makers[-1]].layer):
            deferred.add(makers[-1])
            pools.add(name)
    return Shortcuts(frozenset(deferred), frozenset(pools))


_MAX_POOLING = (
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)


def is_relu(layer: Any) -> bool:
    """Whether a layer ends in a plain ReLU."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return layer.max_value is None and plain
    fused = last_activation(layer) is keras.activations.relu
    return fused or type(layer) is keras.src.ops.nn.Relu


def is_only_relu(layer: Any) -> bool:
    """Whether a layer is a plain ReLU and nothing else."""
    alone = isinstance(layer, keras.layers.Activation) or not hasattr(layer, "activation")
    return alone and is_relu(layer)


def layer_before_relu(layer: Any) -> Any:
    """A layer without the ReLU in which it ends; the identity where it is nothing else."""
    return (lambda x, **_: x) if is_only_relu(layer) else without_activation(layer)
