"""Single units: their gradients, conductance and influence."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.graph import UnsupportedLayerError
from mnist_xai.interpret.core.inputs import Array, Score, check_score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.passes import NUMBER, TARGETS, Pass
from mnist_xai.interpret.methods.gradients.gradient import (
    QUADRATURES,
    IntegratedGradients,
    Quadrature,
)

Differences = Literal["forward", "central"]


def neuron_gradient(
    model: keras.Model | Network, images: ArrayLike, layer: str, index: Sequence[int]
) -> Array:
    """Compute the gradient of one unit with respect to the image: `∂a_l[index]/∂x`.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: `(N, H, W, C)`, as the model takes them.
        layer: Name of the layer `l`, `outer/inner` in a nested model.
        index: The unit's index in the layer's output for one image, `(y, x, k)` or `(unit,)`.

    Returns:
        `(N, H, W, C)`, signed: the change of the unit for one unit of a pixel.

    Raises:
        TypeError, ValueError: For images out of shape or range, a layer that the model does
            not have, or a unit that the layer does not have.
        UnsupportedLayerError: When no gradient reaches the image from this layer.

    Source: Simonyan, Vedaldi, Zisserman 2013, section 3, with a unit in place of the score.
    """
    network = Network.of(model)
    images = network.inputs.check_images(images, needs_range=False)
    unit = flat_index(network, layer, index)

    # The unit is an argument of the pass, so that all units share one compiled pass.
    units = np.full(len(images), unit, np.int32)
    slopes: Array = network.in_chunks(_neuron_gradient, (layer,), images, units)
    return network.pixels.per_value(slopes, 1)


def layer_conductance(
    model: keras.Model | Network,
    images: ArrayLike,
    layer: str,
    targets: ArrayLike | None = None,
    *,
    steps: int = 64,
    quadrature: Quadrature = "gauss_legendre",
    differences: Differences = "central",
    baseline: float = 0.0,
    score: Score = "logit",
) -> Array:
    """Compute how much of the score flows through each unit: `∫₀¹ ∂S_c/∂a_j · da_j/dα dα`.

    The image changes along the straight line `x(α) = x' + α (x - x')`. The integral is taken
    over the unit's own change, `Σ_k ∂S_c/∂a_j(α_k) (a_j(β_k) - a_j(β_(k-1)))`, so that no
    derivative of a unit is needed.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: `(N, H, W, C)`, the images `x`, as the model takes them.
        layer: Name of the layer, `outer/inner` in a nested model.
        targets: Integers `(N,)`, the classes `c`; by default each image's predicted class.
        steps: Number of points `α_k`.
        quadrature: One of `QUADRATURES`; its nodes are the points.
        differences: `"forward"`: each interval starts at its point and ends at the next one; the
            `β_k` are the nodes of a quadrature with one more step, and the sums equal Captum's.
            `"central"`: the intervals are as long as the quadrature's weights, so each contains
            its point and together they cover the path; of second order, for the same cost.
        baseline: The value of every pixel of `x'`, in [0, 1].
        score: Whether `S_c` is the logit or the probability.

    Returns:
        `(N, …)`, in the layer's own shape, signed, in units of the score. A unit that becomes
        inactive on the path counts as much as one that becomes active. Where every path from the
        image to the score passes through the layer, the sum tends to `S_c(x) - S_c(x')`.

    Raises:
        TypeError, ValueError: For arguments out of shape, type or range.
        UnsupportedLayerError: When the score does not depend on the layer.

    Source: Dhamdhere, Sundararajan, Yan 2018, section 3.
    """
    points, ends = _intervals(IntegratedGradients(steps, quadrature, baseline), differences)
    network, images, classes = _checked(model, images, layer, targets, score)

    image, output = network.runner.image_spec, tf.TensorSpec([None, *network.layer_shapes[layer]])
    start = network.passes.get(_first_outputs, layer, signature=(image, NUMBER, NUMBER))
    advance = network.passes.get(
        _conductance_step,
        *(layer, score),
        signature=(output, output, image, NUMBER, NUMBER, NUMBER, TARGETS),
    )
    sums = []
    for rows in network.chunks(len(images)):
        total, last = start(images[rows], baseline, ends[0])
        for point, end in zip(points, ends[1:], strict=True):
            total, last = advance(total, last, images[rows], baseline, point, end, classes[rows])
        sums.append(total.numpy())
    return np.concatenate(sums)


def internal_influence(
    model: keras.Model | Network,
    images: ArrayLike,
    layer: str,
    targets: ArrayLike | None = None,
    *,
    steps: int = 64,
    quadrature: Quadrature = "gauss_legendre",
    baseline: float = 0.0,
    score: Score = "logit",
) -> Array:
    """Compute the mean gradient of the score with respect to each unit: `∫₀¹ ∂S_c/∂a_j(x(α)) dα`.

    The distribution of interest is the straight line `x(α) = x' + α (x - x')`. The conductance
    says how much a unit contributed, the influence how it would act: a unit that stays at 0 can
    have influence.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: `(N, H, W, C)`, the images `x`, as the model takes them.
        layer: Name of the layer, `outer/inner` in a nested model.
        targets: Integers `(N,)`, the classes `c`; by default each image's predicted class.
        steps: Points of the quadrature.
        quadrature: One of `QUADRATURES`.
        baseline: The value of every pixel of `x'`, in [0, 1].
        score: Whether `S_c` is the logit or the probability.

    Returns:
        `(N, …)`, in the layer's own shape, signed: the change of the score per unit of activation.

    Raises:
        TypeError, ValueError: For arguments out of shape, type or range.
        UnsupportedLayerError: When the score does not depend on the layer.

    Source: Leino, Sen, Datta, Fredrikson, Li 2018, section 3.
    """
    IntegratedGradients(steps, quadrature, baseline)  # Validates them.
    network, images, classes = _checked(model, images, layer, targets, score)

    shape = network.layer_shapes[layer]
    advance = network.passes.get(
        _influence_step,
        *(layer, score),
        signature=(
            *(tf.TensorSpec([None, *shape]), network.runner.image_spec),
            *(NUMBER, NUMBER, NUMBER, TARGETS),
        ),
    )
    points, weights = QUADRATURES[quadrature](steps)
    sums = []
    for rows in network.chunks(len(images)):
        x, target = images[rows], classes[rows]
        total = tf.zeros([len(x), *shape])
        for point, weight in zip(points, weights, strict=True):
            total = advance(total, x, baseline, point, weight, target)
        sums.append(total.numpy())
    return np.concatenate(sums)


def flat_index(network: Network, layer: str, index: Sequence[int]) -> int:
    """Return the index of a unit in a layer's flattened output.

    Raises:
        TypeError, ValueError: For a layer that the model does not have, or a unit that the
            layer does not have.
    """
    network.check_layer(layer)
    network.inputs.fixed_shape()
    shape = network.layer_shapes[layer]
    if not all(isinstance(i, int | np.integer) for i in index):
        raise TypeError(f"index: expected integers; got {tuple(index)}")
    if len(index) != len(shape) or not all(
        0 <= i < side for i, side in zip(index, shape, strict=True)
    ):
        raise ValueError(
            f"index: expected a place in the output {shape} of {layer!r}; got {tuple(index)}"
        )
    return int(np.ravel_multi_index(tuple(index), shape)) if shape else 0


def _neuron_gradient(network: Network, layer: str) -> Pass:
    def gradient(x: tf.Tensor, units: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = tf.reshape(network.runner.run(x)[0][layer].output, [tf.shape(x)[0], -1])
            activation = tf.gather(output, units, batch_dims=1)
        slope = tape.gradient(activation, x)
        if slope is None:
            raise UnsupportedLayerError(
                f"{layer}: no gradient reaches the image from it; it, or a layer before it, is "
                "not differentiable"
            )
        return slope

    return gradient


def _first_outputs(network: Network, layer: str) -> Pass:
    def begin(x: tf.Tensor, other: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first = tf.cast(_output(network, other + end * (x - other), layer), tf.float32)
        return tf.zeros_like(first), first

    return begin


def _conductance_step(network: Network, layer: str, score: Score) -> Pass:
    def step(
        total: tf.Tensor,
        last: tf.Tensor,
        x: tf.Tensor,
        other: tf.Tensor,
        point: tf.Tensor,
        end: tf.Tensor,
        target: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        slope = _slope(network, other + point * (x - other), target, layer, score)
        output = tf.cast(_output(network, other + end * (x - other), layer), tf.float32)
        return total + slope * (output - last), output

    return step


def _influence_step(network: Network, layer: str, score: Score) -> Pass:
    def step(
        total: tf.Tensor,
        x: tf.Tensor,
        other: tf.Tensor,
        point: tf.Tensor,
        weight: tf.Tensor,
        target: tf.Tensor,
    ) -> tf.Tensor:
        return total + weight * _slope(network, other + point * (x - other), target, layer, score)

    return step


def _intervals(
    path: IntegratedGradients, differences: Differences
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points of the gradients, and the ends of the intervals around them."""
    if differences not in ("forward", "central"):
        raise ValueError(f"differences: expected forward or central; got {differences!r}")
    if differences == "forward":
        ends, _ = QUADRATURES[path.quadrature](path.steps + 1)
        return ends[:-1], ends
    points, weights = QUADRATURES[path.quadrature](path.steps)
    ends = np.concatenate([[0], np.cumsum(weights)])
    ends[-1] = 1  # Rounding must not leave the path.
    return points, ends


def _checked(
    model: keras.Model | Network,
    images: ArrayLike,
    layer: str,
    targets: ArrayLike | None,
    score: Score,
) -> tuple[Network, Array, NDArray[np.int32]]:
    network = Network.of(model)
    network.check_layer(layer)
    network.inputs.fixed_shape()
    check_score(score)
    checked = network.inputs.check_images(images)
    if targets is None:
        targets = network.logits_at(checked).argmax(axis=1)
    return network, checked, network.inputs.check_targets(targets, len(checked), score=score)


def _output(network: Network, images: tf.Tensor, layer: str) -> Any:
    return network.runner.run(images)[0][layer].output


def _slope(
    network: Network, images: tf.Tensor, target: tf.Tensor, layer: str, score: Score
) -> tf.Tensor:
    """Return `∂S_c/∂a` at these images, `(N, …)`."""
    return network.runner.layer_gradient(images, target, layer, score)[1]
