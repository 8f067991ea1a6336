"""How the factors of a product share its relevance.

Uniform: equally, whatever they are (AttnLRP, Achtibat et al. 2024, section 3.3). Signal: all for
the signal and nothing for the gate, which is the factor with bounded values (Arras et al. 2017);
for attention weights that is CP-LRP (Ali et al. 2022). What divides gets nothing in either case.
"""

from collections.abc import Sequence
from typing import Literal

import tensorflow as tf

from mnist_xai.interpret.core.layer_kinds import function_name
from mnist_xai.interpret.core.steps import Step

Products = Literal["uniform", "signal"]


def shares_of_factors(steps: Sequence[Step], products: Products) -> dict[int, tuple[float, ...]]:
    """Return the share of each input of each product and quotient, by the step's id.

    The share of an input that is read twice counts once: its contributions sum to twice the whole.
    """
    makers = {id(step.output): step for step in steps}
    shares = {}
    for step in steps:
        if step.kind == "quotient":
            shares[id(step)] = (1.0, *[0.0] * (len(step.inputs) - 1))
        elif step.kind == "product":
            takes = _takers(step, makers, products)
            count = sum(takes) + step.reads - len(step.inputs)
            shares[id(step)] = tuple(float(take) / count for take in takes)
    return shares


def _takers(step: Step, makers: dict[int, Step], products: Products) -> list[bool]:
    """Return, for each input of a product, whether it takes relevance."""
    ends = [_made_by(tensor, makers) for tensor in step.inputs]
    found = [not _is_divisor(end) for end in ends]
    if products == "signal" and all(found):
        found = [not _is_bounded(end) for end in ends]
        if all(found):  # A factor with fewer numbers, which is repeated, weighs the other one.
            sizes = [_size(tensor) for tensor in step.inputs]
            found = [size == max(sizes) for size in sizes]
    return found if any(found) else [True] * len(found)


def _made_by(tensor: tf.Tensor, makers: dict[int, Step]) -> Step | None:
    """Return the step that computed a tensor, before it was scaled, moved or repeated."""
    step = makers.get(id(tensor))
    while step and step.kind in ("scale", "rearrange") and len(step.inputs) == 1:
        step = makers.get(id(step.inputs[0]))
    return step


_DIVISORS = {"rsqrt", "reciprocal"}
_BOUNDED = {"sigmoid", "hardsigmoid", "sparsesigmoid", "relu6", "softmax"}


def _is_divisor(step: Step | None) -> bool:
    """Return whether a step computes what another factor is divided by."""
    return step is not None and function_name(step.layer) in _DIVISORS


def _is_bounded(step: Step | None) -> bool:
    """Return whether a step computes values of a bounded range that starts at zero."""
    if step is None:
        return False
    limited = getattr(step.layer, "max_value", None) is not None
    return limited or function_name(step.layer) in _BOUNDED


def _size(tensor: tf.Tensor) -> int:
    """Return how many numbers a tensor has for each image."""
    return tf.TensorShape(tensor.shape[1:]).num_elements() or 0
