"""Add a metric: the share of the relevance that lies on ink."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import mnist_xai as mx
from mnist_xai.quality import MetricAbout
from mnist_xai.quality.base import score_images


@mx.quality.register("ink_share")
@dataclass(frozen=True)
class InkShare:
    """Share of the relevance on ink: `Σ_{x_i > t} |R_i| / Σ_i |R_i|`.

    Attributes:
        threshold: The value `t`, in [0, 1]. Brighter pixels are ink.
    """

    threshold: float = 0.5

    about: ClassVar[MetricAbout] = MetricAbout(
        family="localisation",
        higher_is_better=None,
        shows="how much of a map lies on the ink of the image",
        caveat="missing ink can be evidence, too",
        reference="an example of the documentation",
        needs="maps",
        range=(0, 1),
    )

    def __call__(self, batch):
        """Score every image."""
        return score_images(batch, self._measure)

    def _measure(self, batch):
        relevance = abs(batch.relevance)  # (N, H, W): the channels are summed.
        ink = batch.images.max(axis=-1) > self.threshold
        return (relevance * ink).sum(axis=(1, 2)) / relevance.sum(axis=(1, 2))


network = mx.Network(mx.build_model("cnn", seed=0))
images = np.zeros((3, 28, 28, 1), np.float32)
images[:, :, :7] = 1.0  # The left quarter is ink.

maps = np.ones_like(images)  # Image 0: the same relevance everywhere.
maps[1] = images[1]  # Image 1: all relevance on ink.
maps[2] = 0.0  # Image 2: no relevance, so no score.
batch = mx.quality.ExplainedBatch.of(network, images, mx.METHODS["gradient"], maps=maps)

scores = mx.quality.METRICS["ink_share"](batch)
print("values:", scores.values)
print("mean:", scores.mean)
print("refused:", scores.refused)
