"""DeepLIFT: how much each pixel's difference from a baseline adds to the score's difference.

Image `x` and baseline `x'` are run forward, and multipliers are propagated back.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, check_score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import (
    ConstantBaseline,
    Count,
    Hyperparameters,
    Pixel,
    Seed,
)
from mnist_xai.interpret.core.passes import TARGETS, Pass
from mnist_xai.interpret.core.progress import advance
from mnist_xai.interpret.core.steps import StepGraph, propagate_backwards, step_graph
from mnist_xai.interpret.methods.base import METHODS, About, register
from mnist_xai.interpret.methods.gradients.expected import (
    Background,
    check_background,
    mean_score,
    unit_baselines,
)
from mnist_xai.interpret.methods.relevance.deeplift_rules import (
    Rescale,
    RevealCancel,
    Rule,
    mean_vjp,
    pair_steps,
)

Targets = NDArray[np.int32]


def contributions(
    network: Network,
    images: Array,
    baselines: Array,
    targets: Targets,
    score: Score,
    rule: Rule,
) -> Array:
    """Return the mean over baselines of `m ⊙ (x - x')`, `(N, H, W, C)`.

    Args:
        network: The network.
        images: float `(N, H, W, C)`.
        baselines: float `(B, H, W, C)`, the same for all images.
        targets: Integers `(N,)`.
        score: Whether the logit or the probability is explained.
        rule: Propagates the multipliers.
    """
    check_score(score)
    # Without this check a class out of range would get a map of zeros.
    targets = network.inputs.check_targets(targets, len(images), score=score)
    return _contributions_and_logits(network, images, baselines, targets, score, rule)[0]


def _contributions_and_logits(
    network: Network,
    images: Array,
    baselines: Array,
    targets: Targets,
    score: Score,
    rule: Rule,
) -> tuple[Array, Array]:
    one = len(baselines) == 1
    spec = tf.TensorSpec([1 if one else None, *network.image_shape], tf.float32)

    compiled = network.passes.get(
        _multipliers_times_differences,
        *(rule, score, one),
        signature=(network.runner.image_spec, spec, TARGETS),
    )
    size = network.batch_size
    rows = max(1, size // len(baselines))
    maps, logits = [], []
    for i in range(0, len(images), rows):
        x, target = images[i : i + rows], targets[i : i + rows]
        parts = [
            compiled(x, baselines[j : j + size], target) for j in range(0, len(baselines), size)
        ]
        maps.append(np.sum([part for part, _ in parts], axis=0) / np.float32(len(baselines)))
        logits.append(parts[0][1])
        advance(len(x) * len(baselines))
    return np.concatenate(maps), np.concatenate(logits)


def _multipliers_times_differences(network: Network, rule: Rule, score: Score, one: bool) -> Pass:
    head = network.runner.head

    def total(x: tf.Tensor, other: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_images, of_baselines = (
            _prepared(step_graph(network, points), rule) for points in (x, other)
        )
        pairs = pair_steps(of_images, of_baselines)
        count = tf.shape(other)[0]
        logits = head.logits(of_images.logits)
        target = head.chosen(logits, target)
        m = tf.repeat(head.raw_slope(target, score), count, axis=0)
        if squash := head.squash(score):
            z, z_base = (tf.cast(g.logits, tf.float32) for g in (of_images, of_baselines))
            ends = (tf.repeat(z, count, axis=0), tf.tile(z_base, [tf.shape(x)[0], 1]))
            (m,) = mean_vjp(squash, (ends,), m)
        of_pixels = propagate_backwards(
            of_images.steps,
            (of_images.logits, rule.start(m)),
            x,
            lambda step, of_output: rule.propagate(pairs, step, of_output),
        )
        dx = x[:, tf.newaxis] - other[tf.newaxis]
        rows = tf.reshape(dx, tf.concat([[-1], tf.shape(x)[1:]], 0))
        parts = tf.reshape(rows * rule.end(of_pixels, rows), tf.shape(dx))
        return tf.reduce_sum(parts, axis=1), logits

    return total


def _prepared(graph: StepGraph, rule: Rule) -> StepGraph:
    return replace(graph, steps=rule.prepare(graph.to_logits))


_RULES: dict[str, tuple[Rule, str, str]] = {
    "rescale": (
        Rescale(),
        "pixels equal to the baseline get nothing; contributions that cancel inside a unit stay "
        "hidden",
        "3.5.2",
    ),
    "reveal_cancel": (
        RevealCancel(),
        "pixels equal to the baseline get nothing; another baseline gives another map",
        "3.5.3",
    ),
}
"""Rules by name, with their caveat and their section in the paper."""


@register("deeplift_rescale")
@dataclass(frozen=True)
class DeepLIFT(ConstantBaseline, Hyperparameters):
    """DeepLIFT: `m ⊙ (x - x')`, summing to `S_c(x) - S_c(x')`.

    The multipliers `m` are propagated as gradients are, but at an activation `a = f(z)` a ratio of
    differences from the baseline replaces the slope. The rescale rule takes `Δa / Δz`. The
    reveal-cancel rule takes `Δa⁺ / Δz⁺` for contributions that raise `z` and `Δa⁻ / Δz⁻` for those
    that lower it: `Δa⁺ = ½ (f(z' + Δz⁺) - f(z')) + ½ (f(z' + Δz⁻ + Δz⁺) - f(z' + Δz⁻))`, and
    `Δa⁻` likewise.

    Attributes:
        rule: `"rescale"`, with one multiplier for each unit; or `"reveal_cancel"`, with separate
            ones for contributions that raise and that lower it.
        baseline: The value of every pixel of `x'`, in [0, 1].
    """

    rule: Literal["rescale", "reveal_cancel"] = "rescale"
    baseline: Pixel = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule not in _RULES:
            raise ValueError(f"rule: expected one of {', '.join(_RULES)}; got {self.rule!r}")

    @property
    def about(self) -> About:
        """What maps made with this rule show, and when they mislead."""
        caveat, section = _RULES[self.rule][1:]
        return About(
            family="relevance",
            shows="what each pixel's difference from the baseline adds to the score's difference",
            caveat=caveat,
            reference=f"Shrikumar, Greenside, Kundaje 2017, section {section}",
        )

    def passes(self, network: Network) -> float:
        """Return 1: one gradient pass; the baseline is run once for all images."""
        return 1

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score.

        Raises:
            UnsupportedLayerError: For a layer without a rule.
        """
        rule, baselines = _RULES[self.rule][0], self.baselines(images[:1])
        return contributions(network, images, baselines, targets, score, rule)

    def explain_with_logits(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array], Array]:
        """Return the maps, no absorbed parts, and the logits."""
        check_score(score)
        rule, baselines = _RULES[self.rule][0], self.baselines(images[:1])
        maps, z = _contributions_and_logits(network, images, baselines, targets, score, rule)
        return maps, {}, z


