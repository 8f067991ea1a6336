"""Any hyper-parameter is refused with the argument's name, or the result is finite."""

import dataclasses
import math
import re
import types
import typing
from functools import cache

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import METHODS
from mnist_xai.interpret.methods.base import Method
from mnist_xai.interpret.methods.gradients.expected import Background
from mnist_xai.interpret.methods.gradients.gradient import Gradient, InputXGradient
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Grid,
    Patches,
    Pixels,
    Segmentation,
)
from mnist_xai.interpret.methods.relevance import rules
from mnist_xai.quality import METRICS, ExplainedBatch
from mnist_xai.quality.controls import RandomMap
from mnist_xai.quality.faithfulness import infidelity, removal
from tests.properties.budget import examples

SIDE = 12
IMAGES = np.random.default_rng(0).random((2, SIDE, SIDE, 1), np.float32)
MASKS = np.zeros((2, SIDE, SIDE), np.bool_)
MASKS[:, 2:7, 3:9] = True

METHOD_CLASSES = sorted({type(method) for method in METHODS.values()}, key=lambda c: c.__name__)
METRIC_CLASSES = sorted({type(metric) for metric in METRICS.values()}, key=lambda c: c.__name__)
RULES = (rules.Epsilon, rules.Gamma, rules.ZPlus, rules.AlphaBeta, rules.Flat, rules.WSquare,
         rules.ZBox)  # fmt: skip
REMOVALS = (removal.Baseline, removal.Uniform, removal.Blur)

WILD = {
    int: st.sampled_from(
        [-(2**63), -1, 0, 1, 2, 3, 5, 16, 64, math.nan, math.inf, 2.5, 2.0, True, np.int64(4)]
    ),
    float: st.sampled_from(
        [math.nan, math.inf, -math.inf, -1.0, -0.0, 1e-30, 1e-6, 0.3, 0.5, 1.0, 2.0, 1e30]
    ),
    bool: st.booleans(),
}
TAME = {int: st.sampled_from([2, 4]), float: st.sampled_from([0.2, 0.5]), bool: st.booleans()}


