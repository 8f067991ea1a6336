"""The articles' mathematics in NumPy: one function per formula, in the articles' symbols.

Read these modules beside `docs/formulas.md`. It lists every formula of the articles with a
verdict, the function that implements it here, and the test of that function. The modules import
neither TensorFlow nor the rest of this package.

Arrays are float64. Examples lie along the first axis, so a layer is `z = x W + b`. The articles
write one example as a column, `z = θ x + b`; `W` is their `θ` transposed.
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
