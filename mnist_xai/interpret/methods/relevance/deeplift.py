"""DeepLIFT: what the difference of the scores owes to each difference of the pixels.

Image `x` and baseline `x'` go through the network side by side, and multipliers come back.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, check_score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import check_counts, check_pixels, check_seed
from mnist_xai.interpret.core.passes import TARGETS, Pass
from mnist_xai.interpret.core.steps import Record, propagate_backwards, record
from mnist_xai.interpret.methods.base import METHODS, About, register
from mnist_xai.interpret.methods.gradients.expected import Background, check_background, mean_score
from mnist_xai.interpret.methods.relevance.deeplift_rules import (
    Rescale,
    RevealCancel,
    Rule,
    on_the_line,
    pairs,
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
    """Mean over baselines of `m ⊙ (x - x')`, `(N, H, W, C)`.

    Args:
        network: The network.
        images: float `(N, H, W, C)`.
        baselines: float `(B, H, W, C)`, the same for all images.
        targets: Integers `(N,)`.
        score: Whether the logit or the probability is explained.
        rule: How multipliers come back.
    """
    check_score(score)
    targets = network.inputs.check_targets(
        targets, len(images)
    )  # A class too many would be all zeros.
    one = len(baselines) == 1
    spec = tf.TensorSpec([1 if one else None, *network.image_shape], tf.float32)

    compiled = network.passes.get(
        _multipliers_times_differences,
        *(rule, score, one),
        signature=(network.runner.image_spec, spec, TARGETS),
    )
    size = network.batch_size
    rows = max(1, size // len(baselines))
    maps = []
    for i in range(0, len(images), rows):
        x, target = images[i : i + rows], targets[i : i + rows]
        parts = [
            compiled(x, baselines[j : j + size], target) for j in range(0, len(baselines), size)
        ]
        maps.append(np.sum(parts, axis=0) / np.float32(len(baselines)))
    return np.concatenate(maps)


def _multipliers_times_differences(network: Network, rule: Rule, score: Score, one: bool) -> Pass:
    def total(x: tf.Tensor, other: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        now, base = (_prepared(record(network, points), rule) for points in (x, other))
        known = pairs(now, base)
        count = tf.shape(other)[0]
        wanted = tf.repeat(tf.one_hot(target, network.classes), count, axis=0)
        if score == "probability":
            z = [tf.cast(t, tf.float32) for t in (now.logits, base.logits)]
            ends = (tf.repeat(z[0], count, axis=0), tf.tile(z[1], [tf.shape(x)[0], 1]))
            (wanted,) = on_the_line(tf.nn.softmax, ends, wanted)
        handed = propagate_backwards(
            now.steps,
            (now.logits, rule.start(wanted)),
            x,
            lambda step, m: rule.hand_down(known, step, m),
        )
        dx = x[:, tf.newaxis] - other[tf.newaxis]
        rows = tf.reshape(dx, tf.concat([[-1], tf.shape(x)[1:]], 0))
        return tf.reduce_sum(tf.reshape(rows * rule.end(handed, rows), tf.shape(dx)), axis=1)

    return total


def _prepared(run: Record, rule: Rule) -> Record:
    return replace(run, steps=rule.prepare(run.to_logits))


_RULES: dict[str, tuple[Rule, str, str]] = {
    "rescale": (
        Rescale(),
        "pixels like the baseline get nothing; what cancels inside a unit stays hidden",
        "3.5.2",
    ),
    "reveal_cancel": (
        RevealCancel(),
        "pixels like the baseline get nothing; another baseline, another map",
        "3.5.3",
    ),
}
"""Rules by name, with when they mislead and their section."""


@register("deeplift_rescale")
@dataclass(frozen=True)
class DeepLIFT:
    """DeepLIFT: `m ⊙ (x - x')`, summing to `S_c(x) - S_c(x')`.

    The multipliers `m` are handed down as gradients are, but at an activation `a = f(z)` a ratio
    of differences from the baseline takes the place of the slope: by the rescale rule `Δa / Δz`; by
    the reveal-cancel rule `Δa⁺ / Δz⁺` for what raised `z`, `Δa⁻ / Δz⁻` for what lowered it, with
    `Δa⁺ = ½ (f(z' + Δz⁺) - f(z')) + ½ (f(z' + Δz⁻ + Δz⁺) - f(z' + Δz⁻))` and `Δa⁻` likewise.

    Attributes:
        rule: `"rescale"`, `m Δa / Δz` at an activation; or `"reveal_cancel"`, which treats what
            raised `z` and what lowered it apart.
        baseline: The value of every pixel of `x'`, in [0, 1].
    """

    rule: Literal["rescale", "reveal_cancel"] = "rescale"
    baseline: float = 0.0

    def __post_init__(self) -> None:
        if self.rule not in _RULES:
            raise ValueError(f"rule: expected one of {', '.join(_RULES)}; got {self.rule!r}")
        check_pixels(baseline=self.baseline)

    @property
    def about(self) -> About:
        """What the rule promises."""
        misleads, section = _RULES[self.rule][1:]
        return About(
            family="relevance",
            shows="what each pixel's difference from the baseline adds to the score's difference",
            caveat=misleads,
            reference=f"Shrikumar, Greenside, Kundaje 2017, section {section}",
        )

    def passes(self, network: Network) -> float:
        """One gradient pass; the baseline is run once for all images."""
        return 1

    def baselines(self, images: Array) -> Array:
        """The images `x'`, `(N, H, W, C)`."""
        return np.full_like(images, self.baseline)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score.

        Raises:
            UnsupportedLayerError: For a layer that no rule is known for.
        """
        baseline = np.full_like(images[:1], self.baseline)
        rule = _RULES[self.rule][0]
        return contributions(network, images, baseline, targets, score, rule)


