"""The interface of attribution methods, and the registry of all methods.

A method is a frozen dataclass: its fields are the hyper-parameters, and calling it has no side
effects.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard, runtime_checkable

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.registry import Registry


@dataclass(frozen=True)
class Description:
    """How a method or a metric describes itself.

    Texts print `shows` as "A map shows …." and `caveat` as "Caveat: ….": neither starts with a
    capital or ends with a full stop.

    Attributes:
        family: Family of methods or metrics.
        shows: What a map or a score shows.
        caveat: When this is misleading.
        reference: Paper and section.
    """

    family: str
    shows: str
    caveat: str
    reference: str


@dataclass(frozen=True)
class About(Description):
    """How a method describes itself to users who choose one.

    Attributes:
        signed: Whether a map can have both signs: evidence for the class and against it.
        class_sensitive: Whether the map depends on the class.
        unit: What one pass is: `"forward"` runs the network once, `"gradient"` forward and back.
        pixel_power: Maps are in units of the score per pixel to this power: 0 for contributions
            to the score, 1 for gradients, 2 for their squares.
        needs_range: Whether the method has to know which pixels are black and white.
    """

    signed: bool = True
    class_sensitive: bool = True
    unit: Literal["forward", "gradient"] = "gradient"
    pixel_power: int = 0
    needs_range: bool = True


@runtime_checkable
class Method(Protocol):
    """An attribution method: computes one map for each image.

    A map is float32: `(H, W, C)` with a value for each pixel, or `(H, W, 1)` with a value for each
    place. It depends neither on the batch nor on the other images. A method that draws random
    numbers has a field `seed`.
    """

    @property
    def about(self) -> About:
        """The description of the method."""

    def passes(self, network: Network) -> float:
        """Return the cost: the number of passes per image, in units of `about.unit`."""

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: Targets,
        *,
        score: Score = "logit",
    ) -> Array:
        """Compute the maps.

        Args:
            network: The network to explain.
            images: Unit images, float32 `(N, H, W, C)` in [0, 1].
            targets: The classes `c` to explain, integers `(N,)`.
            score: Whether to explain the class's logit, its probability, or an output.

        Returns:
            float32 `(N, H, W, C)` or `(N, H, W, 1)`, with respect to unit pixels.
        """


def pixel_power(method: Method) -> int:
    """Return `about.pixel_power`, or the method's own if it depends on another method."""
    return int(getattr(method, "pixel_power", method.about.pixel_power))


def needs_range(method: Method) -> bool:
    """Return `about.needs_range`, or the method's own if it depends on its hyper-parameters."""
    return bool(getattr(method, "needs_range", method.about.needs_range))


@runtime_checkable
class Complete(Protocol):
    """A method whose maps sum to `S_c(x) - S_c(x')` for a baseline `x'`."""

    def baselines(self, images: Array) -> Array:
        """Return the baseline `x'` of each image, `(N, H, W, C)`."""


@runtime_checkable
class Conservative(Protocol):
    """A method whose maps sum to `S_c(x)` once the absorbed parts are added."""

    def explain_and_absorb(
        self,
        network: Network,
        images: Array,
        targets: Targets,
        *,
        score: Score = "logit",
    ) -> tuple[Array, dict[str, Array]]:
        """Compute the maps and the parts of each score that reached no pixel.

        Returns:
            The maps, and by name (such as `"biases"`) the absorbed part of each score, `(N,)`.
        """


@runtime_checkable
class OnePass(Protocol):
    """A method whose one run of the network gives the logits as well.

    `explain` then needs no run before it, to know the scores and the predicted classes.
    """

    def explain_with_logits(
        self,
        network: Network,
        images: Array,
        targets: Targets,
        *,
        score: Score = "logit",
    ) -> tuple[Array, dict[str, Array], Array]:
        """Compute the maps in one run; targets may be `PREDICTED`.

        Returns:
            The maps, the absorbed parts of a conservative method, and the logits `(N, classes)`.
        """


def runs_once(method: Method) -> TypeGuard[OnePass]:
    """Return whether `explain_with_logits` makes the maps that calling the method makes.

    A subclass that overrides `__call__` alone inherits an `explain_with_logits` that knows nothing
    of it.
    """
    classes = type(method).__mro__
    names = ("explain_with_logits", "__call__")
    defined = [next((c for c in classes if name in vars(c)), object) for name in names]
    return isinstance(method, OnePass) and issubclass(*defined)


METHODS: Registry[Method] = Registry(
    "method",
    "mnist_xai.interpret.methods",
    ("gradient", "class activation map", "relevance", "perturbation"),
)
"""All registered methods by name, with their default hyper-parameters."""

register = METHODS.register
"""Class decorator: `@register("name")` adds a method with its defaults to `METHODS`."""
