"""Small networks of which the right maps are known by a formula.

Each is a function `f(x₁, x₂)` of two pixels, made of dense layers and ReLUs: the logits are
`(f, 0)`, and class 0 is explained against a black baseline. What the maps are follows from the
definitions; it says nothing of which one is to be preferred.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers
from numpy.typing import ArrayLike

from mnist_xai.interpret.core.inputs import Array
from mnist_xai.interpret.methods.base import Method
from mnist_xai.interpret.methods.gradients.gradient import (
    Gradient,
    InputXGradient,
    IntegratedGradients,
)
from mnist_xai.interpret.methods.perturbation.ablation import FeatureAblation
from mnist_xai.interpret.methods.perturbation.features import Pixels
from mnist_xai.interpret.methods.perturbation.shapley import ExactShapley
from mnist_xai.interpret.methods.relevance.deeplift import DeepLIFT
from mnist_xai.interpret.methods.relevance.lrp import LRP


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """A network and an image with the maps that the definitions give.

    Attributes:
        formula: `f`, in words of mathematics.
        model: The network, images `(N, 1, 2, 1)` to logits `(f, 0)`.
        images: One image, `(1, 1, 2, 1)`.
        maps: The map of class 0 by each method, `(1, 1, 2, 1)`.
    """

    formula: str
    model: keras.Model
    images: Array
    maps: Mapping[Method, Array]


Pair = tuple[float, float]

GRADIENT, PRODUCT, INTEGRATED, RESCALE = (
    Gradient(),
    InputXGradient(),
    IntegratedGradients(),
    DeepLIFT(),
)
# In networks of ReLUs the epsilon rule is the product of image and gradient, but for epsilon.
EPSILON = LRP()
ABLATION, SHAPLEY = FeatureAblation(Pixels()), ExactShapley(Pixels())


def linear(x1: float = 0.75, x2: float = 0.5) -> ClosedForm:
    """`f = 2 x₁ - x₂ + 1/2`: all methods that weigh by the image agree on `(2 x₁, -x₂)`."""
    weighed = _each((2 * x1, -x2), PRODUCT, EPSILON, INTEGRATED, RESCALE, ABLATION, SHAPLEY)
    model = _network([[2], [-1]], [0.5], [1], 0, relu=False)
    return _form("2 x1 - x2 + 1/2", model, (x1, x2), {GRADIENT: (2, -1), **weighed})


def maximum(x1: float = 0.75, x2: float = 0.5) -> ClosedForm:
    """`f = max(x₁, x₂) = relu(x₁ - x₂) + x₂`, at `x₁ > x₂ > 0`.

    The larger pixel has it all, but for Shapley values: the smaller one alone would have made
    `x₂`, and has half of that.
    """
    if not x1 > x2 > 0:  # At 0 the second ReLU has no slope of its own.
        raise ValueError(f"x1, x2: expected x1 > x2 > 0; got {x1} and {x2}")
    # The second unit is `x₂` itself, which a ReLU leaves alone.
    model = _network([[1, 0], [-1, 1]], [0, 0], [1, 1], 0)
    first = _each((x1, 0), PRODUCT, EPSILON, INTEGRATED, RESCALE)
    maps = {GRADIENT: (1, 0), **first, ABLATION: (x1 - x2, 0), SHAPLEY: (x1 - x2 / 2, x2 / 2)}
    return _form("max(x1, x2)", model, (x1, x2), maps)


def conjunction() -> ClosedForm:
    """`f = relu(x₁ + x₂ - 1)`, the product of two pixels that are 0 or 1, at `(1, 1)`.

    Each is needed: switching off either loses all, so that ablation counts 1 twice; methods that
    share out the difference give half to each.
    """
    half = _each((0.5, 0.5), INTEGRATED, RESCALE, SHAPLEY)
    whole = _each((1, 1), GRADIENT, PRODUCT, EPSILON, ABLATION)
    model = _network([[1], [1]], [-1], [1], 0)
    return _form("relu(x1 + x2 - 1)", model, (1, 1), {**whole, **half})


def saturation() -> ClosedForm:
    """`f = 1 - relu(1 - x₁ - x₂)`, either of two pixels, at `(1, 1)`.

    Either is enough: the gradient is 0, and switching off one loses nothing; methods that share
    out the difference give half to each.
    """
    half = _each((0.5, 0.5), INTEGRATED, RESCALE, SHAPLEY)
    nothing = _each((0, 0), GRADIENT, PRODUCT, EPSILON, ABLATION)
    model = _network([[-1], [-1]], [1], [-1], 1)
    return _form("1 - relu(1 - x1 - x2)", model, (1, 1), {**nothing, **half})


def closed_forms() -> list[ClosedForm]:
    """All of them, at their default images."""
    return [linear(), maximum(), conjunction(), saturation()]


def _each(values: Pair, *methods: Method) -> dict[Method, Pair]:
    return dict.fromkeys(methods, values)


def _network(
    kernel: ArrayLike, bias: ArrayLike, out: ArrayLike, constant: float, *, relu: bool = True
) -> keras.Model:
    """`(Σ_k out_k relu((x W + b)_k) + constant, 0)`, or without the ReLU."""
    weights, ends = np.asarray(kernel, np.float32), np.asarray(out, np.float32)
    hidden = layers.Dense(len(ends), activation="relu" if relu else None, name="hidden")
    logits = layers.Dense(2, name="logits")
    image = keras.Input((1, 2, 1))
    model = keras.Model(image, logits(hidden(layers.Flatten(name="flatten")(image))))
    hidden.set_weights([weights, np.asarray(bias, np.float32)])
    logits.set_weights([np.stack([ends, 0 * ends], axis=1), np.array([constant, 0], np.float32)])
    return model


def _form(
    formula: str,
    model: keras.Model,
    image: Pair,
    maps: Mapping[Method, Pair],
) -> ClosedForm:
    def shaped(values: Pair) -> Array:
        return np.array(values, np.float32).reshape(1, 1, 2, 1)

    found = {method: shaped(values) for method, values in maps.items()}
    return ClosedForm(formula, model, shaped(image), found)