@register("deep_shap")
@dataclass(frozen=True)
class DeepSHAP:
    """DeepSHAP: DeepLIFT's rescale rule, averaged over baselines: `1/B Σ_b m_b ⊙ (x - x'_b)`.

    Attributes:
        background: The images `x'_b`. The method means data of the kind that the network was
            trained on; without a background they are uniform noise, which needs no data but is
            nothing that the network ever saw.
        samples: Number `B` of noise images, where there is no background.
        seed: Their seed.
    """

    background: Background | None = None
    samples: int = 20
    seed: int = 0

    about: ClassVar[About] = About(
        family="relevance",
        shows="what each pixel adds to the score, compared with typical images",
        caveat="it approximates Shapley values as if the network were linear between the "
        "baseline and the image; and noise as a baseline is no image that the network knows",
        reference="Lundberg, Lee 2017, section 4.2",
    )

    def __post_init__(self) -> None:
        check_background(self.background)
        check_counts(samples=self.samples)
        check_seed(self.seed)

    def passes(self, network: Network) -> float:
        """One gradient pass for each baseline."""
        return len(self.background.images) if self.background else self.samples

    def compared_with(self, shape: tuple[int, ...]) -> Array:
        """The images `x'_b` for images `(H, W, C)`, `(B, H, W, C)`."""
        if self.background is None:
            return np.random.default_rng(self.seed).random((self.samples, *shape), np.float32)
        return self.background.of_shape(shape)

    def explain_and_absorb(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> tuple[Array, dict[str, Array]]:
        """The maps, and the baselines' mean score, to which they add up to the image's."""
        baselines = self.compared_with(images.shape[1:])
        maps = contributions(network, images, baselines, targets, score, Rescale())
        return maps, {"baselines": mean_score(network, baselines, targets, score)}

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, C)`, in units of the score, summing to `S_c(x) - 1/B Σ_b S_c(x'_b)`.

        Raises:
            UnsupportedLayerError: For a layer that no rule is known for.
        """
        baselines = self.compared_with(images.shape[1:])
        return contributions(network, images, baselines, targets, score, Rescale())


METHODS.add("deeplift_reveal_cancel", DeepLIFT("reveal_cancel"))
