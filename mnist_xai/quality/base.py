"""Interface of quality metrics: an `ExplainedBatch` goes in, `Scores` come out.

A metric is a frozen dataclass of hyper-parameters with a pure `__call__`.
"""

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.inputs import Array, Score, check_score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.methods.base import Description, Method
from mnist_xai.quality.statistics import Values, bootstrap_interval
from mnist_xai.registry import Registry

Family = Literal[
    "faithfulness", "robustness", "randomisation", "complexity", "localisation", "axiom"
]


@dataclass(frozen=True, kw_only=True)
class MetricAbout(Description):
    """Description of a metric, for readers of its scores.

    Attributes:
        higher_is_better: Whether a higher score is better; None if neither direction is.
        needs: `"maps"`: only the maps; `"network"`: also the network; `"method"`: the method, to
            explain other images or networks; `"masks"`: masks that mark the evidence.
        range: The least and the greatest possible score.
    """

    family: Family
    higher_is_better: bool | None
    needs: Literal["maps", "network", "method", "masks"]
    range: tuple[float, float] = (-np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class ExplainedBatch:
    """Images, targets and maps that a metric scores, with the network and method behind them.

    Attributes:
        network: The network explained.
        images: float32 `(N, H, W, C)` in [0, 1].
        targets: The classes explained, `(N,)`.
        method: The method that made the maps. Some metrics run it again.
        maps: The maps, `(N, H, W, C)` or `(N, H, W, 1)`.
        masks: True where the evidence is known to lie, `(N, H, W)`; None if unknown.
        score: The score of the target that was explained, `"logit"` or `"probability"`.
        cache: Results that do not depend on the maps; batches of several methods may share it.
    """

    network: Network
    images: Array
    targets: NDArray[np.int32]
    method: Method
    maps: Array
    masks: NDArray[np.bool_] | None = None
    score: Score = "logit"
    cache: dict[Hashable, Any] | None = None

    @classmethod
    def of(
        cls,
        network: Network,
        images: ArrayLike,
        method: Method,
        targets: ArrayLike | None = None,
        *,
        maps: ArrayLike | None = None,
        masks: ArrayLike | None = None,
        score: Score = "logit",
        cache: dict[Hashable, Any] | None = None,
    ) -> "ExplainedBatch":
        """Validate the arguments and return the batch; explain the images unless maps are given.

        Args:
            network: The network explained.
            images: `(N, H, W, C)`, as the model takes them.
            method: The method to score.
            targets: Integers `(N,)`; by default the predicted classes.
            maps: Its maps `(N, H, W, C)` or `(N, H, W, 1)`, if they exist already.
            masks: Booleans `(N, H, W)`, true where the evidence lies.
            score: The score of the target that is explained, `"logit"` or `"probability"`.
            cache: A dictionary that batches of several methods share. All batches must have the
                same network, and its weights must not change.

        Returns:
            The batch.

        Raises:
            TypeError, ValueError: For arguments of the wrong shape, type or range.
            UnsupportedLayerError: For a network that the method does not support.
        """
        check_score(score)
        checked = network.inputs.check_images(images)
        classes = network.inputs.check_targets(
            network.logits_at(checked).argmax(axis=1) if targets is None else targets, len(checked)
        )
        made = explain_in_chunks(method, network, checked, classes, score) if maps is None else maps
        return cls(
            network,
            checked,
            classes,
            method,
            _check_maps(made, checked),
            None if masks is None else _check_masks(masks, checked),
            score,
            cache,
        )

    @property
    def relevance(self) -> Values:
        """Relevance of each pixel: the maps summed over their channels, `(N, H, W)`."""
        return self.maps.sum(axis=-1, dtype=np.float64)

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.images.shape[1], self.images.shape[2]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: NDArray[np.integer] | slice) -> "ExplainedBatch":
        """Return the batch of the images in these rows only."""
        return ExplainedBatch(
            self.network,
            self.images[rows],
            self.targets[rows],
            self.method,
            self.maps[rows],
            None if self.masks is None else self.masks[rows],
            self.score,
            self.cache,
        )

    def explain(self, images: Array, network: Network | None = None) -> Array:
        """Return the method's maps of other images, or of another network, for the same targets."""
        network = network or self.network
        return explain_in_chunks(self.method, network, images, self.targets, self.score)

    def cached(self, key: Hashable, compute: Callable[[], Values]) -> Values:
        """Return `compute()`; batches that share a cache compute it once.

        Args:
            key: Everything that `compute` depends on, except network, images, targets and score.
            compute: Returns values that do not depend on the maps.
        """
        if self.cache is None:
            return compute()
        full_key = key, self.score, digest(self.images, self.targets)
        if full_key not in self.cache:
            values = compute()
            values.flags.writeable = False  # Before another thread can read it from the cache.
            self.cache[full_key] = values
        cached: Values = self.cache[full_key]
        return cached

    def scores(self, images: Array) -> Values:
        """Return the targets' scores for `images`, one for each image of the batch, `(N,)`."""
        return self.network.scores_at(images, self.targets, score=self.score).astype(np.float64)


def digest(*arrays: NDArray[Any]) -> bytes:
    """Return a hash of the arrays' types, shapes and values."""
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(f"{array.dtype} {array.shape}".encode())
        sha256.update(np.ascontiguousarray(array).data)
    return sha256.digest()


