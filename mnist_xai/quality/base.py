"""What a quality metric is: a value with a pure call, that puts maps on batch and scores them."""

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
    """What a metric says of itself, for readers of its scores.

    Attributes:
        higher_is_better: Its direction; None where more is different, but not better.
        needs: What it looks at: the maps alone, the network as well, the method, which it runs
            again, or masks of where the evidence lies.
        range: The least and the greatest possible score.
    """

    family: Family
    higher_is_better: bool | None
    needs: Literal["maps", "network", "method", "masks"]
    range: tuple[float, float] = (-np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class ExplainedBatch:
    """Maps on batch, with the method and the network that made them.

    Attributes:
        network: The network explained.
        images: float32 `(N, H, W, C)` in [0, 1].
        targets: The classes explained, `(N,)`.
        method: What made the maps; run again by metrics that ask what it does elsewhere.
        maps: Its maps, `(N, H, W, C)` or `(N, H, W, 1)`.
        masks: Where the evidence is known to lie, `(N, H, W)`; None where it is not known.
        score: What of the target was explained.
        cache: What batches of the same images have to compute only once, when it is shared.
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
        """Check what is put on batch, and make the maps unless they are given.

        Args:
            network: The network explained.
            images: float `(N, H, W, C)` in [0, 1].
            method: The method on batch.
            targets: Integers `(N,)`; by default the predicted classes.
            maps: Its maps, when they are there already.
            masks: Booleans `(N, H, W)`, true where the evidence lies.
            score: What of the target is explained, `"logit"` or `"probability"`.
            cache: A dictionary that batches of several methods share. They have to be of one
                network, whose weights stay as they are.

        Returns:
            The batch.

        Raises:
            TypeError, ValueError: For arguments out of shape, type or range.
            UnsupportedLayerError: For a network that the method cannot treat.
        """
        check_score(score)
        checked = network.inputs.check_images(images)
        classes = network.inputs.check_targets(
            network.logits(checked).argmax(axis=1) if targets is None else targets, len(checked)
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
    def places(self) -> Values:
        """The maps summed over their channels, `(N, H, W)`: what each place is said to matter."""
        return self.maps.sum(axis=-1, dtype=np.float64)

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self.images.shape[1], self.images.shape[2]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: NDArray[np.integer] | slice) -> "ExplainedBatch":
        """The same batch of some of the images."""
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
        """What the method says of other images, or of another network, for the same targets."""
        network = network or self.network
        return explain_in_chunks(self.method, network, images, self.targets, self.score)

    def once(self, key: Hashable, compute: Callable[[], Values]) -> Values:
        """What does not depend on the maps, computed once for all batches that share a cache.

        Args:
            key: Whatever `compute` depends on beside network, images, targets and score.
            compute: Makes it.
        """
        if self.cache is None:
            return compute()
        whole = key, self.score, digest(self.images, self.targets)
        if whole not in self.cache:
            made = compute()
            made.flags.writeable = False  # Before another thread may find it.
            self.cache[whole] = made
        found: Values = self.cache[whole]
        return found

    def scores(self, images: Array) -> Values:
        """The targets' scores of other images in the place of these, `(N,)`."""
        found = self.network.scores(images, self.targets, score=self.score)
        return found.astype(np.float64)


def digest(*arrays: NDArray[Any]) -> bytes:
    """A name for these numbers: others have another."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.digest()


def explain_in_chunks(
    method: Method,
    network: Network,
    images: Array,
    targets: NDArray[np.int32],
    score: Score = "logit",
) -> Array:
    """The method's maps, a chunk of the network's batch size at a time."""
    parts = [
        method(network, images[rows], targets[rows], score=score)
        for rows in network.chunks(len(images))
    ]
    return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class Scores:
    """What a metric says of every image.

    Attributes:
        values: A score for each image, `(N,)`; NaN where there is none.
        refused: Why an image has no score, by its number.
        curves: What the scores were computed from, `(N, K)`, for metrics that have it.
    """

    values: Values
    refused: Mapping[int, str] = field(default_factory=dict)
    curves: Values | None = None

    @property
    def mean(self) -> float:
        """Mean over the images that have a score; NaN when none has."""
        kept = self._kept
        return float(kept.mean()) if len(kept) else float("nan")

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the mean over the images.

        Args:
            confidence: Share of such intervals that hold the mean, in (0, 1).

        Returns:
            Lower and upper end; NaN for fewer than two scores.
        """
        return bootstrap_interval(self._kept, confidence)

    @property
    def _kept(self) -> Values:
        return self.values[np.isfinite(self.values)]


@runtime_checkable
class Metric(Protocol):
    """Scores every image of a batch; a score depends on no other image and not on the batch.

    A random metric carries its seed, and draws what all images share.
    """

    @property
    def about(self) -> MetricAbout:
        """What the metric promises."""

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""


METRICS: Registry[Metric] = Registry("metric", "mnist_xai.quality", get_args(Family))
"""Ready metrics by name."""

register = METRICS.register
"""Class decorator: `@register("name")` adds a metric with its defaults to `METRICS`."""

Refusals = dict[int, str]


def measured(
    batch: ExplainedBatch,
    measure: Callable[[ExplainedBatch], Values | tuple[Values, Values]],
    refused: Refusals | None = None,
    *,
    undefined: str = "its score is not defined",
) -> Scores:
    """Score the images that are not refused, and leave NaN for those that are.

    Refused are, whatever the metric, maps that are not finite or zero everywhere: the order of
    their pixels means nothing.

    Args:
        batch: The maps on batch.
        measure: Scores of a batch in which every image can be scored, and curves if it has any.
        refused: What the metric refuses besides, and why, by number of the image.
        undefined: Why an image has none after all, where its score comes out as NaN.
    """
    reasons = {**(refused or {}), **_unfit_maps(batch.places)}
    rows = np.setdiff1d(np.arange(len(batch)), list(reasons))
    values = np.full(len(batch), np.nan)
    if not len(rows):
        return Scores(values, reasons)
    found = measure(batch.take(rows))
    scores, curves = found if isinstance(found, tuple) else (found, None)
    values[rows] = scores
    reasons |= {int(row): undefined for row in rows[np.isnan(scores)]}
    if curves is not None:
        spread = np.full((len(batch), curves.shape[1]), np.nan)
        spread[rows] = curves
        curves = spread
    return Scores(values, dict(sorted(reasons.items())), curves)


def paired_difference(metric: Metric, scores: Scores, others: Scores) -> tuple[float, float, float]:
    """By how much one method is better than another on the same images, image by image.

    Args:
        metric: What both were scored by.
        scores: Of the one, `(N,)`.
        others: Of the other, for the same images.

    Returns:
        Mean difference in the metric's better direction, and its 95 % interval. NaN when no
        image has both scores, or the metric has no better direction.
    """
    better = metric.about.higher_is_better
    difference = (scores.values - others.values) * (1 if better else -1)
    kept = difference[np.isfinite(difference)]
    if better is None or not len(kept):
        return float("nan"), float("nan"), float("nan")
    return float(kept.mean()), *bootstrap_interval(kept)


def _unfit_maps(places: Values) -> Refusals:
    reasons = {}
    for row in np.flatnonzero(~places.any(axis=(1, 2))):
        reasons[int(row)] = "its map is zero everywhere"
    for row in np.flatnonzero(~np.isfinite(places).all(axis=(1, 2))):
        reasons[int(row)] = "its map holds NaN or infinite values"
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
