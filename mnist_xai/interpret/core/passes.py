"""Compiled passes: each is traced once, and identified by what it is made from."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mnist_xai.interpret.core.own_function import OwnFunction
from mnist_xai.interpret.core.progress import compiling

if TYPE_CHECKING:
    from mnist_xai.interpret.core.network import Network

Pass = Callable[..., Any]
"""A function of tensors whose first axis is the images."""

TARGETS = tf.TensorSpec([None], tf.int32)
INDICES = tf.TensorSpec([None], tf.int32)
NUMBER = tf.TensorSpec([], tf.float32)
NUMBERS = tf.TensorSpec([None], tf.float32)


class PassCache:
    """The compiled passes of one network.

    A pass is identified by the function that builds it and that function's arguments, so two
    different passes cannot share a key: whatever a pass depends on is an argument of its builder.

    Args:
        network: The network that builders are called with.
    """

    def __init__(self, network: "Network") -> None:
        self._network = network
        self._passes: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.RLock()

    def traces(self) -> dict[tuple[Any, ...], int]:
        """Return how often each pass was traced, by builder and options; once is right."""
        return {key: p.experimental_get_tracing_count() for key, p in self._passes.items()}

    def get(
        self,
        build: Callable[..., Pass],
        *options: Any,  # Hashable; a protocol of users' rules cannot say so.
        signature: Sequence[tf.TensorSpec],
    ) -> Pass:
        """Return the compiled pass `build(network, *options)`; compile it the first time.

        Args:
            build: Makes the pass. Everything that the pass depends on beside the network has to
                be among the options.
            options: Arguments of `build`, and with it the key of the pass.
            signature: Shapes and types of the pass's arguments.
        """
        key = (build, *options)
        if key in self._passes:  # Without the lock, so as not to wait for another compilation.
            return self._callable(self._passes[key])
        with self._lock:
            if key not in self._passes:
                # jit_compile: XLA slows small convolutions down on a CPU.
                compiled = tf.function(
                    build(self._network, *options),
                    input_signature=signature,
                    jit_compile=False,
                    autograph=False,
                )
                # Trace now. When several passes made by one builder (one per layer or rule) are
                # traced at their first call, TensorFlow warns of excessive retracing.
                with compiling():
                    compiled.get_concrete_function()
                self._passes[key] = compiled
            return self._callable(self._passes[key])

    def _callable(self, compiled: Pass) -> Pass:
        """Return a pass that checks the context, and raises the errors of a user's function."""
        model = self._network.model
        if isinstance(model, OwnFunction):
            compiled = model.with_own_errors(compiled)
        return self._network.context.checking(compiled)
