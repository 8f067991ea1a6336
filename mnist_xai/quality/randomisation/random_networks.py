"""Networks of which some layers have forgotten what they learnt.

A layer's new weights are a function of the seed and of where the layer stands, and of nothing
else: whichever other layers are random, and in whichever order they became so. They come from the
layer's own initialisers, under seeds of their own, as in a network before training. A weight whose
initialiser cannot be found by its name, as in attention or in a layer of the user's own, is
permuted instead.

The random networks are experiments (`Network.experiment`): the weights of a copy change, and other
threads wait until it has its old weights again.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.graph import sublayers
from mnist_xai.interpret.core.network import Network

Order = Literal["cascading", "independent"]


def stages(network: Network) -> tuple[str, ...]:
    """Names of the layers that have something to forget, the last one called first.

    A layer that is called several times is there once, by its last call.
    """
    return tuple(name for name, _ in _layers(network))


def randomised(network: Network, order: Order, seed: int) -> Iterator[tuple[str, Network]]:
    """Make one layer random after the other, from the output down.

    Args:
        network: The network.
        order: `"cascading"`, what is random stays so; `"independent"`, one layer at a time.
        seed: Of the weights.

    Yields:
        The layer's name, and a network, the same one each time, in which it is random. It is only
        valid within the loop.
    """
    with network.experiment() as twin:
        for number, (name, layer) in enumerate(_layers(twin)):
            if order == "independent":
                twin.model.set_weights(network.model.get_weights())
            _forget(layer, seed, number)
            yield name, twin


@contextmanager
def fully_random(network: Network, seed: int) -> Iterator[Network]:
    """Yield a network in which every layer is random: the end of the cascade."""
    with network.experiment() as twin:
        for number, (_, layer) in enumerate(_layers(twin)):
            _forget(layer, seed, number)
        yield twin


def check_order(order: str) -> None:
    """Raise ValueError unless this names an order."""
    if order not in ("cascading", "independent"):
        raise ValueError(f"order: expected cascading or independent; got {order!r}")


def _layers(network: Network) -> list[tuple[str, Any]]:
    calls, _ = network.runner.run(tf.zeros([1, *network.inputs.typical_shape]))
    found: dict[int, tuple[str, Any]] = {}
    for name, layer in reversed([(name, call.layer) for name, call in calls.items()]):
        # A Normalization layer's weights are no parameters, but the mean and variance of data.
        if not isinstance(layer, keras.layers.Normalization) and _own_weights(layer):
            found.setdefault(id(layer), (name, layer))
    return list(found.values())


def _own_weights(layer: Any) -> list[tuple[Any, Any]]:
    """Pairs of a weight and the layer, this or one inside it, that it belongs to."""
    weights = {id(weight) for weight in getattr(layer, "weights", ())}
    pairs = [
        (weight, inner)
        for inner in (sublayers(layer) if weights else [])
        for weight in inner.weights
        if id(weight) in weights and keras.backend.is_float_dtype(weight.dtype)
    ]
    # Inner layers come last, and know the initialiser that the outer one does not.
    return list({id(weight): (weight, inner) for weight, inner in pairs}.values())


def _forget(layer: Any, seed: int, number: int) -> None:
    for place, (weight, owner) in enumerate(_own_weights(layer)):
        # A spawn key, for [0, 1] and [0, 1, 0] are one seed: that of a model made from seed 0.
        key = np.random.SeedSequence(seed, spawn_key=(number, place))
        initialiser = _initialiser(owner, weight)
        if initialiser:
            weight.assign(_reseeded(initialiser, key)(weight.shape, dtype=weight.dtype))
        else:
            old = np.asarray(weight)
            new = np.random.default_rng(key).permutation(old.ravel())
            weight.assign(new.reshape(old.shape))


def _initialiser(owner: Any, weight: Any) -> Any:
    """The initialiser that a layer has for a weight by its name; None where it cannot be known."""
    if isinstance(owner, keras.layers.EinsumDense):
        return None  # It tells a copy of its initialiser which axes are inputs, and keeps none.
    found = getattr(owner, f"{weight.name}_initializer", None)
    return found if isinstance(found, keras.initializers.Initializer) else None


def _reseeded(initialiser: Any, key: np.random.SeedSequence) -> Any:
    """The same initialiser under this seed: under its own it may draw the old weights again."""
    other = copy.copy(initialiser)
    if hasattr(other, "seed"):
        other.seed = int(key.generate_state(1)[0])
    return other