@cache
def network():
    keras.utils.set_random_seed(0)
    return mx.Network(
        keras.Sequential(
            [
                keras.Input((SIDE, SIDE, 1)),
                layers.Conv2D(4, 3, activation="relu", name="conv"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(6, activation="relu"),
                layers.Dense(5, activation="softmax"),
            ]
        )
    )


def values(kind, name, wild):
    """Return values for a field of this type; with `wild`, invalid values too."""
    if kind in WILD:
        return (WILD if wild else TAME)[kind]
    if typing.get_origin(kind) is typing.Literal:
        return st.sampled_from([*typing.get_args(kind), *(["nonsense"] if wild else [])])
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        options = [k for k in typing.get_args(kind) if k is not type(None)]
        return st.none() | values(options[0], name, wild)
    if kind is str:
        return st.sampled_from(["conv", *(["", "nonsense", "dense"] if wild else [])])
    if typing.get_origin(kind) is tuple:
        return st.lists(values(float, name, wild), max_size=3).map(tuple)
    if kind is Background:
        return st.just(Background(IMAGES[:, ::-1]))
    if kind is Method:
        return st.sampled_from([Gradient(), InputXGradient()])
    if kind is Features:
        grids = st.builds(Grid, st.integers(1, 20 if wild else 3))
        others = [
            Pixels(),
            Patches(5),
            Segmentation(np.arange(SIDE * SIDE).reshape(SIDE, SIDE) // 20),
        ]
        return grids | st.sampled_from(others if wild else others[1:])
    inner = {
        rules.Rule: RULES,
        removal.Removal: REMOVALS,
        removal.NoisyImputation: (removal.NoisyImputation,),
        infidelity.Perturbation: (infidelity.RemovedSquares, infidelity.AddedNoise),
    }
    return st.sampled_from(inner[kind]).flatmap(lambda made: arguments(made, wild)).map(_made)


def _made(choice):
    made, given_arguments = choice
    try:
        return made(**given_arguments)
    except ValueError as error:
        if names_an_argument(str(error), made):
            raise
        raise AssertionError(f"{made.__name__}: {error}") from error


@st.composite
def arguments(draw, made, wild=True):
    """Draw a class and its arguments; with `wild`, one of them may be invalid."""
    fields = [field.name for field in dataclasses.fields(made)]
    kinds = typing.get_type_hints(made)
    odd = draw(st.sampled_from(fields)) if fields and wild else None
    return made, {name: draw(values(kinds[name], name, name == odd)) for name in fields}


INNER = (*RULES, *REMOVALS, removal.NoisyImputation, Grid, Patches, infidelity.RemovedSquares,
         infidelity.AddedNoise)  # fmt: skip


def names_an_argument(message, *classes):
    """Return whether an error message begins with an argument of one of these classes."""
    known = {field.name for c in classes for field in dataclasses.fields(c)}
    return re.split(r"[:,]", message)[0] in known


def refused_or(data, made, use):
    """Create it with random arguments and use it; an error must name one of the arguments."""
    try:
        use(_made(data.draw(arguments(made))))
    except mx.UnsupportedLayerError:
        return
    except ValueError as error:
        message = str(error)
    else:
        return
    # An argument may be refused because of its own argument, for example a grid for its cells.
    assert names_an_argument(message, made, *INNER), f"{made.__name__}: {message}"


def whole_numbers(made):
    """Return the names of the fields that may hold a whole number."""
    kinds = typing.get_type_hints(made)
    fields = [field.name for field in dataclasses.fields(made)]
    return [name for name in fields if int in (kinds[name], *typing.get_args(kinds[name]))]


WHOLE = [
    pytest.param(made, name, id=f"{made.__name__}.{name}")
    for made in (*METHOD_CLASSES, *METRIC_CLASSES, *INNER, RandomMap)
    for name in whole_numbers(made)
]


@pytest.mark.parametrize(("made", "name"), WHOLE)
@pytest.mark.parametrize("number", [math.nan, math.inf, 2.5, 4.0, True, "4"])
def test_a_value_that_is_not_a_whole_number_is_refused_with_the_arguments_name(made, name, number):
    with pytest.raises(ValueError, match=f"^{name}: expected a whole number; got {number!r}$"):
        made(**{name: number})


@pytest.mark.parametrize(("made", "name"), WHOLE)
def test_a_numpy_integer_is_accepted_like_a_python_integer(made, name):
    number = getattr(made(), name) or 2  # A default that depends on the image is None.
    assert made(**{name: np.int64(number)}) == made(**{name: number})


@pytest.mark.parametrize("made", METHOD_CLASSES, ids=lambda c: c.__name__)
@given(data=st.data())
@examples(4)
def test_a_method_is_refused_with_an_arguments_name_or_its_maps_are_finite(made, data):
    def use(method):
        maps = mx.explain(network(), IMAGES, [0, 1], method=method).maps
        assert maps.shape in (IMAGES.shape, (*IMAGES.shape[:3], 1))
        assert maps.dtype == np.float32
        assert np.isfinite(maps).all(), method

    refused_or(data, made, use)


@pytest.mark.parametrize("made", METRIC_CLASSES, ids=lambda c: c.__name__)
@given(data=st.data())
@examples(4)
def test_a_metric_is_refused_with_an_arguments_name_or_each_image_has_a_score_or_a_reason(
    made, data
):
    def use(metric):
        scores = metric(ExplainedBatch.of(network(), IMAGES, Gradient(), [0, 1], masks=MASKS))
        assert scores.values.shape == (2,)
        for image, value in enumerate(scores.values):
            assert np.isfinite(value) or scores.refused[image], metric

    refused_or(data, made, use)
