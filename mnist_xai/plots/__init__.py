"""Plots: functions that take arrays and return a matplotlib figure.

Signed maps have one symmetric colour scale: blue for negative, white for zero, red for positive.
People with any kind of colour blindness can tell them apart. All maps of a figure share the scale,
except in `compared_maps` and `method_rows`, whose maps have different units.
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
