"""Small networks whose correct maps are known in closed form.

Each computes a function `f(x₁, x₂)` of two pixels with dense layers and ReLUs. The logits are
`(f, 0)`, and class 0 is explained with a black baseline. The maps follow from the definitions of
the methods; they do not tell which method is better.
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
    """A network, an image and its correct maps by several methods.

    Attributes:
        formula: The function `f` as text.
        model: The network, from images `(N, 1, 2, 1)` to logits `(f, 0)`.
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
# In ReLU networks the epsilon rule is image times gradient, up to epsilon.
EPSILON = LRP()
ABLATION, SHAPLEY = FeatureAblation(Pixels()), ExactShapley(Pixels())


def linear(x1: float = 0.75, x2: float = 0.5) -> ClosedForm:
    """Return `f = 2 x₁ - x₂ + 1/2`: all methods except the gradient give `(2 x₁, -x₂)`."""
    shares = _same_map((2 * x1, -x2), PRODUCT, EPSILON, INTEGRATED, RESCALE, ABLATION, SHAPLEY)
    model = _network([[2], [-1]], [0.5], [1], 0, relu=False)
    return _closed_form("2 x1 - x2 + 1/2", model, (x1, x2), {GRADIENT: (2, -1), **shares})


def maximum(x1: float = 0.75, x2: float = 0.5) -> ClosedForm:
    """Return `f = max(x₁, x₂) = relu(x₁ - x₂) + x₂`, at `x₁ > x₂ > 0`.

    The larger pixel gets all relevance. Only Shapley values differ: the smaller pixel alone would
    give `x₂`, and gets half of it.

    Raises:
        ValueError: Unless `x1 > x2 > 0`.
    """
    if not x1 > x2 > 0:  # At 0 the gradient of the second ReLU is not defined.
        raise ValueError(f"x1, x2: expected x1 > x2 > 0; got {x1} and {x2}")
    # The second unit is `x₂` itself, because it is positive.
    model = _network([[1, 0], [-1, 1]], [0, 0], [1, 1], 0)
    first = _same_map((x1, 0), PRODUCT, EPSILON, INTEGRATED, RESCALE)
    maps = {GRADIENT: (1, 0), **first, ABLATION: (x1 - x2, 0), SHAPLEY: (x1 - x2 / 2, x2 / 2)}
    return _closed_form("max(x1, x2)", model, (x1, x2), maps)


def conjunction() -> ClosedForm:
    """Return `f = relu(x₁ + x₂ - 1)`, the logical AND of two binary pixels, at `(1, 1)`.

    Both pixels are needed. Removing either loses everything, so ablation gives 1 to each. Methods
    that distribute the difference give half to each.
    """
    half = _same_map((0.5, 0.5), INTEGRATED, RESCALE, SHAPLEY)
    whole = _same_map((1, 1), GRADIENT, PRODUCT, EPSILON, ABLATION)
    model = _network([[1], [1]], [-1], [1], 0)
    return _closed_form("relu(x1 + x2 - 1)", model, (1, 1), {**whole, **half})


def saturation() -> ClosedForm:
    """Return `f = 1 - relu(1 - x₁ - x₂)`, the logical OR of two binary pixels, at `(1, 1)`.

    One pixel is enough. The gradient is 0, and removing one pixel loses nothing. Methods that
    distribute the difference give half to each.
    """
    half = _same_map((0.5, 0.5), INTEGRATED, RESCALE, SHAPLEY)
    nothing = _same_map((0, 0), GRADIENT, PRODUCT, EPSILON, ABLATION)
    model = _network([[-1], [-1]], [1], [-1], 1)
    return _closed_form("1 - relu(1 - x1 - x2)", model, (1, 1), {**nothing, **half})


def closed_forms() -> list[ClosedForm]:
    """Return all closed forms, at their default images."""
    return [linear(), maximum(), conjunction(), saturation()]


def _same_map(values: Pair, *methods: Method) -> dict[Method, Pair]:
    return dict.fromkeys(methods, values)


def _network(
    kernel: ArrayLike, bias: ArrayLike, out: ArrayLike, constant: float, *, relu: bool = True
) -> keras.Model:
    """Return a network with the logits `(Σ_k out_k relu((x W + b)_k) + constant, 0)`.

    Without `relu`, the hidden layer is linear.
    """
    weights, ends = np.asarray(kernel, np.float32), np.asarray(out, np.float32)
    hidden = layers.Dense(len(ends), activation="relu" if relu else None, name="hidden")
    logits = layers.Dense(2, name="logits")
    image = keras.Input((1, 2, 1))
    model = keras.Model(image, logits(hidden(layers.Flatten(name="flatten")(image))))
    hidden.set_weights([weights, np.asarray(bias, np.float32)])
    logits.set_weights([np.stack([ends, 0 * ends], axis=1), np.array([constant, 0], np.float32)])
    return model


def _closed_form(
    formula: str,
    model: keras.Model,
    image: Pair,
    maps: Mapping[Method, Pair],
) -> ClosedForm:
    def shaped(values: Pair) -> Array:
        return np.array(values, np.float32).reshape(1, 1, 2, 1)

    found = {method: shaped(values) for method, values in maps.items()}
    return ClosedForm(formula, model, shaped(image), found)
