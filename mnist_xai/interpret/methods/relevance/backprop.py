"""Gradients with another rule at each activation: guided backpropagation and the deconvnet."""

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.graph import UnsupportedLayerError
from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.layer_kinds import function_name
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.passes import Pass
from mnist_xai.interpret.core.shortcuts import is_relu
from mnist_xai.interpret.core.steps import Step, propagate_backwards, step_graph, vjp
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.cam.gradient_based import GradCAM

Targets = NDArray[np.int32]

_RECTIFIERS = {
    *("relu", "relu6", "leakyrelu", "prelu", "elu", "selu", "celu", "threshold", "maximum"),
    *("gelu", "silu", "swish", "hardsilu", "hardswish", "mish", "softplus", "squareplus"),
    "sparseplus",
}
"""Activations that are about zero below zero and about the identity above it."""

_SQUASHING = {
    *("sigmoid", "hardsigmoid", "sparsesigmoid", "tanh", "hardtanh", "softsign", "logsigmoid"),
    *("tanhshrink", "softshrink", "hardshrink"),
}
"""Other activations. What is in neither set, such as a square root, is arithmetic."""


@dataclass(frozen=True)
class _RectifiedBackprop:
    """The gradient, with another rule at each activation `a = f(z)`."""

    def passes(self, network: Network) -> float:
        """Return 1: one gradient pass."""
        return 1

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`.

        Raises:
            UnsupportedLayerError: For an activation without a rule, a layer that may contain
                one, or a network without activations.
        """
        return self.explain_with_logits(network, images, targets, score=score)[0]

    def explain_with_logits(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array], Array]:
        """Return the maps, no absorbed parts, and the logits."""
        maps, z = network.in_chunks(_rectified_gradient, (self, score), images, targets)
        return maps, {}, z

    def _rule(self, step: Step, slope: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if step.kind == "other":
            step.refuse(type(self).__name__, "it may contain an activation, which has a rule")
        if not _is_activation(step):
            return step.vjp(slope)
        return (self._rectify(step, tf.cast(step.inputs[0], tf.float32), slope),)

    def _rectify(self, step: Step, z: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


def _is_activation(step: Step) -> bool:
    known = _RECTIFIERS | _SQUASHING
    return step.kind == "elementwise" and function_name(step.layer) in known


@register("guided_backprop")
@dataclass(frozen=True)
class GuidedBackprop(_RectifiedBackprop):
    """Guided backpropagation: at a ReLU `g ↦ 1[z > 0] max(g, 0)`.

    The paper has networks of ReLUs only. At any other activation `a = f(z)` the rule here is
    `g ↦ max(f'(z), 0) max(g, 0)`: what goes on is the part of the gradient on paths where more `z`
    means more `a` and more `a` a higher score. For a ReLU that is the paper's rule.
    """

    about: ClassVar[About] = About(
        family="relevance",
        shows="which pixels raise the units that raise the score, in every layer",
        caveat="it redraws the image's edges, hardly depends on the class, and hardly changes "
        "when the upper layers' weights are randomised (Adebayo et al. 2018)",
        reference="Springenberg, Dosovitskiy, Brox, Riedmiller 2015, section 3.4",
        pixel_power=1,
        needs_range=False,
    )

    def _rectify(self, step: Step, z: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
        if is_relu(step.layer):
            return tf.where(z > 0, tf.maximum(slope, 0.0), 0.0)
        (derivative,) = vjp(step.function, (z,), tf.ones_like(z))
        return tf.maximum(derivative, 0.0) * tf.maximum(slope, 0.0)


@register("deconvnet")
@dataclass(frozen=True)
class DeconvNet(_RectifiedBackprop):
    """Deconvnet: at a ReLU `g ↦ max(g, 0)`, whatever `z`; max-pooling is undone by its switches.

    The same rule is used at ReLU6, LeakyReLU, ELU, GELU, SiLU and other activations that are about
    the identity above zero, because it stands for an inverse with outputs above zero. A sigmoid
    or tanh is far from the identity, and a network with one is refused.
    """

    about: ClassVar[About] = About(
        family="relevance",
        shows="which pattern a deconvolutional network draws for the class",
        caveat="the image enters only through the switches of the poolings; below dense layers "
        "the pattern looks like noise",
        reference="Zeiler, Fergus 2014, section 2.1",
        pixel_power=1,
        needs_range=False,
    )

    def _rectify(self, step: Step, z: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
        if function_name(step.layer) not in _RECTIFIERS:
            step.refuse(
                "DeconvNet",
                "its rule puts the identity in place of an activation, which fits a ReLU or GELU "
                "and no bounded function",
                instead="use 'guided_backprop'",
            )
        return tf.maximum(slope, 0.0)


@register("guided_gradcam")
@dataclass(frozen=True)
class GuidedGradCAM:
    """Guided Grad-CAM: guided backpropagation `⊙` Grad-CAM, upsampled.

    Attributes:
        layer: The layer of Grad-CAM; by default the last one with a spatial output.
    """

    layer: str | None = None

    about: ClassVar[About] = About(
        family="class activation map",
        shows="fine detail of the image inside the region that Grad-CAM finds",
        caveat="the detail comes from guided backpropagation, which redraws the image's edges",
        reference="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017, section 3.2",
        pixel_power=1,
        needs_range=False,
    )

    def passes(self, network: Network) -> float:
        """Return 2: a gradient pass for each factor."""
        return 2

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`."""
        return self.explain_with_logits(network, images, targets, score=score)[0]

    def explain_with_logits(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array], Array]:
        """Return the maps, no absorbed parts, and the logits."""
        guided, _, z = GuidedBackprop().explain_with_logits(network, images, targets, score=score)
        cam, *_ = GradCAM(self.layer).explain_with_logits(network, images, targets, score=score)
        return guided * cam, {}, z


