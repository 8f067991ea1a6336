"""Layer-wise relevance propagation: the score, propagated layer by layer to the pixels."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.passes import Pass
from mnist_xai.interpret.core.steps import (
    Step,
    fold_normalisation,
    propagate_backwards,
    step_graph,
)
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
    sum_per_image,
)

Targets = NDArray[np.int32]

ABSORBERS = ("biases", "stabilisers", "empty shares", "padding")
"""What can absorb relevance on the way to the pixels."""


@register("lrp_epsilon")
@dataclass(frozen=True)
class LRP:
    """Layer-wise relevance propagation: `R_i = Σ_j R_ij`, from `R_c = S_c` down to the pixels.

    A rule splits the relevance of each layer with weights among its inputs. BatchNorm is folded
    into the layer before it. Average pooling and additions split the relevance in
    proportion to their inputs, max-pooling gives all of it to the largest input, and activations
    leave it as it is.

    Attributes:
        convolution: The rule of convolutions.
        dense: The rule of dense layers.
        first: The rule of the layer that reads the pixels; by default the convolution or dense
            rule, as for other layers.
    """

    convolution: Rule = field(default_factory=Epsilon)
    dense: Rule = field(default_factory=Epsilon)
    first: Rule | None = None

    @property
    def about(self) -> About:
        """What maps made with these rules show, and when they mislead."""
        rules = [rule for rule in (self.first, self.convolution, self.dense) if rule]
        return About(
            family="relevance",
            shows="how much of the score comes from each pixel, propagated layer by layer",
            caveat="; ".join(dict.fromkeys(rule.caveat for rule in rules)),
            reference="Bach, Binder, Montavon, Klauschen, Müller, Samek 2015, section 4"
            + ("; several rules together: Kohlbrenner et al. 2020" if len(set(rules)) > 1 else ""),
            signed=any(rule.signed for rule in rules),
            needs_range=any(isinstance(rule, ZBox) for rule in rules),
        )

    def passes(self, network: Network) -> float:
        """Return the cost of the rule of the convolutions.

        A pass is two products with the weights, forward and back. The epsilon rule needs these
        two; any other rule needs one for `z` and two for each part.
        """
        parts = sum(len(share.parts) for share in self.convolution.shares)
        return 1 if isinstance(self.convolution, Epsilon) else (1 + 2 * parts) / 2

    def explain_and_absorb(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array]]:
        """Return the maps `(N, H, W, C)`, and by name the relevance that no pixel gets, `(N,)`.

        Biases, stabilisers and the zeros of a padding absorb relevance. So does a share to which
        no input contributes: under alpha-beta, an output may have no input that lowers it.
        """
        maps, *absorbed = network.in_chunks(_relevance, (self, score), images, targets)
        return maps, dict(zip(ABSORBERS, absorbed, strict=True))

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score.

        Raises:
            UnsupportedLayerError: For a layer without a rule.
        """
        return self.explain_and_absorb(network, images, targets, score=score)[0]

    def _propagate_step(self, step: Step, relevance: tf.Tensor, first: list[Step]) -> Any:
        """Return the relevance of a step's inputs, and by name what the step absorbs."""
        if step.kind == "elementwise":
            return (relevance,), {}
        if step.kind in ("rearrange", "max"):
            inputs = step.vjp(relevance)
            if not type(step.layer).__name__.startswith(("ZeroPadding", "Pad")):
                return inputs, {}
            return inputs, {"padding": sum_per_image(relevance) - sum_per_image(inputs[0])}
        if step.kind == "sum":
            return epsilon_unweighted(step, relevance)
        if step.affine is None:
            step.refuse("relevance propagation", f"no rule is known for this kind ({step.kind})")
        rule = self.convolution if step.affine.convolution else self.dense
        if self.first and step in first:
            rule = self.first
        elif step.affine.diagonal:
            rule = Epsilon()  # Each output has one input, which gets all relevance by any rule.
        of_input, absorbed = propagate(rule, step, step.affine, relevance)
        return (of_input,), absorbed

    def _first_steps(self, steps: list[Step], images: tf.Tensor) -> list[Step]:
        """Return the steps that the rule `first` applies to.

        They have weights and read the pixels, directly or after steps that only move, scale or
        add them.
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
                "the rule of the first layer", "no layer with weights reads the pixels directly"
            )
        return first


def _relevance(network: Network, method: LRP, score: Score) -> Pass:
    def relevance(x: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, ...]:
        graph = step_graph(network, x)
        steps = fold_normalisation(graph.to_logits)
        first = method._first_steps(steps, x)
        absorbed = dict.fromkeys(ABSORBERS, tf.zeros(tf.shape(x)[:1]))

        def rule(step: Step, of_output: tf.Tensor) -> tuple[tf.Tensor, ...]:
            of_inputs, absorbed_here = method._propagate_step(step, of_output, first)
            for name, amount in absorbed_here.items():
                absorbed[name] += amount
            return of_inputs

        head = network.runner.head
        s = head.score(head.logits(graph.logits), target, score)
        # All of the score belongs to the one number that the target's logit is made of.
        start = s[:, tf.newaxis] * tf.abs(head.raw_slope(target, score))
        return propagate_backwards(steps, (graph.logits, start), x, rule), *absorbed.values()

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
