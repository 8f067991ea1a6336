"""Run in a notebook's kernel before its first cell, by `tests/test_notebooks.py`.

Every line of the notebooks runs as it is written; what they repeat many times is done a few times,
and figures have a low resolution. `notebooks/execute.py` runs the notebooks in full.
"""

from dataclasses import replace
from functools import wraps

import mnist_xai as mx
from mnist_xai.foundations import optimisers

_STEPS = 8


def _trained(train):
    @wraps(train)
    def trained(*arguments, recipe, **options):
        whole = mx.RECIPES[recipe] if isinstance(recipe, str) else recipe
        return train(*arguments, recipe=replace(whole, epochs=2, steps_per_epoch=2), **options)

    return trained


def _few_steps(function):
    @wraps(function)
    def found(*arguments, steps=_STEPS, **options):
        return function(*arguments, steps=min(steps, _STEPS), **options)

    return found


def _few_small_batches(mini_batches):
    @wraps(mini_batches)
    def batches(*arguments):
        return [batch[:2] for batch in mini_batches(*arguments)][:20]

    return batches


def shorten():
    """Replace what takes long by the same with fewer steps."""
    mx.train = _trained(mx.train)
    for name in ("activation_maximization", "feature_inversion"):
        setattr(mx.interpret, name, _few_steps(getattr(mx.interpret, name)))
    optimisers.mini_batches = _few_small_batches(optimisers.mini_batches)
