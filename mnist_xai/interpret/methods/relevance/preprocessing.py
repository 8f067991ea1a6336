"""The steps before the first layer with a kernel, which only preprocess the pixels.

Rescaling, Normalization, arithmetic with constants, resizing and padding change the units and the
places of the pixels. Relevance passes through them in shares that do not depend on the pixels'
units, so an explanation does not depend on the preprocessing. The bounds of the pixels travel
through them to the first layer with a kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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

    def bounded(self, box: ZBox, images: tf.Tensor) -> dict[int, Rule]:
        """Return the box rule of each first layer, by the step's id, with its inputs' bounds.

        Raises:
            UnsupportedLayerError: For a preprocessing that adds up pixels.
        """
        like = tf.ones_like(images[:1])
        bounds = {id(images): (box.low * like, box.high * like)}
        for step in self.steps:
            if not step.pixelwise:
                step.refuse("the box rule", "it adds up pixels, so their bounds are not known")
            lows, highs = zip(*(bounds[id(tensor)] for tensor in step.inputs), strict=True)
            ends = [tf.cast(step.function(*ends), tf.float32) for ends in (lows, highs)]
            bounds[id(step.output)] = tf.minimum(*ends), tf.maximum(*ends)
        return {id(step): box.with_bounds(*bounds[id(step.inputs[0])]) for step in self.first}
