"""Occlusion: paint over one window of the image at a time."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnist_xai.interpret.core.inputs import Array, Score, Targets
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Pixel
from mnist_xai.interpret.methods.base import About, register
from mnist_xai.interpret.methods.perturbation.features import Pixels, spread
from mnist_xai.interpret.methods.perturbation.masking import scores_of_masks


@register("occlusion")
@dataclass(frozen=True)
class Occlusion(Hyperparameters):
    """Occlusion: the mean of `S_c(x) - S_c(x without a window)` over the windows on a pixel.

    Windows begin at every multiple of the stride, up to the first one that reaches the edge of the
    image, where it is cut off.

    Attributes:
        patch: Side of the square window in pixels.
        stride: Distance between the starts of two windows in pixels, at most `patch`.
        baseline: The value of the pixels in the window, in [0, 1].
    """

    patch: Count = 4
    stride: Count = 2
    baseline: Pixel = 0.0

    about: ClassVar[About] = About(
        family="perturbation",
        shows="how much the score falls when a window on the pixel is painted over",
        caveat="if one part can replace another, both look unimportant; the network may also react "
        "to the window itself",
        reference="Zeiler, Fergus 2014, section 4.2",
        unit="forward",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride > self.patch:
            raise ValueError(
                f"stride: expected at most the patch, {self.patch}, so that no pixel is left out; "
                f"got {self.stride}"
            )

    def passes(self, network: Network) -> float:
        """Return the forward passes: one for each window, and one for the image."""
        height, width = network.inputs.typical_shape[:2]
        return len(self._spans(height)) * len(self._spans(width)) + 1

    def _spans(self, side: int) -> NDArray[np.bool_]:
        """Return which pixels along a side each window covers, `(windows, side)`.

        Raises:
            ValueError: For a window larger than the image.
        """
        if self.patch > side:
            raise ValueError(
                f"patch: expected at most the image's side, {side} pixels; got {self.patch}"
            )
        starts = np.arange(0, side - self.patch + self.stride, self.stride)[:, np.newaxis]
        pixels = np.arange(side)
        return (starts <= pixels) & (pixels < starts + self.patch)

    def __call__(
        self, network: Network, images: Array, targets: Targets, *, score: Score = "logit"
    ) -> Array:
        """Return `(N, H, W, 1)`, in units of the score."""
        height, width = images.shape[1:3]
        rows, columns = self._spans(height), self._spans(width)
        windows = (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, height * width)
        # One more mask, which covers nothing, gives the score of the image.
        masks = ~np.vstack([windows, np.zeros_like(windows[:1])])
        labels = Pixels().labels(height, width)
        scores = scores_of_masks(
            network, images, targets, masks, labels, baseline=self.baseline, score=score
        )
        falls = (scores[:, -1:] - scores[:, :-1]) @ windows.astype(np.float32)
        return spread(falls / windows.sum(axis=0), labels)