def project_feature_map(
    model: keras.Model | Network,
    images: ArrayLike,
    layer: str,
    channel: int,
    *,
    position: tuple[int, int] | None = None,
) -> Array:
    """Project one activation of a feature map back to pixels, as a deconvnet does.

    `x̂ = W_1ᵀ max(0, unpool(… W_lᵀ max(0, a_l)))`, with all other activations of the layer set to
    zero: layer by layer, each maximum goes back to its own place, each ReLU rectifies, and each
    convolution is transposed.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: `(N, H, W, C)`, as the model takes them.
        layer: Name of a layer with outputs `(N, h, w, K)`.
        channel: The feature map, from 0 to `K - 1`.
        position: Row and column of the activation; by default each image's largest.

    Returns:
        `(N, H, W, C)`, signed: the pattern in each image that the activation responds to.

    Raises:
        ValueError: For a layer without a spatial output, or a channel or position out of range.
        UnsupportedLayerError: For an activation before the layer that is bounded, or unknown.

    Source: Zeiler, Fergus 2014, section 2.1; document 000, section 7.4.
    """
    network = Network.of(model)
    images = network.inputs.check_images(images, needs_range=False)
    network.check_layer(layer)
    network.inputs.fixed_shape()
    shape = network.layer_shapes[layer]
    if len(shape) != 3:
        raise ValueError(f"layer: expected outputs (N, h, w, channels); {layer!r} gives {shape}")
    if not 0 <= channel < shape[2]:
        raise ValueError(f"channel: expected 0 to {shape[2] - 1}; got {channel}")
    if position and not (0 <= position[0] < shape[0] and 0 <= position[1] < shape[1]):
        raise ValueError(f"position: expected within {shape[:2]}; got {position}")
    maps: Array = network.in_chunks(_projection, (layer, channel, position), images)
    return network.pixels.per_value(maps, 1)


def _rectified_gradient(network: Network, method: _RectifiedBackprop, score: Score) -> Pass:
    def backwards(x: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        graph = step_graph(network, x)
        if not any(step.closed or _is_activation(step) for step in graph.steps):
            raise UnsupportedLayerError(
                f"{network.model.name}: has no activation, and without one "
                f"{type(method).__name__} is the plain gradient; use 'gradient'"
            )
        raw = tf.cast(graph.logits, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(raw)
            head = network.runner.head
            z = head.logits(raw)
            s = head.score(z, head.chosen(z, target), score)
        start = (graph.logits, tape.gradient(s, raw))
        return propagate_backwards(graph.steps, start, x, method._rule), z

    return backwards


def _projection(
    network: Network, layer: str, channel: int, position: tuple[int, int] | None
) -> Pass:
    shape = network.layer_shapes[layer]

    def project(x: tf.Tensor) -> tf.Tensor:
        graph = step_graph(network, x)
        a = tf.cast(graph.outputs[layer], tf.float32)
        if position:
            place = tf.fill(tf.shape(x)[:1], position[0] * shape[1] + position[1])
        else:
            place = tf.argmax(tf.reshape(a[..., channel], [-1, shape[0] * shape[1]]), axis=1)
        at_place = tf.reshape(tf.one_hot(place, shape[0] * shape[1]), [-1, *shape[:2], 1])
        start = graph.outputs[layer], a * at_place * tf.one_hot(channel, shape[2])
        return propagate_backwards(graph.steps, start, x, DeconvNet()._rule)

    return project
