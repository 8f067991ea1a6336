"""Layer-wise relevance propagation: the score, propagated layer by layer to the pixels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.affine import Affine
from mnist_xai.interpret.core.graph import UnsupportedLayerError
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
from mnist_xai.interpret.methods.relevance.factors import Products, shares_of_factors
from mnist_xai.interpret.methods.relevance.preprocessing import Preprocessing
from mnist_xai.interpret.methods.relevance.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
    ZPlus,
    propagate,
)
from mnist_xai.interpret.methods.relevance.unweighted import (
    Relevances,
    activation_rule,
    arithmetic_rule,
    epsilon_unweighted,
    normalisation_rule,
    product_rule,
    rearranged,
    softmax_rule,
)

Targets = NDArray[np.int32]

ABSORBERS = ("biases", "stabilisers", "empty shares", "padding")
"""What can absorb relevance on the way to the pixels; beside these, a softmax."""


@register("lrp_epsilon")
@dataclass(frozen=True)
class LRP:
    """Layer-wise relevance propagation: `R_i = Σ_j R_ij`, from `R_c = S_c` down to the pixels.

    A rule splits the relevance of each layer with weights among its inputs. BatchNorm is folded
    into the layer before it. Average pooling and additions split the relevance in
    proportion to their inputs, max-pooling gives all of it to the largest input, and activations
    leave it as it is; where `f(0)` is not zero, as at a sigmoid, it counts as a bias. The first
    layer with a kernel is explained as a function of pixels in [0, 1], whatever scaling,
    arithmetic with constants, padding and resizing come before it: maps do not depend on the units
    in which a network reads its pixels. Black is their origin; while the range of the pixels is not
    known, it is the image of zeros.

    In a product of two branches (a gate, squeeze and excitation, attention weights times values)
    each factor gets half. Layer, group, RMS and unit normalisation divide by a constant, and
    softmax passes on `R_x = x ⊙ (R_s - s Σ R_s)` and absorbs the rest (AttnLRP, Achtibat et al.
    2024). With `products="signal"` the factor with bounded values (a sigmoid's or softmax's
    output) is a constant: all relevance goes through the values of an attention layer and none
    through queries and keys (Ali et al. 2022; for gates Arras et al. 2017).

    Attributes:
        convolution: The rule of convolutions.
        dense: The rule of dense layers.
        first: The rule of the first layer with a kernel; by default the convolution or dense
            rule, as for other layers.
        products: How factors that both depend on the image share relevance: `"uniform"`, equally;
            or `"signal"`, where the signal takes all and the gate nothing.
    """

    convolution: Rule = field(default_factory=Epsilon)
    dense: Rule = field(default_factory=Epsilon)
    first: Rule | None = None
    products: Products = "uniform"

    def __post_init__(self) -> None:
        if self.products not in get_args(Products):
            raise ValueError(f"products: expected uniform or signal; got {self.products!r}")

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

        Biases (and other constants that a network adds), stabilisers, a softmax and the zeros of a
        padding absorb relevance. So does a share to which no input contributes: under alpha-beta,
        an output may have no input that lowers it.
        """
        maps, absorbed, _ = self.explain_with_logits(network, images, targets, score=score)
        return maps, absorbed

    def explain_with_logits(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array], Array]:
        """Return the maps, the absorbed parts, and the logits."""
        maps, absorbed, z = network.in_chunks(_relevance, (self, score), images, targets)
        return maps, absorbed, z

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score.

        Raises:
            UnsupportedLayerError: For a layer without a rule.
        """
        return self.explain_and_absorb(network, images, targets, score=score)[0]

    def _propagate_step(self, step: Step, relevance: tf.Tensor, run: "_Run") -> Relevances:
        """Return the relevance of a step's inputs, and by name what the step absorbs."""
        if step in run.preprocessing.steps:
            found = run.preprocessing.propagate(step, relevance)
            if found:
                return found
        if step.affine:
            return self._propagate_affine(step, step.affine, relevance, run)
        if step.kind in ("product", "quotient"):
            return product_rule(step, relevance, run.factors[id(step)])
        unweighted = _UNWEIGHTED.get(step.kind)
        if unweighted is None:
            step.refuse("relevance propagation", f"no rule is known for this kind ({step.kind})")
        return unweighted(step, relevance)

    def _propagate_affine(
        self, step: Step, affine: Affine, relevance: tf.Tensor, run: "_Run"
    ) -> Relevances:
        rule = self.convolution if affine.convolution else self.dense
        if affine.diagonal:
            rule = Epsilon()  # Each output has one input, which gets all relevance by any rule.
        if id(step) in run.first:
            step, black, white = run.first[id(step)]
            affine = step.affine or affine
            rule = self.first or rule
            if isinstance(rule, ZBox):
                rule = rule.between(black, white)
        of_input, absorbed = propagate(rule, step, affine, relevance)
        return (of_input,), absorbed

    def _check_first(self, preprocessing: Preprocessing) -> None:
        """Refuse a network without a layer that the rule `first` applies to."""
        if self.first is None:
            return
        if not preprocessing.first:
            raise UnsupportedLayerError(
                "the rule of the first layer cannot be used: no layer with weights reads the "
                "pixels directly; use a method without such a rule, such as 'lrp_epsilon'"
            )
        for step in preprocessing.steps:
            if isinstance(self.first, ZBox) and not step.pixelwise:
                step.refuse("the box rule", "it adds up pixels, so their bounds are not known")


_UNWEIGHTED: dict[str, Callable[[Step, tf.Tensor], Relevances]] = {
    "elementwise": activation_rule,
    "rearrange": rearranged,
    "max": rearranged,
    "sum": epsilon_unweighted,
    "scale": arithmetic_rule,
    "resample": epsilon_unweighted,
    "normalise": normalisation_rule,
    "softmax": softmax_rule,
}


@dataclass(frozen=True, eq=False)
class _Run:
    """What the rules of one network depend on beside the step.

    Attributes:
        preprocessing: The steps before the first layer with a kernel.
        first: The layers that read the pixels as functions of pixels in [0, 1], and what black
            and white are there, by the step's id.
        factors: The share of each factor of a product, by the step's id.
    """

    preprocessing: Preprocessing
    first: dict[int, tuple[Step, tf.Tensor, tf.Tensor]]
    factors: dict[int, tuple[float, ...]]


def _relevance(network: Network, method: LRP, score: Score) -> Pass:
    def relevance(
        x: tf.Tensor, target: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        graph = step_graph(network, x)
        steps = fold_normalisation(graph.to_logits)
        preprocessing = Preprocessing.of(steps, x)
        factors = shares_of_factors(steps, method.products)
        method._check_first(preprocessing)
        run = _Run(preprocessing, preprocessing.in_pixels(x), factors)
        absorbed = dict.fromkeys(ABSORBERS, tf.zeros(tf.shape(x)[:1]))

        def rule(step: Step, of_output: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            of_inputs, absorbed_here = method._propagate_step(step, of_output, run)
            for name, amount in absorbed_here.items():
                # A step on windows of an image has several rows for each image.
                rows = tf.reshape(amount, [tf.shape(x)[0], -1])
                absorbed[name] = absorbed.get(name, 0.0) + tf.reduce_sum(rows, axis=1)
            return of_inputs

        head = network.runner.head
        z = head.logits(graph.logits)
        target = head.chosen(z, target)
        s = head.score(z, target, score)
        # All of the score belongs to the one number that the target's logit is made of.
        start = s[:, tf.newaxis] * tf.abs(head.raw_slope(target, score))
        return propagate_backwards(steps, (graph.logits, start), x, rule), absorbed, z

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
