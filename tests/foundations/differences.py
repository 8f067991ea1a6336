"""Numerical gradients and a distance: the reference for every gradient of the package."""

import numpy as np


def central_differences(function, at, step=1e-5):
    """Return the derivatives of a number-valued function by every entry of its argument."""
    result = np.zeros(np.shape(at))
    for i in np.ndindex(result.shape):
        h = np.zeros(result.shape)
        h[i] = step
        result[i] = (function(at + h) - function(at - h)) / (2 * step)
    return result


def relative_distance(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
