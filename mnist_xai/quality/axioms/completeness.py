"""Axioms: what should hold of every explanation, whatever the network.

An axiom that a method keeps does not make its maps right; one that it breaks is a reason to ask
what else they depend on than the network's function. Here are the axioms
of one network; `invariance.py` has those that compare it with another.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.parameters import check_counts, check_pixels
from mnist_xai.interpret.methods.base import Complete, Conservative
from mnist_xai.interpret.methods.explain import explain
from mnist_xai.interpret.methods.explanation import Explanation
from mnist_xai.interpret.methods.perturbation.features import Features, Labels, Pixels
from mnist_xai.quality.base import ExplainedBatch, MetricAbout, Scores, measured, register
from mnist_xai.quality.faithfulness.correlation import scores_of_kept
from mnist_xai.quality.statistics import Values

_ROUNDING = 1e-5  # Share of a score by which it may differ from batch to batch.


@register("completeness")
@dataclass(frozen=True)
class Completeness:
    """Share of the score's difference that the map misses.

    `|Σ_i R_i + Σ lost - Δ| / |Δ|`, `Δ = S_c(x) - S_c(x')`.

    For a method that states its baseline `x'`, it is that one; for one that accounts for what is
    lost on the way, `Δ = S_c(x)` and `lost` is what it names; any other is held to a baseline of
    one colour, to which it never promised anything. (Quantus asks whether two floats are `==`, of
    maps divided by their largest value.)

    Attributes:
        baseline: The pixels of `x'` for a method that promises nothing.
    """

    baseline: float = 0.0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how much of the score's difference is missing from the sum of the map",
        caveat="the sum is right and the places are wrong; where the difference is small, so "
        "that its share is large",
        reference="Sundararajan, Taly and Yan 2017, section 3, completeness",
        needs="method",
        range=(0, np.inf),
    )

    def __post_init__(self) -> None:
        check_pixels(baseline=self.baseline)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        undefined = "its score is that of the baseline, so that there is nothing to share out"
        return measured(batch, self._measure, undefined=undefined)

    def _measure(self, batch: ExplainedBatch) -> Values:
        promise = self._promise(batch)
        if promise.differences is None or promise.residuals is None:
            return np.full(len(batch), np.nan)
        whole = np.abs(promise.differences).astype(np.float64)
        rounding = 8 * np.finfo(np.float32).eps * np.abs(promise.scores)
        missed = np.abs(promise.residuals).astype(np.float64)
        return np.divide(missed, whole, out=np.full(len(batch), np.nan), where=whole > rounding)

    def _promise(self, batch: ExplainedBatch) -> Explanation:
        """The maps on batch, with what they should sum to."""
        method, images, targets, score = batch.method, batch.images, batch.targets, batch.score
        if isinstance(method, Conservative):
            # Only a run tells what was lost; the maps stay those on batch.
            made = explain(batch.network, images, targets, method=method, score=score)
            return replace(made, maps=batch.maps)
        plain = np.full_like(images, self.baseline)
        start = method.baselines(images) if isinstance(method, Complete) else plain
        scores = batch.network.scores(images, targets, score=score)
        differences = scores - batch.network.scores(start, targets, score=score)
        return Explanation(batch.maps, images, targets, scores, score, method, "", differences)


@register("non_sensitivity")
@dataclass(frozen=True)
class NonSensitivity:
    """Share of the places of which map and network disagree whether they matter: `|A₀ Δ X₀| / n`.

    `A₀` are the places without relevance, `|R_i| ≤ ε max_j |R_j|`, `X₀` those on which the score
    does not depend: whatever of several values is put in the place, `x[i ← v]`,

        max_v |S_c(x) - S_c(x[i ← v])| ≤ ε max_jv |S_c(x) - S_c(x[j ← v])|.

    The paper counts the places, and has the change of the score as an expectation over `v`.
    (Quantus looks at `R_i < ε`, so that what speaks against the class has no relevance unless it is
    made positive, and at one `v`, so that nothing depends on a pixel that is black already.)

    Attributes:
        epsilon: Share `ε` of the largest up to which relevance and change count as none, in [0, 1).
        levels: Number of values `v`, evenly spaced from black to white.
        features: What is changed together; the relevance of a feature is its largest.
    """

    epsilon: float = 1e-4
    levels: int = 2
    features: Features = field(default_factory=Pixels)

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how often the map is wrong on whether a place matters at all",
        caveat="the network is saturated, so that no one place matters and all together do; "
        "or the method's baseline is black, so that it says nothing of black places",
        reference="Nguyen and Martínez 2020, section 3, non-sensitivity",
        needs="network",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon: expected a share in [0, 1); got {self.epsilon}")
        check_counts(2, levels=self.levels)  # Black and white.

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return measured(batch, self._measure, undefined="its score depends on no one place")

    def _measure(self, batch: ExplainedBatch) -> Values:
        labels = self.features.labels(*batch.height_width)
        changes = self._changes(batch, labels)
        places = np.abs(batch.places).reshape(len(batch), -1)
        sizes = np.zeros(changes.shape)
        for size, place in zip(sizes, places, strict=True):
            np.maximum.at(size, labels.ravel(), place)
        differ = self._matters(sizes) != self._matters(changes)
        return np.where(changes.any(axis=1), differ.mean(axis=1), np.nan)

    def _matters(self, sizes: Values) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = sizes > self.epsilon * sizes.max(axis=1, keepdims=True)
        return found

    def _changes(self, batch: ExplainedBatch, labels: Labels) -> Values:
        """The largest change of the score by each feature, rounding taken off, `(N, F)`."""
        count = int(labels.max()) + 1
        masks = np.concatenate([np.ones((1, count), np.bool_), ~np.eye(count, dtype=np.bool_)])
        largest = np.zeros((len(batch), count))
        for level in np.linspace(0, 1, self.levels):
            found = scores_of_kept(batch, masks, labels, float(level))
            changes = np.abs(found[:, 1:] - found[:, :1])
            # Equal scores of two batches differ in their last digits.
            changes[changes <= _ROUNDING * np.abs(found).max(axis=1, keepdims=True)] = 0
            largest = np.maximum(largest, changes)
        return largest