def explain_in_chunks(
    method: Method,
    network: Network,
    images: Array,
    targets: NDArray[np.int32],
    score: Score = "logit",
) -> Array:
    """Return the method's maps; explain at most `network.batch_size` images at a time."""
    parts = [
        method(network, images[rows], targets[rows], score=score)
        for rows in network.chunks(len(images))
    ]
    return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of all images of a batch by one metric.

    Attributes:
        values: One score for each image, `(N,)`; NaN if the image has none.
        refused: For each image without a score, its index and the reason.
        curves: The curves from which the scores were computed, `(N, K)`; None for metrics
            without curves.
    """

    values: Values
    refused: Mapping[int, str] = field(default_factory=dict)
    curves: Values | None = None

    @property
    def mean(self) -> float:
        """Mean over the images that have a score; NaN if none has."""
        finite = self._finite
        return float(finite.mean()) if len(finite) else float("nan")

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the mean over the images.

        Args:
            confidence: Confidence level, in (0, 1).

        Returns:
            Lower and upper end; NaN for fewer than two scores.
        """
        return bootstrap_interval(self._finite, confidence)

    @property
    def _finite(self) -> Values:
        return self.values[np.isfinite(self.values)]


@runtime_checkable
class Metric(Protocol):
    """Scores every image of a batch, independently of the other images and the batch size.

    A metric that draws random numbers has a seed and uses the same numbers for all images.
    """

    @property
    def about(self) -> MetricAbout:
        """Description of the metric."""

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""


METRICS: Registry[Metric] = Registry("metric", "mnist_xai.quality", get_args(Family))
"""The metrics with their default hyper-parameters, by name."""

register = METRICS.register
"""Class decorator: `@register("name")` adds a metric with its defaults to `METRICS`."""

Refusals = dict[int, str]
"""Why images have no score: the reason by index of the image."""


def score_images(
    batch: ExplainedBatch,
    measure: Callable[[ExplainedBatch], Values | tuple[Values, Values]],
    refused: Refusals | None = None,
    *,
    undefined: str = "its score is not defined",
) -> Scores:
    """Score the images that are not refused; the others get NaN and a reason.

    Maps that are zero everywhere, or contain NaN or infinity, are always refused: they do not
    order the pixels.

    Args:
        batch: The maps to score.
        measure: Returns the scores, and curves if the metric has any, of a batch without refused
            images.
        refused: Images that the metric refuses as well, with the reasons.
        undefined: The reason for images whose score `measure` returns as NaN.
    """
    reasons = {**(refused or {}), **_unusable_maps(batch.relevance)}
    rows = np.setdiff1d(np.arange(len(batch)), list(reasons))
    values = np.full(len(batch), np.nan)
    if not len(rows):
        return Scores(values, reasons)
    result = measure(batch.take(rows))
    scores, curves = result if isinstance(result, tuple) else (result, None)
    values[rows] = scores
    reasons |= {int(row): undefined for row in rows[np.isnan(scores)]}
    if curves is not None:
        all_curves = np.full((len(batch), curves.shape[1]), np.nan)
        all_curves[rows] = curves
        curves = all_curves
    return Scores(values, dict(sorted(reasons.items())), curves)


def paired_difference(metric: Metric, scores: Scores, others: Scores) -> tuple[float, float, float]:
    """Compare two methods by their scores of the same images: `1/N Σ_n ±(a_n - b_n)`.

    The sign is such that a positive difference means that the first method is better.

    Args:
        metric: The metric that gave the scores.
        scores: Scores `a` of the first method, `(N,)`.
        others: Scores `b` of the second method, for the same images.

    Returns:
        The mean difference and the two ends of its 95 % interval. NaN if no image has both
        scores, or if the metric has no better direction.
    """
    better = metric.about.higher_is_better
    difference = (scores.values - others.values) * (1 if better else -1)
    finite = difference[np.isfinite(difference)]
    if better is None or not len(finite):
        return float("nan"), float("nan"), float("nan")
    return float(finite.mean()), *bootstrap_interval(finite)


def _unusable_maps(relevance: Values) -> Refusals:
    reasons = {}
    for row in np.flatnonzero(~relevance.any(axis=(1, 2))):
        reasons[int(row)] = "its map is zero everywhere"
    for row in np.flatnonzero(~np.isfinite(relevance).all(axis=(1, 2))):
        reasons[int(row)] = "its map contains NaN or infinite values"
    return reasons


def _check_maps(maps: ArrayLike, images: Array) -> Array:
    array = np.asarray(maps)
    wanted = (images.shape, (*images.shape[:3], 1))
    if array.dtype.kind != "f" or array.shape not in wanted:
        raise ValueError(
            f"maps: expected floats {' or '.join(map(str, dict.fromkeys(wanted)))}; "
            f"got {array.dtype} {array.shape}"
        )
    return array.astype(np.float32, copy=False)


def _check_masks(masks: ArrayLike, images: Array) -> NDArray[np.bool_]:
    array = np.asarray(masks)
    if array.dtype != np.bool_ or array.shape != images.shape[:3]:
        raise ValueError(
            f"masks: expected booleans {images.shape[:3]}; got {array.dtype} {array.shape}"
        )
    return array
