"""What the tests of metrics share: a network, and a method whose maps are given."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.methods.base import About
from mnist_xai.quality import ExplainedBatch


@dataclass(frozen=True, eq=False)
class Given:
    """An explainer that always says the same: perfect, worst, or dead."""

    maps: np.ndarray

    about: ClassVar[About] = About("given", "what it was given", "always", "none")

    def passes(self, network):
        return 0

    def __call__(self, network, images, targets, *, score="logit"):
        return self.maps[: len(images)]


def batch_of(network, maps, images=None, **given):
    """Put maps on batch, for random images unless there are others."""
    if images is None:
        images = np.random.default_rng(1).random(
            (len(maps), *network.inputs.fixed_shape()), np.float32
        )
    return ExplainedBatch.of(network, images, Given(maps), maps=maps, **given)
