"""What every attribution method is: a value of hyper-parameters with a pure call."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.registry import Registry


@dataclass(frozen=True)
class Description:
    """What a method or a metric says of itself.

    Attributes:
        family: The family it belongs to.
        shows: What a map, or a score, says.
        caveat: When it says something else.
        reference: Paper and section.
    """

    family: str
    shows: str
    caveat: str
    reference: str


@dataclass(frozen=True)
class About(Description):
    """What a method says of itself, for users who choose one.

    Attributes:
        signed: Whether one map can hold both signs: evidence for the class, and against it.
        class_sensitive: Whether another class gives another map.
        unit: What a pass is: the network run forward, or forward and back.
    """

    signed: bool = True
    class_sensitive: bool = True
    unit: Literal["forward", "gradient"] = "gradient"


@runtime_checkable
class Method(Protocol):
    """Makes signed float32 maps, `(N, H, W, C)` for pixels or `(N, H, W, 1)` for places.

    A random method carries its seed; no map depends on the batch or on the other images.
    """

    @property
    def about(self) -> About:
        """What the method promises."""

    def passes(self, network: Network) -> float:
        """Runs through the network for each image, of the kind that `about` names: the cost."""

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> Array:
        """Explain the targets' scores."""


@runtime_checkable
class Complete(Protocol):
    """A method whose maps sum to `S_c(x) - S_c(x')`."""

    def baselines(self, images: Array) -> Array:
        """The images `x'` against which these are explained, `(N, H, W, C)`."""


@runtime_checkable
class Conservative(Protocol):
    """A method whose maps sum to `S_c(x)` with what it can name as lost on the way."""

    def explain_and_absorb(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> tuple[Array, dict[str, Array]]:
        """The maps, and by name what of each score reached no pixel, `(N,)`."""


METHODS: Registry[Method] = Registry(
    "method",
    "mnist_xai.interpret.methods",
    ("gradient", "class activation map", "relevance", "perturbation"),
)
"""Ready methods by name."""

register = METHODS.register
"""Class decorator: `@register("name")` adds a method with its defaults to `METHODS`."""
