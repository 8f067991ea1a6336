"""Layer-wise relevance propagation: the score, handed down layer by layer to the pixels."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.passes import Pass
from mnist_xai.interpret.core.runner import score_of
from mnist_xai.interpret.core.steps import Step, fold_normalisation, propagate_backwards, record
from mnist_xai.interpret.methods.base import METHODS, About, register
from mnist_xai.interpret.methods.relevance.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
    ZPlus,
    epsilon_unweighted,
    propagate,
    summed,
)

Targets = NDArray[np.int32]

ABSORBERS = ("biases", "stabilisers", "empty shares", "padding")
"""What relevance can be lost to."""


@register("lrp_epsilon")
@dataclass(frozen=True)
class LRP:
    """Layer-wise relevance propagation: `R_i = Σ_j R_ij`, from `R_c = S_c` down to the pixels.

    Each layer with weights has a rule. Pooling by averages and sums of branches share out in
    proportion to their inputs, maximum pooling hands all to the largest, activations pass on.

    Attributes:
        convolution: The rule of convolutions.
        dense: The rule of dense layers.
        first: The rule of the layer that reads the pixels; by default as for the others.
    """

    convolution: Rule = field(default_factory=Epsilon)
    dense: Rule = field(default_factory=Epsilon)
    first: Rule | None = None

    @property
    def about(self) -> About:
        """What the rules promise together."""
        rules = [rule for rule in (self.first, self.convolution, self.dense) if rule]
        return About(
            family="relevance",
            shows="how much of the score came from each pixel, handed down layer by layer",
            caveat="; ".join(dict.fromkeys(rule.caveat for rule in rules)),
            reference="Bach, Binder, Montavon, Klauschen, Müller, Samek 2015, section 4"
            + ("; several rules together: Kohlbrenner et al. 2020" if len(set(rules)) > 1 else ""),
            signed=any(rule.signed for rule in rules),
        )

    def passes(self, network: Network) -> float:
        """Products with the weights for each rule: one forward for `z`, two for each part."""
        parts = sum(len(share.parts) for share in self.convolution.shares)
        return 1 if isinstance(self.convolution, Epsilon) else (1 + 2 * parts) / 2

    def explain_and_absorb(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array]]:
        """The maps `(N, H, W, C)`, and what of each score reached no pixel, `(N,)`.

        Biases and stabilisers keep a part, and so do the zeros that an image was padded with. A
        rule with two shares, one of what raised an output and one of what lowered it, may find
        no input to give one of them to.
        """
        maps, *absorbed = network.in_chunks(_relevance, (self, score), images, targets)
        return maps, dict(zip(ABSORBERS, absorbed, strict=True))

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score.

        Raises:
            UnsupportedLayerError: For a layer that no rule is known for.
        """
        return self.explain_and_absorb(network, images, targets, score=score)[0]

    def _propagate_step(self, step: Step, handed: tf.Tensor, first: list[Step]) -> Any:
        """What the inputs of a step get, and by name what it keeps."""
        if step.kind == "elementwise":
            return (handed,), {}
        if step.kind in ("rearrange", "max"):
            inputs = step.pull_back(handed)
            pads = type(step.layer).__name__.startswith(("ZeroPadding", "Pad"))
            return inputs, {"padding": summed(handed) - summed(inputs[0])} if pads else {}
        if step.kind == "sum":
            return epsilon_unweighted(step, handed)
        if step.affine is None:
            step.refuse("relevance propagation", f"no rule is known for this kind ({step.kind})")
        rule = self.convolution if step.affine.convolution else self.dense
        if self.first and step in first:
            rule = self.first
        elif step.affine.diagonal:
            rule = Epsilon()  # Each output has one input: there is nothing to choose.
        relevance, kept = propagate(rule, step, step.affine, handed)
        return (relevance,), kept

    def _first_steps(self, steps: list[Step], images: tf.Tensor) -> list[Step]:
        """The steps that the rule of the first layer is for; they have weights.

        They read the pixels, which may have been moved, scaled or added up before.
        """
        if self.first is None:
            return []
        pixels, first = {id(images)}, []
        for step in steps:
            if any(id(tensor) not in pixels for tensor in step.inputs):
                continue
            scales = step.kind == "sum" or (step.affine is not None and step.affine.diagonal)
            if scales and isinstance(self.first, ZBox):
                step.refuse("the box rule", "it changes the range of the pixels")
            if scales or step.kind == "rearrange":
                pixels.add(id(step.output))
            elif step.affine:
                first.append(step)
        if not first:
            steps[0].refuse(
                "the rule of the first layer", "no layer with weights reads the pixels behind it"
            )
        return first


def _relevance(network: Network, method: LRP, score: Score) -> Pass:
    def relevance(x: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, ...]:
        run = record(network, x)
        steps = fold_normalisation(run.to_logits)
        first = method._first_steps(steps, x)
        absorbed = dict.fromkeys(ABSORBERS, tf.zeros(tf.shape(x)[:1]))

        def rule(step: Step, handed: tf.Tensor) -> tuple[tf.Tensor, ...]:
            inputs, swallowed = method._propagate_step(step, handed, first)
            for name, share in swallowed.items():
                absorbed[name] += share
            return inputs

        s = score_of(tf.cast(run.logits, tf.float32), target, score)
        start = s[:, tf.newaxis] * tf.one_hot(target, network.classes)
        return propagate_backwards(steps, (run.logits, start), x, rule), *absorbed.values()

    return relevance


for _name, _method in {
    "lrp_gamma": LRP(Gamma(), Gamma()),
    "lrp_z_plus": LRP(ZPlus(), ZPlus()),
    "lrp_alpha_beta": LRP(AlphaBeta(), AlphaBeta()),
    "lrp_flat": LRP(first=Flat()),
    "lrp_w_square": LRP(first=WSquare()),
    "lrp_z_box": LRP(first=ZBox()),
    "epsilon_plus_flat": LRP(ZPlus(), Epsilon(), Flat()),
    "epsilon_gamma_box": LRP(Gamma(), Epsilon(), ZBox()),
    "epsilon_alpha2_beta1": LRP(AlphaBeta(2, 1), Epsilon()),
    "deep_taylor": LRP(ZPlus(), ZPlus(), ZBox()),
}.items():
    METHODS.add(_name, _method)
