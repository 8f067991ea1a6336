"""Copies of a network for experiments that change weights."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import keras
import numpy as np

from mnist_xai.interpret.core.graph import copy_model
from mnist_xai.interpret.core.runner import agree

if TYPE_CHECKING:
    from mnist_xai.interpret.core.network import Network


class Experiments:
    """The networks that are made from one network so that its own weights stay as they are.

    Copies are made when first asked for; what they compile serves every later experiment.

    Args:
        network: The network; it is only read.
    """

    def __init__(self, network: "Network") -> None:
        self._network = network
        self._twin: Network | None = None
        self._derived: dict[Hashable, tuple[keras.Model, Network]] = {}
        self._making = threading.RLock()  # Held while a copy is made.
        self._running = threading.RLock()  # Held while the twin's weights differ.
        self._open = False

    @contextmanager
    def run(self) -> Iterator["Network"]:
        """Yield a copy of the network whose weights may be changed until the block ends.

        The copy starts with the network's current weights and gets them back at the end. Other
        threads wait until then.

        Raises:
            ValueError: For a model that Keras cannot rebuild from its configuration.
            RuntimeError: For an experiment inside an experiment on the same network.
        """
        twin = self.twin()
        with self._running:
            if self._open:
                raise RuntimeError("an experiment on this network is open; close it first")
            self._open = True
            try:
                twin.model.set_weights(self._network.model.get_weights())
                yield twin
            finally:
                twin.model.set_weights(self._network.model.get_weights())
                self._open = False

    def twin(self) -> "Network":
        """Return the copy of the network, made the first time; `run` alone changes its weights.

        Raises:
            ValueError: For a model that Keras cannot rebuild from its configuration.
        """
        with self._making:
            if self._twin is None:
                network = self._network
                twin = network.on_model(copy_model(network.model, network.runner.intake.build))
                shape = (4, *network.inputs.typical_shape)
                noise = np.random.default_rng(0).random(shape, np.float32)
                z, z_twin = network.logits_at(noise), twin.logits_at(noise)
                if not agree(z, z_twin, network.runner.rounding):
                    raise ValueError(
                        f"model: expected one that its configuration and weights describe; a copy "
                        f"of {network.model.name!r} gives other scores"
                    )
                self._twin = twin
            return self._twin

    def derived(self, key: Hashable, make: Callable[[keras.Model], keras.Model]) -> "Network":
        """Return a network on a model made from a copy, with the network's current weights.

        Args:
            key: Everything that `make` depends on; the model is made once per key.
            make: Makes a model with the outputs of the copy it is given, on the copy's weights.

        Raises:
            ValueError: For a model that Keras cannot rebuild from its configuration.
        """
        with self._making:
            if key not in self._derived:
                # Copy the twin, because it is known to be a true copy.
                copy = copy_model(self.twin().model, self._network.runner.intake.build)
                self._derived[key] = copy, self._network.on_model(make(copy))
            copy, network = self._derived[key]
            # Another thread may be running it, and reads equal numbers before and after.
            copy.set_weights(self._network.model.get_weights())
        return network
