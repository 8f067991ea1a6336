"""The pixels that a unit depends on, found from the layers' geometry.

Each step is replaced by a linear one of the same geometry: all weights one, all inputs one, a mean
in place of a maximum, no activation. Its transpose takes a unit to all units that it depends on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from mnist_xai.interpret.core.layer_kinds import WEIGHTLESS
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.steps import Step, propagate_backwards, step_graph, vjp
from mnist_xai.interpret.inspect.neurons import flat_index


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The pixels that a unit depends on.

    Attributes:
        mask: True at these pixels, boolean `(H, W)`.
    """

    mask: NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row, first column, height and width of the smallest box around these pixels."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return 0, 0, 0, 0
        return (
            int(rows[0]),
            int(columns[0]),
            int(rows[-1] - rows[0] + 1),
            int(columns[-1] - columns[0] + 1),
        )

    def __str__(self) -> str:
        top, left, height, width = self.box
        return (
            f"{self.mask.sum()} pixels in a box of {height} x {width} from row {top}, column {left}"
        )


def receptive_field(
    model: keras.Model | Network, layer: str, index: Sequence[int]
) -> ReceptiveField:
    """Find the pixels `x_i` that a unit `a_l[index]` is a function of.

    They follow from the layers' geometry: kernels, strides, padding, pooling windows. The values
    of weights and images do not matter, so neither a closed ReLU nor a weight of zero hides a
    pixel. For every image, changing pixels outside the mask leaves the unit as it is; for every
    pixel inside there are weights with which the unit depends on it.

    Args:
        model: A Keras classifier of images of one size, or a `Network` made of it.
        layer: Name of the layer `l`, `outer/inner` in a nested model.
        index: The unit's index in the layer's output for one image, `(y, x, k)` or `(unit,)`.

    Returns:
        The mask `(H, W)`, and the box around it.

    Raises:
        TypeError, ValueError: For a layer that the model does not have, a unit that the layer
            does not have, or a model that takes images of any size.
        UnsupportedLayerError: For a layer before it whose geometry is not known.

    Source: Araujo, Norris, Sim 2019, section 2; computed here by transposed layers, because their
    recurrence covers neither several paths nor the borders of the image.
    """
    network = Network.of(model)
    unit = flat_index(network, layer, index)
    image = tf.ones([1, *network.image_shape])
    graph = step_graph(network, image)
    start = np.zeros([1, *network.layer_shapes[layer]], np.float32)
    start.flat[unit] = 1
    seen = propagate_backwards(
        graph.steps, (graph.outputs[layer], tf.constant(start)), image, _reached
    )
    pixels = np.zeros(image.shape) if seen is None else np.asarray(seen)
    return ReceptiveField(np.any(pixels > 0, axis=(0, 3)))


def _reached(step: Step, seen: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Return, for each input, one where a unit reaches a seen unit of the output, else zero."""
    ones = tuple(tf.ones(x.shape) for x in step.inputs)
    if step.kind == "elementwise" or (step.affine and step.affine.diagonal):
        return (seen,)
    if step.affine:
        unit = tf.ones_like(step.affine.kernel)
        # Sums of ones are whole numbers; the rounding error of a fast convolution is below 0.5.
        return _where((step.affine.transpose(seen, ones[0], unit),), least=0.5)
    if step.kind in WEIGHTLESS | {"rearrange", "product"}:
        return _where(vjp(step.function, ones, seen))
    if step.kind == "max":
        return _where(vjp(_mean_of(step.layer), ones, seen))
    if step.kind != "softmax" and not isinstance(step.layer, _MIXING):
        step.refuse("a receptive field", "its geometry is not known")
    axis = getattr(step.layer, "axis", -1)
    return (tf.zeros_like(seen) + tf.reduce_max(seen, axis, keepdims=True),)


_MIXING = (layers.LayerNormalization, layers.UnitNormalization, layers.RMSNormalization)
"""Layers whose units read a whole axis."""


def _where(slopes: tuple[tf.Tensor, ...], least: float = 0.0) -> tuple[tf.Tensor, ...]:
    return tuple(tf.cast(tf.abs(slope) > least, tf.float32) for slope in slopes)


def _mean_of(layer: Any) -> Callable[..., tf.Tensor]:
    """Return the mean over the numbers whose maximum a layer returns."""
    if hasattr(layer, "pool_size"):
        return lambda x: keras.ops.average_pool(
            x, layer.pool_size, layer.strides, layer.padding, layer.data_format
        )
    if isinstance(layer, layers.Maximum) or type(layer).__name__ == "Maximum":
        return lambda *inputs: tf.add_n(inputs)
    if type(layer).__name__.startswith("Global"):
        return lambda x: keras.ops.mean(x, tuple(range(1, len(x.shape) - 1)), layer.keepdims)
    return lambda x: keras.ops.mean(x, axis=layer.axis, keepdims=layer.keepdims)
