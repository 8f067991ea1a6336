"""The steps before the first layer with a kernel, which only preprocess the pixels.

Rescaling, Normalization, arithmetic with constants, resizing and padding change the units and the
places of the pixels. Behind them a pixel `x` in [0, 1] has the value `v = s x + t`, with `t` the
value of black and `s + t` that of white. The first layer `z = W v + b` is explained as the same
function of `x`, `z = (W s) x + (W t + b)`. So an explanation depends on what the network computes
from the picture, and not on the units in which its first layer reads the pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from mnist_xai.interpret.core.steps import Step
from mnist_xai.interpret.methods.relevance.rules import sum_per_image
from mnist_xai.interpret.methods.relevance.unweighted import Relevances, unchanged


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The steps that preprocess the pixels, and those that read the result.

    Attributes:
        steps: Steps that shift, scale, move, resample or add up pixels, and nothing else.
        first: The layers with a kernel that read pixels or preprocessed pixels.
    """

    steps: tuple[Step, ...]
    first: tuple[Step, ...]

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
        return cls(tuple(before), tuple(first))

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

    def in_pixels(self, images: tf.Tensor) -> dict[int, tuple[Step, tf.Tensor, tf.Tensor]]:
        """Return the first layers as functions of the pixels `x`, by the step's id.

        Returns:
            Of each layer a step with the inputs `x`, and what black and white are there, `(1, …)`:
            0 and 1, but 0 in the border of a padding.
        """
        zeros = tf.zeros_like(images[:1])
        black, white = (self._values(images, end) for end in (zeros, zeros + 1))
        found = {}
        for step in self.first:
            ends = black[id(step.inputs[0])], white[id(step.inputs[0])]
            found[id(step)] = _in_pixels(step, *ends) if self._changes_units else (step, *ends)
        return found

    @property
    def _changes_units(self) -> bool:
        return any(step.kind in ("scale", "sum") or step.affine for step in self.steps)

    def _values(self, images: tf.Tensor, image: tf.Tensor) -> dict[int, tf.Tensor]:
        """Return the tensors that the preprocessing makes of one image, by the tensors' ids."""
        values = {id(images): image}
        for step in self.steps:
            inputs = (values[id(tensor)] for tensor in step.inputs)
            values[id(step.output)] = tf.cast(step.function(*inputs), tf.float32)
        return values


def _in_pixels(step: Step, black: tf.Tensor, white: tf.Tensor) -> tuple[Step, tf.Tensor, tf.Tensor]:
    if step.affine is None or step.affine.input_axis is None:
        return step, tf.minimum(black, white), tf.maximum(black, white)
    width = white - black
    # One scale for each channel; the border of a padding, where black is white, has none.
    axes = range(len(width.shape) - 1)
    most, least = tf.reduce_max(width, axes), tf.reduce_min(width, axes)
    scale = tf.where(most > -least, most, least)
    x = tf.math.divide_no_nan(tf.cast(step.inputs[0], tf.float32) - black, scale)
    white = tf.math.divide_no_nan(width, scale)
    affine = step.affine.of_scaled_inputs(scale, black)
    return replace(step, inputs=(x,), affine=affine), tf.zeros_like(white), white
