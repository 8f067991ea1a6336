"""A method that explains no image twice: several metrics use the same noisy copies."""

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
    """A method whose maps for one network are cached.

    Other networks, such as one with random weights, are explained on every call: their weights may
    have changed since the last one.

    Attributes:
        method: The method.
        network: The network whose maps are cached; its weights must not change.
    """

    method: Method
    network: Network
    _maps: dict[tuple[bytes, Score], Array] = field(default_factory=dict)

    @property
    def about(self) -> About:
        """Return the description of the method."""
        return self.method.about

    def passes(self, network: Network) -> float:
        """Return the cost of one image, in passes through the network."""
        return self.method.passes(network)

    def __call__(
        self,
        network: Network,
        images: Array,
        targets: NDArray[np.int32],
        *,
        score: Score = "logit",
    ) -> Array:
        """Return the method's maps, from the cache where they are known."""
        if network is not self.network:
            return self.method(network, images, targets, score=score)
        key = digest(images, targets), score
        if key not in self._maps:
            maps = self.method(network, images, targets, score=score)
            maps.flags.writeable = False
            self._maps[key] = maps
        return self._maps[key]

    def __getattr__(self, name: str) -> Any:
        # For example `baselines` and `explain_and_absorb`, which only some methods have.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.method, name)
