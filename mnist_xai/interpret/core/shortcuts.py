"""An identity that makes gradient passes cheaper: max-pooling commutes with ReLU.

`max_i relu(z_i) = relu(max_i z_i)`, and where the maximum is positive, both sides are the same
number, so their gradients are equal too. Behind the pooling, a ReLU and its gradient process a
quarter of the numbers, or fewer.
"""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from mnist_xai.interpret.core.graph import (
    Call,
    Caller,
    first_tensor,
    is_identity,
    last_activation,
    reads,
    without_activation,
)


@dataclass(frozen=True)
class Shortcuts:
    """Layers of a network that a gradient pass calls in a cheaper way, with the same results.

    Attributes:
        deferred: Layers whose ReLU is applied only after the pooling that follows.
        pools: The poolings after which a deferred ReLU is applied.
        identities: Layers that return their input, and that are not called at all.
    """

    deferred: frozenset[str]
    pools: frozenset[str]
    identities: frozenset[str]

    def caller(
        self, h: Any = None, known: tuple[str | None, ...] = (), before: tuple[str, ...] = ()
    ) -> Caller:
        """Return a caller that takes these shortcuts.

        Args:
            h: An output that is known already, before its ReLU.
            known: The layers whose output it is. They are not called.
            before: Layers before them, which are not called either.
        """

        def call(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if name in self.identities or name in before:
                return first_tensor(args, kwargs)
            if name in self.deferred:
                return h if name in known else layer_before_relu(layer)(*args, **kwargs)
            if name in self.pools:
                return tf.nn.relu(h if name in known else layer(*args, **kwargs))
            return layer.activation(h) if name in known else layer(*args, **kwargs)

        return call


def find_shortcuts(calls: dict[str, Call], *, fixed_size: bool) -> Shortcuts:
    """Return the shortcuts of a network.

    Args:
        calls: The calls of one run.
        fixed_size: Whether all images have the size of this run. A layer that returns its input
            at one size, such as a crop, may change it at another one.
    """
    identities = [name for name, call in calls.items() if fixed_size and is_identity(call)]
    calls = {name: call for name, call in calls.items() if name not in identities}
    deferred, pools = set(), set()
    for name, call in calls.items():
        if not isinstance(call.layer, _MAX_POOLING):
            continue
        pooled = first_tensor(call.args, call.kwargs)
        makers = [n for n, made in calls.items() if made.output is pooled]
        readers = [other for other in calls.values() if reads(other, pooled)]
        if makers and len(readers) == 1 and is_relu(calls[makers[-1]].layer):
            deferred.add(makers[-1])
            pools.add(name)
    return Shortcuts(frozenset(deferred), frozenset(pools), frozenset(identities))


_MAX_POOLING = (
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)


def is_relu(layer: Any) -> bool:
    """Return whether a layer ends in a plain ReLU."""
    # `keras.activations.relu` in a functional graph is an operation of its own.
    if isinstance(layer, keras.layers.ReLU | keras.src.activations.activations.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return layer.max_value is None and plain
    fused = last_activation(layer) is keras.activations.relu
    return fused or type(layer) is keras.src.ops.nn.Relu


def is_only_relu(layer: Any) -> bool:
    """Return whether a layer is a plain ReLU and nothing else."""
    alone = isinstance(layer, keras.layers.Activation) or not hasattr(layer, "activation")
    return alone and is_relu(layer)


def layer_before_relu(layer: Any) -> Any:
    """Return a layer without the ReLU in which it ends; the identity for a ReLU alone."""
    return (lambda x, **_: x) if is_only_relu(layer) else without_activation(layer)
