"""Quantus's metrics that remove pixels, for `tests/references`.

    python benchmarks/peers/quantus_flipping.py inputs.npz tests/references

Quantus's noise is replaced by ours. Everything is in float32, as Quantus runs networks.
"""

import importlib.metadata
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch

np.trapz = np.trapezoid  # Quantus 0.6.0 calls it, but NumPy 2.4 has removed it.

import quantus  # noqa: E402
from quantus.functions import perturb_func as perturb  # noqa: E402
from quantus_stubs import stub_zennit  # noqa: E402

stub_zennit()

from twins import twin  # noqa: E402

PERCENTAGES = list(range(10, 100, 10))
QUIET = {"normalise": False, "disable_warnings": True}


def digits():
    """Return a zero, a four and a seven of a few strokes on exact black, `(3, 1, 28, 28)`."""
    strokes = (
        [((14 + 8 * np.sin(a), 14 + 6 * np.cos(a)),) * 2 for a in np.linspace(0, 2 * np.pi, 40)],
        [((5, 8), (15, 7)), ((15, 7), (15, 20)), ((5, 18), (23, 17))],
        [((6, 7), (6, 20)), ((6, 20), (23, 12))],
    )
    pixels = np.moveaxis(np.mgrid[:28, :28].astype(np.float64), 0, -1)
    images = []
    for lines in strokes:
        distances = [_distance(pixels, *map(np.array, ends)) for ends in lines]
        images.append(np.clip(2 - np.min(distances, axis=0), 0, 1))
    return np.array(images, np.float32)[:, None]


def _distance(pixels, start, end):
    """Return the distance of every pixel to the line from `start` to `end`."""
    way = end - start
    share = np.clip((pixels - start) @ way / max(way @ way, 1e-9), 0, 1)
    return np.linalg.norm(pixels - start - share[..., None] * way, axis=-1)


class Inputs:
    """The twin of `cnn`, digits with their predicted classes, and noisy maps."""

    def __init__(self, arrays):
        self.model = twin("cnn", arrays, torch.float32)
        self.x = digits()
        with torch.no_grad():  # Predicted classes, because ROAD counts how often they remain.
            self.c = self.model(torch.tensor(self.x)).argmax(dim=1).numpy()
        # Bright pixels tend to come first, so that predictions change.
        noise = np.random.default_rng(7).standard_normal(self.x.shape, np.float32)
        self.maps = noise + self.x

    def score(self, metric, rows=slice(None), *, softmax=False, batch_size=64):
        """Return the scores of some of the images."""
        return metric(
            self.model,
            self.x[rows],
            self.c[rows],
            self.maps[rows],
            softmax=softmax,
            channel_first=True,
            batch_size=batch_size,
        )


def curves(i):
    """Yield scores after each step, of logits and of probabilities, and drops for regions."""
    black = {"perturb_baseline": 0.0, **QUIET}
    flipping = quantus.PixelFlipping(features_in_step=28, **black)
    yield "pixel_flipping", i.score(flipping)
    yield "pixel_flipping_probability", i.score(flipping, softmax=True)
    for order in ("morf", "lerf"):
        regions = quantus.RegionPerturbation(patch_size=4, order=order, **black)
        yield f"region_perturbation_{order}", i.score(regions)
    noise = np.random.default_rng(0).random((28, 28, 1), np.float32).ravel()

    def ours(arr, indices, **_):
        filled = arr.copy()
        np.put_along_axis(filled, indices, noise[indices], axis=1)
        return filled

    regions = quantus.RegionPerturbation(patch_size=4, perturb_func=ours, **QUIET)
    yield "region_perturbation_noise", i.score(regions)
    for side in (4, 7):
        yield f"selectivity_{side}", i.score(quantus.Selectivity(patch_size=side, **black))


def uniform(i):
    """Yield one patch of each image, filled with Quantus's own uniform noise."""
    np.random.seed(0)  # It draws from the global generator.
    patch = np.arange(16)[None].repeat(3, axis=0)
    filled = perturb.batch_baseline_replacement_by_indices(
        i.x.reshape(3, -1), patch, perturb_baseline="uniform"
    )
    yield "uniform_patch", filled[:, :16]


def road(i):
    """Yield the hits of each image alone, of batches of three and two, and an imputed image."""
    noise = np.random.default_rng(0).standard_normal((28, 28, 1)).ravel()

    def imputed(arr, indices, **_):
        with mock.patch("numpy.random.randn", return_value=noise[indices][None]):
            return perturb.noisy_linear_imputation(arr, indices, noise=0.01)

    def score(rows=slice(None), batch_size=64):
        metric = quantus.ROAD(percentages=PERCENTAGES, perturb_func=imputed, **QUIET)
        return list(i.score(metric, rows, batch_size=batch_size).values())

    yield "road_hits", [score(slice(k, k + 1)) for k in range(3)]
    yield "road", score()
    yield "road_two_at_a_time", score(batch_size=2)
    half = np.argsort(-i.maps[0].ravel())[:392]
    yield "road_imputed", imputed(i.x[0], half)[0]


def irof(i):
    """Yield areas with our segments, alone and with other images, and with nothing removed."""
    grid = np.arange(28) // 4
    grid = grid[:, None] * 7 + grid

    def score(segments, rows=slice(None), **given):
        name = "quantus.helpers.utils.get_superpixel_segments"
        metric = quantus.IROF(
            **{"perturb_baseline": 0.0, "return_aggregate": False, **QUIET, **given}
        )
        with mock.patch(name, side_effect=segments):
            return i.score(metric, rows)

    yield "irof", score([grid] * 3)
    yield "irof_unchanged", score([grid] * 3, perturb_func=perturb.no_perturbation)
    for key, given in (("", {}), ("_of_their_mean", {"perturb_baseline": "mean"})):
        coarse = grid // 14  # 4 segments for the first image.
        yield f"irof_alone{key}", score([coarse], slice(0, 1), **given)
        yield f"irof_with_equals{key}", score([coarse] * 3, **given)[:1]
        yield f"irof_with_finer{key}", score([coarse, grid, grid], **given)[:1]


def main():
    inputs, folder = sys.argv[1], Path(sys.argv[2])
    with np.load(inputs) as file:
        i = Inputs(dict(file))
    found = {k: a.transpose(0, 2, 3, 1) for k, a in (("images", i.x), ("maps", i.maps))}
    found["targets"] = i.c
    for family in (curves, uniform, road, irof):
        found |= {key: np.asarray(value, np.float32) for key, value in family(i)}
    used = ("torch", "numpy", "quantus")
    path = folder / "quantus_flipping.npz"
    np.savez_compressed(
        path,
        versions=json.dumps({p: importlib.metadata.version(p) for p in used}),
        command="python benchmarks/peers/quantus_flipping.py inputs.npz tests/references",
        region_direction=quantus.RegionPerturbation.score_direction.value,
        **found,
    )
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")
    for key, value in found.items():
        print(f"  {key} {value.shape} {value.ravel()[:9].round(4).tolist()}")


if __name__ == "__main__":
    main()
