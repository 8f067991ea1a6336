"""A method that explains nothing twice: several metrics ask about the same noisy copies."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.methods.base import About, Method
from mnist_xai.quality.base import digest


@dataclass(frozen=True, eq=False)
class CachedMethod:
    """The method as it is, with its answers about one network kept for as long as this lives.

    Another network, such as one with random weights, is explained anew each time: it may have
    changed.

    Attributes:
        method: The method.
        network: The network whose explanations are kept; its weights must stay as they are.
    """

    method: Method
    network: Network
    _answers: dict[tuple[bytes, Score], Array] = field(default_factory=dict)

    @property
    def about(self) -> About:
        """What the method promises."""
        return self.method.about

    def passes(self, network: Network) -> float:
        """What the method costs."""
        return self.method.passes(network)

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> Array:
        """Explain, or remember."""
        if network is not self.network:
            return self.method(network, images, targets, score=score)
        key = digest(images, targets), score
        if key not in self._answers:
            answer = self.method(network, images, targets, score=score)
            answer.flags.writeable = False
            self._answers[key] = answer
        return self._answers[key]

    def __getattr__(self, name: str) -> Any:
        # `baselines` and `account`: what the method promises beside its maps.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.method, name)