@register("deep_shap")
@dataclass(frozen=True)
class DeepSHAP(Hyperparameters):
    """DeepSHAP: DeepLIFT's rescale rule, averaged over baselines: `1/B Σ_b m_b ⊙ (x - x'_b)`.

    Attributes:
        background: The images `x'_b`: by the paper, images like those that the network was
            trained on. Without them the baselines are uniform noise, which needs no data but is
            unlike any training image.
        samples: Number `B` of noise images, without a background.
        seed: Seed of the noise.
    """

    background: Background | None = None
    samples: Count = 20
    seed: Seed = 0

    about: ClassVar[About] = About(
        family="relevance",
        shows="what each pixel adds to the score, compared with typical images",
        caveat="it approximates Shapley values as if the network were linear between the "
        "baseline and the image; and noise as a baseline is unlike any training image",
        reference="Lundberg, Lee 2017, section 4.2",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_background(self.background)

    def passes(self, network: Network) -> float:
        """Return `B`: one gradient pass for each baseline."""
        return len(self.background.images) if self.background else self.samples

    def compared_with(self, shape: tuple[int, ...]) -> Array:
        """Return the baselines `x'_b` for images of a shape `(H, W, C)`: `(B, H, W, C)`."""
        if self.background is None:
            return np.random.default_rng(self.seed).random((self.samples, *shape), np.float32)
        return self.background.of_shape(shape)

    def explain_and_absorb(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array]]:
        """Return the maps, and the mean score of the baselines; together they sum to `S_c(x)`."""
        baselines = self.compared_with(images.shape[1:])
        baselines = unit_baselines(network, self.background, baselines)
        maps = contributions(network, images, baselines, targets, score, Rescale())
        return maps, {"baselines": mean_score(network, baselines, targets, score)}

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score, summing to `S_c(x) - 1/B Σ_b S_c(x'_b)`.

        Raises:
            UnsupportedLayerError: For a layer without a rule.
        """
        baselines = self.compared_with(images.shape[1:])
        baselines = unit_baselines(network, self.background, baselines)
        return contributions(network, images, baselines, targets, score, Rescale())


METHODS.add("deeplift_reveal_cancel", DeepLIFT("reveal_cancel"))
