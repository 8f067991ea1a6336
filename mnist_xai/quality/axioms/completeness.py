"""Axioms of a single network: properties that every explanation should have.

A method that satisfies an axiom can still be wrong. If it violates one, its maps depend on more
than the network's function. The axioms in `invariance.py` compare two networks.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.parameters import Hyperparameters, Pixel
from mnist_xai.interpret.methods.base import Complete, Conservative
from mnist_xai.interpret.methods.explain import explain
from mnist_xai.interpret.methods.explanation import Explanation
from mnist_xai.interpret.methods.perturbation.features import Features, Labels, Pixels
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, register, score_images
from mnist_xai.quality.faithfulness.correlation import masked_scores
from mnist_xai.quality.parameters import AtLeastTwo, Threshold
from mnist_xai.quality.statistics import Values

_ROUNDING = 1e-5  # Relative difference of equal scores that were computed in different batches.


@register("completeness")
@dataclass(frozen=True)
class Completeness(Hyperparameters):
    """Missing share of the score's difference: `|Σ_i R_i + Σ absorbed - Δ| / |Δ|`.

    `Δ = S_c(x) - S_c(x')`. If the method has a baseline `x'`, that one is used. If the method
    reports the relevance absorbed on the way, such as relevance propagation, `Δ = S_c(x)`. For all
    other methods, which do not promise completeness, `x'` is an image of one colour. (Quantus
    divides the maps by their largest value and compares two floats with `==`.)

    Attributes:
        baseline: Pixel value of `x'` for methods that do not promise completeness.
    """

    baseline: Pixel = 0.0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="what share of the score's difference is missing from the sum of the map",
        caveat="a complete map can have the right sum at the wrong pixels; if the difference is "
        "small, a small error is a large share of it",
        reference="Sundararajan, Taly and Yan 2017, section 3, completeness",
        needs="method",
        range=(0, np.inf),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        undefined = "its score equals that of the baseline, so there is no difference to explain"
        return score_images(batch, self._measure, undefined=undefined)

    def _measure(self, batch: ExplainedBatch) -> Values:
        promise = self._promise(batch)
        if promise.differences is None or promise.residuals is None:
            return np.full(len(batch), np.nan)
        whole = np.abs(promise.differences).astype(np.float64)
        rounding = 8 * np.finfo(np.float32).eps * np.abs(promise.scores)
        missed = np.abs(promise.residuals).astype(np.float64)
        return np.divide(missed, whole, out=np.full(len(batch), np.nan), where=whole > rounding)

    def _promise(self, batch: ExplainedBatch) -> Explanation:
        """Return the maps of the batch together with what they should sum to."""
        method, images, targets, score = batch.method, batch.images, batch.targets, batch.score
        if isinstance(method, Conservative):
            # Only a new explanation tells what was absorbed; the maps of the batch are kept.
            explanation = explain(batch.network, images, targets, method=method, score=score)
            return replace(explanation, maps=batch.maps)
        constant = np.full_like(images, self.baseline)
        baselines = method.baselines(images) if isinstance(method, Complete) else constant
        scores = batch.network.scores_at(images, targets, score=score)
        differences = scores - batch.network.scores_at(baselines, targets, score=score)
        return Explanation(batch.maps, images, targets, scores, score, method, "", differences)


@register("non_sensitivity")
@dataclass(frozen=True)
class NonSensitivity(Hyperparameters):
    """Share of the pixels on whose importance map and network disagree: `|A₀ Δ X₀| / n`.

    `A₀` are the pixels without relevance, `|R_i| ≤ ε max_j |R_j|`. `X₀` are the pixels that do not
    influence the score, whichever of several values `v` they get, `x[i ← v]`:

        max_v |S_c(x) - S_c(x[i ← v])| ≤ ε max_jv |S_c(x) - S_c(x[j ← v])|.

    The paper counts the pixels, and uses the expected change of the score over `v`. (Quantus tests
    `R_i < ε`, so negative relevance counts as none unless absolute values are used. It tries one
    value `v`, so a pixel that already has this value never matters.)

    Attributes:
        epsilon: Threshold `ε`: relevance or change up to this share of the largest counts as none,
            in [0, 1).
        levels: Number of values `v`, evenly spaced from black to white, at least 2.
        features: How pixels are grouped into features. A feature has the largest magnitude of
            relevance of its pixels.
    """

    epsilon: Threshold = 1e-4
    levels: AtLeastTwo = 2
    features: Features = field(default_factory=Pixels)

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="for what share of the pixels the map is wrong about whether they matter at all",
        caveat="in a saturated network no single pixel matters, although all together do; a "
        "method with a black baseline gives black pixels no relevance",
        reference="Nguyen and Martínez 2020, section 3, non-sensitivity",
        needs="network",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return score_images(batch, self._measure, undefined="its score depends on no single pixel")

    def _measure(self, batch: ExplainedBatch) -> Values:
        labels = self.features.labels(*batch.height_width)
        changes = self._changes(batch, labels)
        magnitudes = np.abs(batch.relevance).reshape(len(batch), -1)
        largest = np.zeros(changes.shape)
        for of_features, of_pixels in zip(largest, magnitudes, strict=True):
            np.maximum.at(of_features, labels.ravel(), of_pixels)
        differ = self._matters(largest) != self._matters(changes)
        return np.where(changes.any(axis=1), differ.mean(axis=1), np.nan)

    def _matters(self, sizes: Values) -> NDArray[np.bool_]:
        matters: NDArray[np.bool_] = sizes > self.epsilon * sizes.max(axis=1, keepdims=True)
        return matters

    def _changes(self, batch: ExplainedBatch, labels: Labels) -> Values:
        """Return the largest change of the score by each feature, `(N, F)`; 0 for rounding."""
        count = int(labels.max()) + 1
        masks = np.concatenate([np.ones((1, count), np.bool_), ~np.eye(count, dtype=np.bool_)])
        largest = np.zeros((len(batch), count))
        for level in np.linspace(0, 1, self.levels):
            scores = masked_scores(batch, masks, labels, float(level))
            changes = np.abs(scores[:, 1:] - scores[:, :1])
            # Equal scores computed in different batches differ in their last digits.
            changes[changes <= _ROUNDING * np.abs(scores).max(axis=1, keepdims=True)] = 0
            largest = np.maximum(largest, changes)
        return largest
