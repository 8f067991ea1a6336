"""The articles' mathematics in NumPy: every formula a function, in the articles' symbols.

These modules are for reading, beside `docs/formulas.md`, which says for each formula of the
articles whether it is right, which function it is here, and which test holds it. They import
neither TensorFlow nor the rest of this package.

Arrays are float64. Examples lie along the first axis, so that a layer is `z = x W + b`; the
articles write one example as a column, `z = θ x + b`, and `W` is their `θ` transposed.
"""

from mnist_xai.foundations import (
    activations,
    attention,
    calculus,
    cnn,
    convolution,
    dense,
    dense_network,
    information,
    linear_algebra,
    losses,
    optimisers,
    probability,
    regression,
)

__all__ = [
    "activations",
    "attention",
    "calculus",
    "cnn",
    "convolution",
    "dense",
    "dense_network",
    "information",
    "linear_algebra",
    "losses",
    "optimisers",
    "probability",
    "regression",
]
