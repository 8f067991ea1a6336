"""Feature ablation: switch off one feature of the image at a time."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Hyperparameters, Pixel
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Grid,
    Labels,
    explain_by_features,
    feature_count,
    spread,
)
from mnist_xai.interpret.methods.perturbation.masking import scores_of_masks


@register("feature_ablation")
@dataclass(frozen=True)
class FeatureAblation(Hyperparameters):
    """Feature ablation: `S_c(x) - S_c(x without the feature)`, for every pixel of the feature.

    Attributes:
        features: The features; one is switched off at a time.
        baseline: The value of the pixels of a feature that is switched off, in [0, 1].
    """

    features: Features = field(default_factory=Grid)
    baseline: Pixel = 0.0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="how much the score falls when this feature alone is switched off",
        caveat="if one feature can replace another, both look unimportant",
        reference="Zeiler, Fergus 2014, section 4.2, with features in place of windows",
        unit="forward",
    )

    def passes(self, network: Network) -> float:
        """Return the forward passes: one for each feature, and one for the image."""
        return feature_count(self.features, network) + 1

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score."""
        return explain_by_features(self._maps, self.features, network, images, targets, score)

    def _maps(
        self, network: Network, images: Array, targets: Targets, labels: Labels, score: Score
    ) -> Array:
        # One more row than features: the last mask keeps all and gives the score of the image.
        masks = ~np.eye(labels.max() + 2, labels.max() + 1, dtype=np.bool_)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        return spread(scores[:, -1:] - scores[:, :-1], labels)
