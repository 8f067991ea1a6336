"""The slopes that every gradient is checked against."""

import numpy as np


def slopes(function, at, step=1e-5):
    """Central differences of a number-valued function by every entry of its argument."""
    result = np.zeros(np.shape(at))
    for i in np.ndindex(result.shape):
        h = np.zeros(result.shape)
        h[i] = step
        result[i] = (function(at + h) - function(at - h)) / (2 * step)
    return result
