"""Values that other libraries computed, and where to look them up; see README.md there."""

import json
from functools import cache
from pathlib import Path

import numpy as np


def reference(library: str, network: str, key: str) -> np.ndarray:
    """Look up what `captum`, `zennit` or `shap` gives for a network of `networks.CASES`.

    Example: `reference("zennit", "residual", "z_plus")`. The README lists the keys.
    """
    return _file(library)[f"{network}/{key}"]


def roundoff(library: str, network: str, key: str) -> float:
    """Largest difference that float32 makes to the library itself, over the largest value.

    The references are computed in float64: agreement below this number is chance.
    """
    return json.loads(str(_file(library)["roundoff"]))[f"{network}/{key}"]


@cache
def _file(library: str) -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / f"{library}.npz") as file:
        return dict(file)
