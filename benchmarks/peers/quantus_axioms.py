"""Quantus's axiomatic metrics for `tests/references`.

    python benchmarks/peers/quantus_axioms.py inputs.npz tests/references

`inputs.npz` is that of `references.py`. Completeness and non-sensitivity use a linear network,
whose correct maps are known. Input invariance uses the network `colour`.
"""

import contextlib
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

PLAIN = {"normalise": False, "disable_warnings": True}
SIDE, CLASSES = 8, 3
SHIFT = 0.5


def linear():
    """Return kernel, bias, images and targets.

    A third of the pixels have no influence. The images are black at one of these pixels only.
    """
    rng = np.random.default_rng(5)
    kernel = rng.normal(size=(SIDE**2, CLASSES))
    idle = rng.choice(SIDE**2, SIDE**2 // 3, replace=False)
    kernel[idle] = 0
    images = rng.uniform(0.2, 0.8, (4, SIDE**2))
    images[:, idle[0]] = 0
    bias = rng.normal(size=CLASSES)
    shown = images.astype(np.float32), np.array([0, 1, 2, 1])
    return kernel.astype(np.float32), bias.astype(np.float32), *shown


def network(kernel, bias):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE**2, CLASSES))
    weights = {"1.weight": torch.tensor(kernel.T), "1.bias": torch.tensor(bias)}
    model.load_state_dict(weights)
    return Doubled(model)


def run(metric, model, images, targets, maps, **given):
    def shaped(a):
        return a.reshape(len(a), 1, SIDE, SIDE).copy()

    found = score(
        metric,
        model=model,
        x_batch=shaped(images),
        y_batch=targets.copy(),
        a_batch=shaped(maps),
        **given,
    )
    return np.asarray(found, np.float64)


def of_linear():
    kernel, bias, images, targets = linear()
    model = network(kernel, bias)
    exact = images * kernel[:, targets].T
    for key, value in (("kernel", kernel), ("bias", bias), ("images", images)):
        yield key, value
    yield "targets", targets

    alone = np.zeros(exact.shape)
    with torch.no_grad():
        z = [model(torch.tensor(x)).numpy() for x in (images, 0 * images)]
    alone[:, 0] = (z[0] - z[1])[np.arange(len(targets)), targets]
    for key, maps in (("", exact), ("_of_one_place", alone)):
        metric = quantus.Completeness(abs=False, **PLAIN)
        yield f"completeness{key}", run(metric, model, images, targets, maps)
    metric = quantus.Completeness(disable_warnings=True)
    yield "completeness_by_default", run(metric, model, images, targets, alone)

    rng = np.random.default_rng(6)
    wrong = np.where(rng.random(exact.shape) < 0.5, 0, rng.uniform(0.1, 1, exact.shape))
    wrong = wrong.astype(np.float32)
    yield "wrong", wrong
    dark = images.copy()
    dark[:, ::2] = 0
    yield "dark", dark
    for key, shown, maps, absolute in (
        ("", images, exact, True),
        ("_of_wrong", images, wrong, True),
        ("_signed", images, exact, False),
        ("_of_dark", dark, np.abs(kernel[:, targets].T), True),
    ):
        metric = quantus.NonSensitivity(eps=1e-5, features_in_step=1, abs=absolute, **PLAIN)
        yield f"non_sensitivity{key}", run(metric, model, shown, targets, maps)


def of_colour(arrays):
    """Score invariance of the gradient, of gradient times image, and of that in a small unit."""
    model = twin("colour", arrays, torch.float32)
    x = np.ascontiguousarray(arrays["colour/images"].transpose(0, 3, 1, 2)).astype(np.float32)
    targets = arrays["colour/targets"].astype(int)

    def explain(model, inputs, targets, unit=0.0, **_):
        x = torch.tensor(np.asarray(inputs)).requires_grad_()
        scores = model(x)[torch.arange(len(x)), torch.tensor(np.asarray(targets))]
        (slope,) = torch.autograd.grad(scores.sum(), x)
        return (slope * (unit * x if unit else 1)).detach().numpy()

    # Without this patch Quantus does not shift the first number of an image.
    whole = mock.patch.object(
        quantus.metrics.axiomatic.input_invariance,
        "perturb_batch",
        side_effect=lambda arr, **_: arr + np.float32(SHIFT),
    )
    for patch, state in ((whole, ""), (contextlib.nullcontext(), "_as_is")):
        for key, unit in (("gradient", 0.0), ("input_x_gradient", 1.0), ("small", 1e-6)):
            metric = quantus.InputInvariance(abs=False, input_shift=SHIFT, **PLAIN)
            with patch:
                found = score(
                    metric,
                    model=model,
                    x_batch=x.copy(),
                    y_batch=targets.copy(),
                    a_batch=None,
                    explain_func=explain,
                    explain_func_kwargs={"unit": unit},
                )
            yield f"input_invariance_{key}{state}", np.asarray(found, np.float64)


def main():
    found = {**dict(of_linear()), **dict(of_colour(dict(np.load(sys.argv[1]))))}
    versions = {p: importlib.metadata.version(p) for p in ("quantus", "numpy", "torch")}
    path = Path(sys.argv[2]) / "quantus_axioms.npz"
    np.savez_compressed(path, versions=json.dumps(versions), **found)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")
    for key, value in found.items():
        print(f"  {key} {value.shape}", value.tolist() if value.size < 10 else "")


if __name__ == "__main__":
    main()
