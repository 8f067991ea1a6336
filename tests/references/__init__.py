"""Reference values that other libraries computed; README.md describes them."""

import json
from functools import cache
from pathlib import Path

import numpy as np


def reference(library: str, network: str, key: str) -> np.ndarray:
    """Return the value of `captum`, `zennit` or `shap` for a network of `networks.CASES`.

    Example: `reference("zennit", "residual", "z_plus")`. The README lists the keys.
    """
    return _file(library)[f"{network}/{key}"]


def roundoff(library: str, network: str, key: str) -> float:
    """Return the library's own largest error in float32, as a share of the largest value.

    The references are computed in float64. Agreement closer than this number is chance.
    """
    return json.loads(str(_file(library)["roundoff"]))[f"{network}/{key}"]


@cache
def _file(library: str) -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / f"{library}.npz") as file:
        return dict(file)
