"""Axioms of two networks: how a map changes when the network is rewritten.

The map of the network that a rewriting makes (`rewriting.py`) follows from that of the network it
was made of. The scores are the distance of the two maps, summed over channels,

    d(A, B) = ‖A - B‖ / (‖A‖ + ‖B‖):

0 where they are equal, 1 where they are opposite or one of them is zero everywhere. A network that
cannot be rewritten exactly is refused, with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.graph import UnsupportedLayerError
from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import check_seed
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
    measured,
    register,
)
from mnist_xai.quality.statistics import Values

_SUNDARARAJAN = "Sundararajan, Taly and Yan 2017"
_BLIND = "a map that does not look at the network keeps it too"


@register("input_invariance")
@dataclass(frozen=True)
class InputInvariance:
    """Distance of the maps of two networks that see the same images in two encodings.

    `d(R(f₁, u), R(f₂, u + m))`, where `f₁(u) = f₂(u + m)` for all `u`: the first layer's biases
    take the shift up. The paper shifts images from [0, 1] to [-1, 0]. Here `u = (1 - m) x`, so that
    both encodings stay in [0, 1], which some methods take for granted: one from 0 to `1 - m`, one
    from `m` to 1. The rest of a method is as it is: a baseline of 0 is black in the first, and
    blacker than black in the second, so that a baseline which does not go with the images fails,
    as it does in the paper. (Quantus compares up to 1e-4, whatever the unit of the maps.)

    Attributes:
        shift: `m`, in (0, 1).
    """

    shift: float = 0.5

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how much the map depends on what number is called black",
        caveat=f"the baseline is meant to be a certain pixel value; {_BLIND}, if not the image",
        reference="Kindermans et al. 2019, section 2",
        needs="method",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        if not 0 < self.shift < 1:
            raise ValueError(f"shift: expected a change of a pixel in (0, 1); got {self.shift}")

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _kept(batch, self._maps)

    def _maps(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        scale = 1 - self.shift
        images = (scale * batch.images).astype(np.float32)
        with encoded(batch.network, scale, 0) as network:
            plain = _places(batch, images, network)
        with encoded(batch.network, scale, self.shift) as network:
            shifted = _places(batch, images + np.float32(self.shift), network)
        return plain, shifted


@register("implementation_invariance")
@dataclass(frozen=True)
class ImplementationInvariance:
    """Distance of the maps of two networks that give equal outputs: `d(R(f, x), R(g, x))`.

    `g` is `f` with hidden units in another order, each `s` times as large and read `1/s` times as
    much by the next layer (`rewriting.reordered`).

    Attributes:
        seed: Seed of order and scales.
    """

    seed: int = 0

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how much the map depends on how the network computes, not only on what",
        caveat="only units are rescaled: networks that differ otherwise, and still give equal "
        f"outputs, may get different maps; {_BLIND}",
        reference=f"{_SUNDARARAJAN}, section 2.2, implementation invariance",
        needs="method",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _kept(batch, self._maps)

    def _maps(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        with reordered(batch.network, self.seed) as other:
            return batch.places, _places(batch, batch.images, other)


@register("linearity")
@dataclass(frozen=True)
class Linearity:
    """Distance of the map of a combination from the combination of the maps.

    `d(R(a z_c + b z_d), a R(z_c) + b R(z_d))` for the target's logit and that of the next class
    `d = c + 1`, the last one's next being the first.

    Attributes:
        a: Weight of the target's logit.
        b: Weight of the next class's.
    """

    a: float = 1.0
    b: float = -0.5

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how far the maps of two functions are from adding up as the functions do",
        caveat="the method is not meant to be linear, as where it keeps what is positive only",
        reference=f"{_SUNDARARAJAN}, section 4, linearity",
        needs="method",
        range=(0, 1),
    )

    def __post_init__(self) -> None:
        if not (self.a and self.b and np.isfinite([self.a, self.b]).all()):
            raise ValueError(
                f"a, b: expected numbers other than 0, or nothing is combined; "
                f"got {self.a} and {self.b}"
            )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        if batch.score == "probability":
            return _refused(batch, "it explains a probability, which no sum of logits is")
        return _kept(batch, self._maps)

    def _maps(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        following = (batch.targets + 1) % batch.network.classes
        other = explain_in_chunks(batch.method, batch.network, batch.images, following, batch.score)
        both = self.a * batch.places + self.b * other.sum(axis=-1, dtype=np.float64)
        with combined(batch.network, self.a, self.b) as whole:
            return both, _places(batch, batch.images, whole)


@register("symmetry")
@dataclass(frozen=True)
class Symmetry:
    """Distance of the map from the mirror image of the mirror image's map.

    `d(R(g, x), R(g, x̃)~)`, `x̃` the mirror image of `x`, and `g(x) = f((x + x̃) / 2)`, which cannot
    tell left from right: a place plays the part in `x` that its mirror image plays in `x̃`. For an
    image that is its own mirror image this is the paper's axiom, equal relevance for places of
    equal part and value.
    """

    about: ClassVar[MetricAbout] = MetricAbout(
        family="axiom",
        higher_is_better=False,
        shows="how much the map depends on where a place lies, beyond what it does",
        caveat="the method draws random numbers, or its own patches do not lie mirror-wise, so "
        f"that it is less unfair than coarse; {_BLIND}",
        reference=f"{_SUNDARARAJAN}, section 4, symmetry-preserving",
        needs="method",
        range=(0, 1),
    )

    def __call__(self, batch: ExplainedBatch) -> Scores:
        """Score every image."""
        return _kept(batch, self._maps)

    def _maps(self, batch: ExplainedBatch) -> tuple[Values, Values]:
        network = mirrored(batch.network)
        turned = np.ascontiguousarray(batch.images[:, :, ::-1])
        here, there = (_places(batch, images, network) for images in (batch.images, turned))
        return here, there[:, :, ::-1]


def _kept(batch: ExplainedBatch, maps: Callable[[ExplainedBatch], tuple[Values, Values]]) -> Scores:
    """Score the distances of two maps of each image; refuse all where they cannot be made."""

    def measure(some: ExplainedBatch) -> Values:
        return _distances(*maps(some))

    undefined = "the method's maps of the rewritten network are not finite, or zero everywhere"
    try:
        return measured(batch, measure, undefined=undefined)
    except (CannotRewriteError, UnsupportedLayerError) as error:
        return _refused(batch, str(error))


def _refused(batch: ExplainedBatch, reason: str) -> Scores:
    nothing = dict.fromkeys(range(len(batch)), reason)
    return measured(batch, lambda some: np.zeros(len(some)), nothing)


def _places(batch: ExplainedBatch, images: Array, network: Network) -> Values:
    """What the method says of the targets there, summed over channels."""
    return batch.explain(images, network).sum(axis=-1, dtype=np.float64)


def _distances(first: Values, second: Values) -> Values:
    """`‖A - B‖ / (‖A‖ + ‖B‖)` of each map and its counterpart; NaN where neither is there."""
    a, b = (maps.reshape(len(maps), -1) for maps in (first, second))
    lengths = np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.linalg.norm(a - b, axis=1) / lengths
