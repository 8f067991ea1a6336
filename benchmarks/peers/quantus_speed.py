"""Seconds of Quantus for max sensitivity and parameter randomisation, with the plain gradient.

    python benchmarks/quality_speed.py out.json inputs.npz quantus/bin/python

calls it with the path of the weights, images and targets, in the peers' own environment.
"""

import json
import sys
import time
import warnings

import numpy as np
import quantus
import torch
from quantus_stubs import stub_zennit

stub_zennit()

from twins import twin  # noqa: E402


def explain(model, inputs, targets, **_):
    x = torch.tensor(np.asarray(inputs), dtype=torch.float32).requires_grad_()
    scores = model(x)[torch.arange(len(x)), torch.tensor(np.asarray(targets)).long()]
    return torch.autograd.grad(scores.sum(), x)[0].numpy()


def main():
    with np.load(sys.argv[1]) as file:
        arrays = dict(file)
    model = twin("cnn", arrays, torch.float32)
    x = np.ascontiguousarray(arrays["x"].transpose(0, 3, 1, 2))
    y = arrays["c"]
    samples, runs = int(sys.argv[2]), int(sys.argv[3])
    found = {}
    for key, metric in (
        ("max_sensitivity", quantus.MaxSensitivity(nr_samples=samples, lower_bound=0.1)),
        ("parameter_randomisation", quantus.MPRT(return_average_correlation=True)),
    ):
        found[key] = []
        a = explain(model, x, y)
        for _ in range(runs + 1):
            start = time.perf_counter()
            metric(
                model=model, x_batch=x.copy(), y_batch=y, a_batch=a.copy(), explain_func=explain,
                channel_first=True, softmax=False, batch_size=len(x),
            )  # fmt: skip
            found[key].append(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(5):
        explain(model, x, y)
    found["one_gradient"] = [(time.perf_counter() - start) / 5]
    print(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
