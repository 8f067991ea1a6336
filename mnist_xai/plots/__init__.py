"""Pictures: arrays in, a matplotlib figure out.

Signed maps are shown on one symmetric scale, blue for minus and red for plus, white at zero,
told apart by every kind of colour blindness; the scale is shared by all maps of a figure, but for
`compared_maps` and `method_rows`, whose maps have different units.
"""

from mnist_xai.plots.maps import (
    attention_maps,
    compared_maps,
    feature_maps,
    image_grid,
    signed_maps,
)
from mnist_xai.plots.model import confusion_matrix, learning_curves, reliability_diagram
from mnist_xai.plots.quality import curve_panels, method_rows

__all__ = [
    "attention_maps",
    "compared_maps",
    "confusion_matrix",
    "curve_panels",
    "feature_maps",
    "image_grid",
    "learning_curves",
    "method_rows",
    "reliability_diagram",
    "signed_maps",
]
