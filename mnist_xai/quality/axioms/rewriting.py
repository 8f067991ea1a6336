"""Networks rewritten so that their maps follow from those of the original network.

Each rewriting opens an experiment (`Network.experiment`): it changes the weights of a copy and
yields the copy until the block ends. `mirrored` alone returns a network of its own. Every rewritten
network is compared with what it has to compute, on noise, and refused where it differs.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from mnist_xai.interpret.core.graph import (
    Call,
    prepend_to_model,
    reads,
    without_activation,
    without_identities,
)
from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.runner import agree


class CannotRewriteError(ValueError):
    """A network that cannot be rewritten in this way; the message says why."""


@contextmanager
def encoded(network: Network, scale: float, shift: float) -> Iterator[Network]:
    """Yield a network `f'` with `f'(k x + m) = f(x)`, for images in another encoding.

    The first linear layer compensates the encoding: with `z = W x + b`,

        W' = W / k,    b' = b - W' m.

    Args:
        network: The network `f`.
        scale: `k`, above 0.
        shift: `m`, added to every pixel.

    Raises:
        CannotRewriteError: If the first layer cannot compensate the encoding, such as a
            convolution with zero padding, whose zeros would have to be shifted too.
    """
    with _experiment(network) as twin:
        calls = _calls(twin, np.zeros((1, *twin.inputs.typical_shape), np.float32))
        name = next((n for n, call in calls.items() if type(call.layer) in _LINEAR), None)
        if name is None:
            raise CannotRewriteError("no layer of the network is a dense layer or a convolution")
        layer = calls[name].layer
        if layer.bias is None:
            raise CannotRewriteError(
                f"{name}: has no bias that could compensate a shift of the images"
            )
        before = _before_activation(calls[name])
        layer.kernel.assign(layer.kernel / scale)
        shifted = np.full((1, *twin.inputs.typical_shape), shift, np.float32)
        # What comes before the layer may have an offset of its own, so the outputs are compared.
        missing = before - _before_activation(_calls(twin, shifted)[name])
        layer.bias.assign(layer.bias + missing[0])
        noise = _noise(network)
        _check(
            network.logits_at(noise),
            twin.logits_at(scale * noise + np.float32(shift)),
            twin.runner.rounding,
            f"{name}: its bias cannot compensate a shift of the images, because of zero padding or "
            "because another layer reads the image",
        )
        yield twin


@contextmanager
def combined(network: Network, a: float, b: float) -> Iterator[Network]:
    """Yield a network with the logits `a z_c + b z_(c+1)`; after the last class comes the first.

    The last linear layer computes them: `W'_c = a W_c + b W_(c+1)`, and its biases likewise.

    Args:
        network: The network with the logits `z`.
        a: Weight of the class itself.
        b: Weight of the next class.

    Raises:
        CannotRewriteError: If the logits are not the outputs of a linear layer.
    """
    with _experiment(network) as twin:
        calls = _calls(twin, _noise(twin))
        ends = [
            call.layer
            for call in calls.values()
            if type(call.layer) in _LINEAR and call.layer.kernel.shape[-1] == network.classes
        ]
        refusal = "the logits are not the outputs of a dense layer or a convolution"
        if not ends:
            raise CannotRewriteError(refusal)
        for weight in _weights(ends[-1]):
            value = np.asarray(weight)
            weight.assign(a * value + b * np.roll(value, -1, axis=-1))
        noise = _noise(network)
        z = network.logits_at(noise)
        _check(
            a * z + b * np.roll(z, -1, axis=1), twin.logits_at(noise), twin.runner.rounding, refusal
        )
        yield twin


@contextmanager
def reordered(network: Network, seed: int) -> Iterator[Network]:
    """Yield a network with the same outputs whose hidden units are rescaled and in another order.

    `relu(s z) = s relu(z)` for `s > 0`, and pooling treats channels separately. So a channel may be
    multiplied by `s` if the next layer divides it by `s`. The `s` are powers of two, from 1/4 to
    4, which cause no rounding.

    Args:
        network: The network.
        seed: Seed of orders and scales.

    Raises:
        CannotRewriteError: If no two linear layers have only ReLUs, pooling or similar layers
            between them.
    """
    with _experiment(network) as twin:
        pairs = _neighbours(_calls(twin, _noise(twin)))
        if not pairs:
            raise CannotRewriteError(
                "no two dense or convolutional layers have only ReLUs, pooling or similar layers "
                "between them"
            )
        rng = np.random.default_rng(seed)
        for first, second in pairs:
            units = first.kernel.shape[-1]
            order, scales = rng.permutation(units), 2.0 ** rng.integers(-2, 3, units)
            for weight in _weights(first):
                weight.assign((np.asarray(weight) * scales)[..., order])
            kernel = np.asarray(second.kernel)
            # Behind Flatten, the rows of a dense kernel are ordered by position, then channel, like
            # the axes of a convolution's kernel.
            rows = kernel.reshape(-1, units, kernel.shape[-1]) / scales[:, np.newaxis]
            second.kernel.assign(rows[:, order].reshape(kernel.shape))
        noise = _noise(network)
        _check(
            network.logits_at(noise),
            twin.logits_at(noise),
            twin.runner.rounding,
            "hidden units cannot be rescaled",
        )
        yield twin


def mirrored(network: Network) -> Network:
    """Return a mirror-symmetric network: `f((x + x̃) / 2)`, `x̃` the mirror image of `x`.

    Two pixels that are mirror images of each other have the same role in it.

    Raises:
        CannotRewriteError: For a model that cannot be copied.
    """
    with _copying():
        return network.experiments.derived("mirrored", _mirror_symmetric)


def _mirror_symmetric(model: keras.Model) -> keras.Model:
    return prepend_to_model(model, _with_mirror_image)


def _with_mirror_image(image: Any) -> Any:
    return layers.Average(name="mirror_mean")([image, keras.ops.flip(image, axis=2)])


@contextmanager
def _experiment(network: Network) -> Iterator[Network]:
    """Open an experiment; a model that cannot be copied cannot be rewritten."""
    with ExitStack() as stack:
        with _copying():
            twin = stack.enter_context(network.experiment())
        yield twin


@contextmanager
def _copying() -> Iterator[None]:
    """Turn the ValueError of a model that cannot be copied into CannotRewriteError."""
    try:
        yield
    except ValueError as error:
        raise CannotRewriteError(str(error)) from error


def _noise(network: Network) -> Array:
    shape = (4, *network.inputs.typical_shape)
    return np.random.default_rng(0).random(shape, np.float32)


def _calls(network: Network, images: Array) -> dict[str, Call]:
    return without_identities(network.runner.run(tf.constant(images))[0])


def _weights(layer: Any) -> list[Any]:
    return [weight for weight in (layer.kernel, layer.bias) if weight is not None]


def _before_activation(call: Call) -> NDArray[np.float32]:
    """Return the output of a layer before its activation, `(positions, channels)`."""
    z = np.asarray(without_activation(call.layer)(*call.args), np.float32)
    return z.reshape(-1, z.shape[-1])


def _check(wanted: Array, found: Array, rounding: float, refusal: str) -> None:
    if not agree(wanted, found, rounding):
        raise CannotRewriteError(refusal)


# --- Layers that follow one another -------------------------------------------------------------


def _neighbours(calls: dict[str, Call]) -> list[tuple[Any, Any]]:
    """Return pairs of linear layers where only the second one reads the output of the first."""
    layers_called = [call.layer for call in calls.values()]
    pairs = []
    for call in calls.values():
        can_scale = _is_full(call.layer) and call.layer.activation in _HOMOGENEOUS
        second = _next_linear(call, list(calls.values())) if can_scale else None
        if second and all(layers_called.count(one) == 1 for one in (call.layer, second)):
            pairs.append((call.layer, second))
    return pairs


def _next_linear(call: Call, calls: list[Call]) -> Any:
    """Return the next linear layer; None if a layer before it mixes or clips channels."""
    while True:
        readers = [other for other in calls if reads(other, call.output)]
        if len(readers) != 1:
            return None
        (call,) = readers
        if _is_full(call.layer):
            return call.layer
        if not _scales_with_channel(call):
            return None


def _is_full(layer: Any) -> bool:
    """Return whether each output channel is a weighted sum of all input channels (last axis)."""
    grouped = getattr(layer, "groups", 1) > 1
    return type(layer) in _FULL and not grouped and _is_channels_last(layer)


def _is_channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _scales_with_channel(call: Call) -> bool:
    """Return whether `g(s x) = s g(x)` holds for each channel and channels stay the last axis."""
    layer = call.layer
    if isinstance(layer, layers.Activation):
        return layer.activation in _HOMOGENEOUS
    if isinstance(layer, layers.ReLU):
        return layer.max_value is None and not layer.threshold
    if isinstance(layer, layers.Reshape):
        return bool(call.output.shape[-1] == call.args[0].shape[-1])
    return type(layer) in _BY_CHANNEL and _is_channels_last(layer)


_FULL = (layers.Dense, layers.Conv2D)
_LINEAR = (*_FULL, layers.DepthwiseConv2D)
_HOMOGENEOUS: tuple[Callable[..., Any], ...] = (
    keras.activations.linear,
    keras.activations.relu,
    keras.activations.leaky_relu,
)
_BY_CHANNEL = (
    layers.LeakyReLU,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.GlobalAveragePooling2D,
    layers.Flatten,
    layers.Cropping2D,
    layers.ZeroPadding2D,
    layers.UpSampling2D,
)
