"""Ours, for `benchmarks/deep.py`: every map with `mx.explain`, as a user would make it."""

from dataclasses import replace

from deep_contest import CELLS, KERNEL_WIDTH, NOISY, RIDGE, SIGMA, STEPS, STRIDE, WINDOW, main

import mnist_xai as mx
from mnist_xai.interpret import Grid


def explainer(job):
    network = mx.Network(job.built(), **({"pixels": "bytes"} if job.scale == 255 else {}))
    grid = Grid(CELLS)
    changes = {
        "integrated_gradients": {"steps": STEPS},
        "smoothgrad": {"samples": NOISY, "sigma": SIGMA},
        "gradcam": {"layer": job.cam_layer},
        "gradcam_plus_plus": {"layer": job.cam_layer},
        "occlusion": {"patch": WINDOW, "stride": STRIDE},
        "rise": {"samples": job.masks, "cells": CELLS},
        "lime": {
            "samples": job.masks,
            "kernel_width": KERNEL_WIDTH,
            "alpha": RIDGE,
            "features": grid,
        },
        "kernel_shap": {"samples": job.masks, "features": grid},
    }
    method = replace(mx.METHODS[job.method], **changes.get(job.method, {}))
    return lambda x, c: mx.explain(network, x, c, method=method).maps


if __name__ == "__main__":
    main(explainer)
