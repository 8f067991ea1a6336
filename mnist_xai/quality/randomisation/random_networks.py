"""Networks in which some layers have random weights instead of trained ones.

The random weights of a layer depend only on the seed and on the layer's position, not on which
other layers are random or in which order they became so. They are drawn by the layer's own
initialisers with separate seeds, as in a network before training. If the initialiser of a weight
cannot be found by its name, as in attention or in layers of the user, the weight is permuted.

The random networks are experiments (`Network.experiment`): the weights of a copy change, and other
threads wait until it has its old weights again.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.graph import sublayers
from mnist_xai.interpret.core.network import Network
from mnist_xai.quality.parameters import one_of

LayerOrder = Annotated[Literal["cascading", "independent"], one_of("cascading", "independent")]
"""Whether layers that are random stay random, or only one layer is random at a time."""


def randomised_layers(network: Network) -> tuple[str, ...]:
    """Return the names of the layers that `randomised` makes random, in its order: last one first.

    These are the layers with trained weights. A layer that is called several times is listed once,
    by its last call.
    """
    return tuple(name for name, _ in _layers(network))


def randomised(network: Network, order: LayerOrder, seed: int) -> Iterator[tuple[str, Network]]:
    """Make one layer random after the other, from the output to the input.

    Args:
        network: The network; it does not change.
        order: `"cascading"`: random layers stay random; `"independent"`: one layer at a time.
        seed: Seed of the random weights.

    Yields:
        The layer's name, and a network in which it is random. It is the same network each time
        and is valid only within the loop.
    """
    with network.experiment() as twin:
        for number, (name, layer) in enumerate(_layers(twin)):
            if order == "independent":
                twin.model.set_weights(network.model.get_weights())
            _randomise_layer(layer, seed, number)
            yield name, twin


@contextmanager
def fully_random(network: Network, seed: int) -> Iterator[Network]:
    """Yield a network in which all layers are random: the last one of a cascade."""
    with network.experiment() as twin:
        for number, (_, layer) in enumerate(_layers(twin)):
            _randomise_layer(layer, seed, number)
        yield twin


def _layers(network: Network) -> list[tuple[str, Any]]:
    calls, _ = network.runner.run(tf.zeros([1, *network.inputs.typical_shape]))
    found: dict[int, tuple[str, Any]] = {}
    for name, layer in reversed([(name, call.layer) for name, call in calls.items()]):
        # Weights of a Normalization layer are not trained: they are mean and variance of data.
        if not isinstance(layer, keras.layers.Normalization) and _own_weights(layer):
            found.setdefault(id(layer), (name, layer))
    layers = [call.layer for call in calls.values()]
    seen = {id(weight) for layer in layers for weight in getattr(layer, "weights", ())}
    # A subclassed model may have weights of its own, which no layer of a call has. Last, since the
    # layers inside are drawn again with it.
    if any(id(weight) not in seen for weight in network.model.trainable_weights):
        found[id(network.model)] = network.model.name, network.model
    return list(found.values())


def _own_weights(layer: Any) -> list[tuple[Any, Any]]:
    """Return pairs of a weight and the layer that owns it: this one or a layer inside it."""
    weights = {id(weight) for weight in getattr(layer, "weights", ())}
    pairs = [
        (weight, inner)
        for inner in (sublayers(layer) if weights else [])
        for weight in inner.weights
        if id(weight) in weights and keras.backend.is_float_dtype(weight.dtype)
    ]
    # Inner layers come last. They know the weight's initialiser; the outer layer does not.
    return list({id(weight): (weight, inner) for weight, inner in pairs}.values())


def _randomise_layer(layer: Any, seed: int, number: int) -> None:
    for index, (weight, owner) in enumerate(_own_weights(layer)):
        # A spawn key, because the seeds [0, 1] and [0, 1, 0] give the same numbers, which a model
        # made from seed 0 may have already.
        key = np.random.SeedSequence(seed, spawn_key=(number, index))
        initialiser = _initialiser(owner, weight)
        if initialiser:
            weight.assign(_reseeded(initialiser, key)(weight.shape, dtype=weight.dtype))
        else:
            old = np.asarray(weight)
            new = np.random.default_rng(key).permutation(old.ravel())
            weight.assign(new.reshape(old.shape))


def _initialiser(owner: Any, weight: Any) -> Any:
    """Return the layer's initialiser of a weight by its name; None if it is unknown."""
    if isinstance(owner, keras.layers.EinsumDense):
        return None  # It adapts a copy of its initialiser to its axes and does not store the copy.
    found = getattr(owner, f"{weight.name}_initializer", None)
    return found if isinstance(found, keras.initializers.Initializer) else None


def _reseeded(initialiser: Any, key: np.random.SeedSequence) -> Any:
    """Return the initialiser with this seed: with its own it could draw the old weights again."""
    other = copy.copy(initialiser)
    if hasattr(other, "seed"):
        other.seed = int(key.generate_state(1)[0])
    return other
