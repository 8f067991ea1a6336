"""Superpixels: features that follow the edges of each image."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.core.parameters import Count, Hyperparameters, Positive
from mnist_xai.interpret.methods.perturbation.features import Labels


@dataclass(frozen=True)
class Superpixels(Hyperparameters):
    """Superpixels: connected groups of neighbouring pixels of similar colour, one image at a time.

    k-means clustering in colour and position (SLIC, Achanta et al. 2012, by scikit-image). Colours
    are compared in CIELAB for images of three channels, and channel by channel for others.

    Attributes:
        segments: The most superpixels in an image; there may be fewer.
        compactness: Weight of the position against the colour. Large values give squares.

    Raises:
        ModuleNotFoundError: When scikit-image is not installed.
    """

    segments: Count = 50
    compactness: Positive = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _slic()  # Refuse now rather than in the middle of an explanation.

    def labels(self, height: int, width: int) -> Labels:
        """Raise ValueError: superpixels differ from image to image.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "features: expected some that all images share, such as Grid or Patches; superpixels "
            "differ from image to image"
        )

    def count(self, height: int, width: int) -> int:
        """Return the largest number of superpixels in an image of this size."""
        return min(self.segments, height * width)

    def labels_of(self, image: Array) -> Labels:
        """Return the superpixel of each pixel of one image `(H, W, C)`, `(H, W)`."""
        colour = image.shape[2] == 3
        # SLIC scales an image to [0, 1] and CIELAB's lightness goes to 100, so that the same
        # compactness would mean squares for images of one channel.
        compactness = self.compactness if colour else self.compactness / 100
        wanted = self.segments
        while True:
            labels = _slic()(
                image.astype(np.float64),
                n_segments=wanted,
                compactness=compactness,
                channel_axis=-1,
                convert2lab=colour,
                start_label=0,
            )
            numbers, found = np.unique(labels, return_inverse=True)
            if len(numbers) <= self.segments or wanted == 1:
                return found.reshape(labels.shape).astype(np.int32)
            wanted -= max(1, len(numbers) - self.segments)
            wanted = max(1, wanted)


def _slic() -> Any:
    try:
        from skimage.segmentation import slic
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Superpixels need scikit-image: pip install 'mnist-xai[superpixels]'"
        ) from error
    return slic
