"""The steps before the first layer with a kernel, which only preprocess the pixels.

Rescaling, Normalization, arithmetic with constants, resizing and padding take unit pixels `u` to
`t = a u + t_0`, with `t_0` what they make of black. A first layer `z = W t + b` is then treated as
the layer of unit pixels that it is, `z = (W a) u + (W t_0 + b)`, and the steps before it hand its
relevance on. So black gets no relevance, and an explanation depends neither on the units of the
pixels nor on where the network changes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from mnist_xai.interpret.core.steps import Step
from mnist_xai.interpret.methods.relevance.rules import Rule, ZBox, sum_per_image
from mnist_xai.interpret.methods.relevance.unweighted import Relevances, unchanged


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The steps that preprocess the pixels, and those that read the result.

    Attributes:
        steps: Steps that shift, scale, move, resample or add up pixels, and nothing else.
        first: The layers with a kernel that read pixels or preprocessed pixels.
        images: The id of the tensor of the pixels.
    """

    steps: tuple[Step, ...]
    first: tuple[Step, ...]
    images: int

    @classmethod
    def of(cls, steps: Sequence[Step], images: tf.Tensor) -> "Preprocessing":
        """Find the preprocessing among the steps of a network that reads these images."""
        pixels, before, first = {id(images)}, [], []
        for step in steps:
            if any(id(tensor) not in pixels for tensor in step.inputs):
                continue
            if step.pixelwise or step.kind == "sum":
                pixels.add(id(step.output))
                before.append(step)
            elif step.affine:
                first.append(step)
        return cls(tuple(before), tuple(first), id(images))

    def propagate(self, step: Step, relevance: tf.Tensor) -> Relevances | None:
        """Propagate relevance through a step of the preprocessing; None for a sum.

        Arithmetic passes it on unchanged. Resizing splits it by the weights of its means. The
        border of a padding absorbs what it gets.
        """
        if not step.pixelwise:
            return None
        if step.kind == "scale" or step.affine:
            return unchanged(step, relevance)
        inputs = step.vjp(relevance)
        reached = tf.add_n([sum_per_image(r) for r in inputs])
        return inputs, {"padding": sum_per_image(relevance) - reached}

    def unit_layers(self, images: tf.Tensor) -> dict[int, Step]:
        """Return the first layers as layers of unit pixels, by the step's id."""
        if not self.steps:
            return {}
        of_black = self._preprocessed(tf.zeros_like(images[:1]))
        of_white = self._preprocessed(tf.ones_like(images[:1]))
        found = {}
        for step in self.first:
            read = id(step.inputs[0])
            found[id(step)] = _on_unit_pixels(step, of_black[read], of_white[read])
        return found

    def bounded(self, box: ZBox, images: tf.Tensor) -> dict[int, Rule]:
        """Return the box rule of each first layer, by the step's id, with its inputs' bounds.

        Raises:
            UnsupportedLayerError: For a preprocessing that adds up pixels.
        """
        for step in self.steps:
            if not step.pixelwise:
                step.refuse("the box rule", "it adds up pixels, so their bounds are not known")
        like = tf.ones_like(images[:1])
        ends = [self._preprocessed(value * like) for value in (box.low, box.high, 0.0, 1.0)]
        rules: dict[int, Rule] = {}
        for step in self.first:
            low, high, black, white = (end[id(step.inputs[0])] for end in ends)
            # A constant border has no width: its bounds are both 0, as its unit pixels are.
            factor = _factor(black, white)
            low, high = (low - black) / factor, (high - black) / factor
            rules[id(step)] = box.with_bounds(tf.minimum(low, high), tf.maximum(low, high))
        return rules

    def _preprocessed(self, images: tf.Tensor) -> dict[int, tf.Tensor]:
        """Return what the preprocessing makes of other images, by the id of each tensor."""
        found = {self.images: images}
        for step in self.steps:
            made = step.function(*(found[id(tensor)] for tensor in step.inputs))
            found[id(step.output)] = tf.cast(made, tf.float32)
        return found


def _factor(black: tf.Tensor, white: tf.Tensor) -> tf.Tensor:
    """Return `a`, and 1 where the pixels do not matter."""
    return tf.where(white == black, 1.0, white - black)


def _on_unit_pixels(step: Step, black: tf.Tensor, white: tf.Tensor) -> Step:
    """Return a layer `z = W t + b` of preprocessed pixels as `z = (W a) u + (W t_0 + b)`."""
    affine: Any = step.affine  # The first layers are those that have one.
    t = tf.cast(step.inputs[0], tf.float32)
    # `a` may differ along the last axis, that of the channels; elsewhere only a border differs.
    middle = [side // 2 for side in black.shape[1:-1]]
    a = _factor(black, white)[(0, *middle)]
    if affine.kernel.shape[-2] != a.shape[0]:  # Groups of channels share a kernel's rows.
        a = tf.ones_like(a)
    return replace(
        step,
        inputs=((t - black) / a,),
        affine=replace(
            affine,
            kernel=affine.kernel * a[:, tf.newaxis],
            bias=affine.bias + affine.product(black, affine.kernel),
        ),
    )
