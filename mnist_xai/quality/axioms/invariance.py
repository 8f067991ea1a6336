"""Axioms that compare two networks: how a map changes if the network is rewritten.

`rewriting.py` rewrites a network so that its correct map follows from the map of the original. The
score is the distance of the expected and the actual map, both summed over channels:

    d(A, B) = ‖A - B‖ / (‖A‖ + ‖B‖).

It is 0 for equal maps, and 1 for opposite maps or if one of them is zero everywhere. If a network
cannot be rewritten exactly, all images are refused and the reason is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.graph import UnsupportedLayerError
from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Hyperparameters, Seed
from mnist_xai.quality.axioms.rewriting import (
    CannotRewriteError,
    combined,
    encoded,
    mirrored,
    reordered,
)
from mnist_xai.quality.base import (
    ExplainedBatch,
    MetricAbout,
    Scores,
    explain_in_chunks,
    register,
    score_images,
)
from mnist_xai.quality.statistics import Values

_SUNDARARAJAN = "Sundararajan, Taly and Yan 2017"
_CAVEAT = "maps that do not depend on the network also satisfy it"


@register("input_invariance")
@dataclass(frozen=True)
class InputInvariance:
    """Distance of the maps of two encodings of an image: `d(R(f₁, u), R(f₂, u + m))`.

    `f₁(u) = f₂(u + m)` for all `u`, because the biases of the first layer compensate the shift. The
    paper shifts images from [0, 1] to [-1, 0]. Here `u = (1 - m) x`, so that both encodings stay in
    [0, 1], as some methods require: one from 0 to `1 - m`, the other from `m` to 1. The method's
    hyper-parameters do not change. A baseline of 0 is black in the first encoding and darker than
    black in the second; so methods whose baseline does not shift with the images fail, as in the
    paper. (Quantus compares up to 1e-4, whatever the unit of the maps.)

    Attributes:
        shift: The shift `m`, in (0, 1).
    """

    shift: float = 0.5

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how much the map depends on which number encodes black",
        caveat="a baseline may be meant to be a fixed pixel value; maps that depend neither on the "
        "network nor on the image also satisfy it",
        reference="Kindermans et al. 2019, section 2",
        needs="method",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        if not 0 < self.shift < 1:
            raise ValueError(f"shift: expected a change of a pixel in (0, 1); got {self.shift}")

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _score_distances(batch, self._maps)

    def _maps(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        scale = 1 - self.shift
        images = (scale * batch.images).astype(np.float32)
        with encoded(batch.network, scale, 0) as network:
            plain = _relevance(batch, images, network)
        with encoded(batch.network, scale, self.shift) as network:
            shifted = _relevance(batch, images + np.float32(self.shift), network)
        return plain, shifted


@register("implementation_invariance")
@dataclass(frozen=True)
class ImplementationInvariance(Hyperparameters):
    """Distance of the maps of two networks with equal outputs: `d(R(f, x), R(g, x))`.

    `g` is `f` with its hidden units in another order. Each unit is multiplied by some `s`, and the
    next layer divides it by `s` (`rewriting.reordered`).

    Attributes:
        seed: Seed of order and scales.
    """

    seed: Seed = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how much the map depends on how the network computes its outputs",
        caveat="units are only reordered and rescaled: networks with equal outputs that differ in "
        f"other ways may get different maps; {_CAVEAT}",
        reference=f"{_SUNDARARAJAN}, section 2.2, implementation invariance",
        needs="method",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _score_distances(batch, self._maps)

    def _maps(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        with reordered(batch.network, self.seed) as other:
            return batch.relevance, _relevance(batch, batch.images, other)


@register("linearity")
@dataclass(frozen=True)
class Linearity:
    """Distance of a sum's map from the sum of the maps: `d(R(a z_c + b z_d), a R(z_c) + b R(z_d))`.

    `z_c` is the target's logit and `z_d` the logit of the next class, `d = c + 1`. The next class
    of the last one is the first.

    Attributes:
        a: Weight of the target's logit.
        b: Weight of the next class's logit.
    """

    a: float = 1.0
    b: float = -0.5

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how far the maps of two functions are from adding up like the functions",
        caveat="some methods are not meant to be linear, such as those that keep only positive "
        "relevance",
        reference=f"{_SUNDARARAJAN}, section 4, linearity",
        needs="method",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        if not (self.a and self.b and np.isfinite([self.a, self.b]).all()):
            raise ValueError(
                f"a, b: expected finite numbers other than 0, so that two logits are combined; "
                f"got {self.a} and {self.b}"
            )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        if batch.score == "probability":
            return _refused(batch, "it explains a probability, which is not a sum of logits")
        return _score_distances(batch, self._maps)

    def _maps(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        following = (batch.targets + 1) % batch.network.classes
        other = explain_in_chunks(batch.method, batch.network, batch.images, following, batch.score)
        sums = self.a * batch.relevance + self.b * other.sum(axis=-1, dtype=np.float64)
        with combined(batch.network, self.a, self.b) as network:
            return sums, _relevance(batch, batch.images, network)


@register("symmetry")
@dataclass(frozen=True)
class Symmetry:
    """Distance of a map from the mirrored map of the mirrored image: `d(R(g, x), R(g, x̃)~)`.

    `~` mirrors left and right. `g(x) = f((x + x̃) / 2)` cannot tell left from right, so a pixel has
    the same role in `x` as its mirror image has in `x̃`. For a symmetric image, `x = x̃`, this is
    the paper's axiom: pixels with the same role and the same value have the same relevance.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how much the map depends on where a pixel lies, apart from its role",
        caveat="methods that draw random numbers, or whose patches are not symmetric, score badly "
        f"without preferring one side; {_CAVEAT}",
        reference=f"{_SUNDARARAJAN}, section 4, symmetry-preserving",
        needs="method",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _score_distances(batch, self._maps)

    def _maps(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        network = mirrored(batch.network)
        flipped = np.ascontiguousarray(batch.images[:, :, ::-1])
        first, second = (_relevance(batch, images, network) for images in (batch.images, flipped))
        return first, second[:, :, ::-1]


def _score_distances(
    batch: ExplainedBatch, maps: Callable[[ExplainedBatch], tuple[Values, Values]]
) -> Scores:
    """Score the distances of two maps of each image; refuse all images if rewriting fails."""

    def measure(some: ExplainedBatch) -> Values:
        return _distances(*maps(some))

    undefined = "its map of the rewritten network is zero everywhere or not finite"
    try:
        return score_images(batch, measure, undefined=undefined)
    except (CannotRewriteError, UnsupportedLayerError) as error:
        return _refused(batch, str(error))


def _refused(batch: ExplainedBatch, reason: str) -> Scores:
    reasons = dict.fromkeys(range(len(batch)), reason)
    return score_images(batch, lambda some: np.zeros(len(some)), reasons)


def _relevance(batch: ExplainedBatch, images: Array, network: Network) -> Values:
    """Return the method's maps of the images by this network, summed over channels, `(N, H, W)`."""
    return batch.explain(images, network).sum(axis=-1, dtype=np.float64)


def _distances(first: Values, second: Values) -> Values:
    """Return `‖A - B‖ / (‖A‖ + ‖B‖)` of each pair of maps, `(N,)`; NaN if both are zero."""
    a, b = (maps.reshape(len(maps), -1) for maps in (first, second))
    lengths = np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.linalg.norm(a - b, axis=1) / lengths
