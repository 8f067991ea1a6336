"""Quantus's faithfulness correlations and infidelity for `tests/references`.

    python benchmarks/peers/quantus_correlation.py inputs.npz tests/references

`inputs.npz` is that of `references.py`. Maps are stored with the scores, so that both libraries
score the same maps.
"""

import importlib.metadata
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import quantus
import torch
from quantus_stubs import Doubled, score, stub_zennit

stub_zennit()

from twins import twin  # noqa: E402

PLAIN = {"abs": False, "normalise": False, "return_aggregate": False, "disable_warnings": True}
SUBSETS, SHARE, SIDE = 100, 0.25, 4


class Case:
    """A network with images, targets and two maps: slopes, and slopes times image."""

    def __init__(self, model, images, targets):
        self.model = Doubled(model)
        self.x = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        self.targets = targets
        x = torch.tensor(self.x, requires_grad=True)
        scores = self.model(x)[torch.arange(len(x)), torch.tensor(targets)]
        self.slopes = torch.autograd.grad(scores.sum(), x)[0].numpy()
        self.shares = self.slopes * self.x

    def score(self, metric, maps, **given):
        given = {"x_batch": self.x.copy(), "y_batch": self.targets, **given}
        return np.array(score(metric, model=self.model, a_batch=maps.copy(), **given))


def linear():
    """Return a network whose logits are sums over pixels: slopes times image are exact shares."""
    rng = np.random.default_rng(5)
    kernel, bias = rng.normal(size=(64, 3)).astype(np.float32), np.float32([0.1, -0.2, 0.3])
    images, targets = rng.random((5, 8, 8, 1), np.float32), np.array([0, 2, 1, 1, 0])
    dense = torch.nn.Linear(64, 3)
    dense.weight.data, dense.bias.data = torch.tensor(kernel.T), torch.tensor(bias)
    model = torch.nn.Sequential(torch.nn.Flatten(), dense)
    case = Case(model, images, targets)
    return case, {"kernel": kernel, "bias": bias, "images": images, "targets": targets}


def subsets(count):
    """Return subsets of pixels, `(SUBSETS, size)`, as `mnist_xai` draws them from seed 0."""
    order = np.argsort(np.random.default_rng(0).random((SUBSETS, count)), axis=1)
    return order[:, : round(SHARE * count)]


def faithfulness_correlation(case):
    """Score with our subsets of whole pixels; Quantus draws one for each run and image."""
    _, channels, height, width = case.x.shape
    pixels = subsets(height * width)
    chosen = np.concatenate([pixels + c * height * width for c in range(channels)], axis=1)
    draws = list(np.repeat(chosen, len(case.x), axis=0))
    metric = quantus.FaithfulnessCorrelation(nr_runs=SUBSETS, subset_size=chosen.shape[1], **PLAIN)
    # Quantus uses one channel of a map for all channels of the image, so channels are summed.
    maps = case.shares.sum(axis=1, keepdims=True)
    with mock.patch("numpy.random.choice", side_effect=draws):
        return case.score(metric, maps)


def of_network(case):
    yield "slopes", case.slopes.transpose(0, 2, 3, 1)
    yield "shares", case.shares.transpose(0, 2, 3, 1)
    yield "faithfulness_correlation", faithfulness_correlation(case)
    if case.x.shape[1] == 1:  # Quantus would remove single channels of a pixel.
        metric = quantus.FaithfulnessEstimate(features_in_step=1, **PLAIN)
        yield "faithfulness_estimate", case.score(metric, case.shares)
    for samples in (1, 3):
        metric = quantus.Infidelity(perturb_patch_sizes=[SIDE], n_perturb_samples=samples, **PLAIN)
        yield f"infidelity_{samples}", case.score(metric, case.slopes)


def mistakes(case):
    """Score a correct map and its opposite."""
    metric = {"features_in_step": 4, **PLAIN}
    for key, maps in (("", case.shares), ("_opposite", -case.shares)):
        yield f"monotonicity{key}", case.score(quantus.Monotonicity(**metric), maps)
    for key, size in (("", 64), ("_batches_of_2", 2)):
        found = case.score(quantus.SensitivityN(**metric), case.shares, batch_size=size)
        yield f"sensitivity_n{key}", found


def main():
    with np.load(sys.argv[1]) as file:
        arrays = dict(file)
    found = {}
    for name in ("cnn", "colour"):
        images, targets = arrays[f"{name}/images"], arrays[f"{name}/targets"]
        case = Case(twin(name, arrays), images, targets)
        found |= {f"{name}/{key}": value for key, value in of_network(case)}
    case, given = linear()
    found |= {f"linear/{key}": value for key, value in [*given.items(), *mistakes(case)]}
    found = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in found.items()}
    versions = {p: importlib.metadata.version(p) for p in ("quantus", "torch", "numpy", "scipy")}
    path = Path(sys.argv[2]) / "quantus_correlation.npz"
    np.savez_compressed(path, versions=json.dumps(versions), **found)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")
    for key, value in found.items():
        print(f"  {key} {value.shape}", value if value.size < 20 else "")


if __name__ == "__main__":
    main()
