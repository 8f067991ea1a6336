"""Quantus's complexity and localisation metrics for `tests/references`.

    python benchmarks/peers/quantus_localisation.py tests/references

They need no network. Maps and masks are stored with the scores.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
import quantus
from quantus_stubs import score
from scipy import ndimage

PLAIN = {"normalise": False, "return_aggregate": False, "disable_warnings": True}
K, EPSILON = 30, 0.05
LOCALISATION = {
    "pointing_game": (quantus.PointingGame, {}),
    "top_k_intersection": (quantus.TopKIntersection, {"k": K}),
    "relevance_mass": (quantus.RelevanceMassAccuracy, {}),
    "relevance_rank": (quantus.RelevanceRankAccuracy, {}),
    "localisation_auc": (quantus.AUC, {}),
}
COMPLEXITY = {
    "sparseness": (quantus.Sparseness, {}),
    "entropy_complexity": (quantus.Complexity, {}),
    "effective_complexity": (quantus.EffectiveComplexity, {"eps": EPSILON}),
}


def maps_and_masks():
    """Return smooth maps of both signs, and boxes; no two values of a map are equal."""
    rng = np.random.default_rng(7)
    maps = ndimage.gaussian_filter(rng.normal(size=(6, 14, 12)), 1.2, axes=(1, 2))
    masks = np.zeros(maps.shape, bool)
    for mask, (top, left) in zip(masks, rng.integers(1, 6, (6, 2)), strict=True):
        mask[top : top + 5, left : left + 4] = True
    maps[::2] += 0.3 * masks[::2]  # Every other map points to its box.
    return maps.astype(np.float32), masks


def run(metric, maps, masks=None, **given):
    """Return Quantus's scores. It uses only the shape of images; some metrics change the maps."""
    maps = maps[:, np.newaxis].astype(np.float64)
    masks = None if masks is None else masks[:, np.newaxis]
    given = {"x_batch": np.zeros_like(maps), "y_batch": np.zeros(len(maps), int), **given}
    return np.array(score(metric, model=None, a_batch=maps, s_batch=masks, **given), np.float64)


def values(maps, masks):
    yield "maps", maps
    yield "masks", masks
    for key, (metric, given) in LOCALISATION.items():
        for sign, shown in (("", np.maximum(maps, 0) + 1e-3 * np.abs(maps)), ("_signed", maps)):
            yield f"{key}{sign}", run(metric(abs=False, **given, **PLAIN), shown, masks)
    for key, (metric, given) in COMPLEXITY.items():
        for sign in ("", "_signed"):
            yield f"{key}{sign}", run(metric(abs=not sign, **given, **PLAIN), maps)
        yield f"{key}_tiny", run(metric(abs=True, **given, **PLAIN), maps * 1e-7)
    empty = masks.copy()
    empty[0] = False
    yield "pointing_game_empty", run(quantus.PointingGame(abs=False, **PLAIN), maps, empty)
    tied = np.where(masks, 1, np.sign(maps))  # Many maxima, some of them in the mask.
    yield "pointing_game_tied", run(quantus.PointingGame(abs=False, **PLAIN), tied, masks)


def main():
    found = dict(values(*maps_and_masks()))
    versions = {p: importlib.metadata.version(p) for p in ("quantus", "numpy", "scikit-learn")}
    path = Path(sys.argv[1]) / "quantus_localisation.npz"
    np.savez_compressed(path, versions=json.dumps(versions), **found)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")
    for key, value in found.items():
        print(f"  {key} {value.shape}", value if value.size < 20 else "")


if __name__ == "__main__":
    main()
