"""Fixtures for the tests of metrics: a network, and a method that returns given maps."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.methods.base import About
from mnist_xai.quality import ExplainedBatch


@dataclass(frozen=True, eq=False)
class Given:
    """A method that returns given maps, whatever the images."""

    maps: np.ndarray

    about: ClassVar[About] = About("given", "given maps", "always", "none")

    def passes(self, network):
        return 0

    def __call__(self, network, images, targets, *, score="logit"):
        return self.maps[: len(images)]


def batch_of(network, maps, images=None, **given):
    """Return a batch with these maps, of random images by default."""
    if images is None:
        images = np.random.default_rng(1).random(
            (len(maps), *network.inputs.fixed_shape()), np.float32
        )
    return ExplainedBatch.of(network, images, Given(maps), maps=maps, **given)
