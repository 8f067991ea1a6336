"""Xplique, for `benchmarks/deep.py`; run by it in an environment with xplique."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from deep_contest import CELLS, NOISY, RIDGE, SIGMA, STEPS, STRIDE, WINDOW, main
from sklearn.linear_model import Ridge
from xplique import attributions as xa


def explainer(job):
    model = job.built()
    grid = {"nb_samples": job.masks, "map_to_interpret_space": lambda _: job.grid}
    kind, options = {
        "gradient": (xa.Saliency, {}),
        "integrated_gradients": (xa.IntegratedGradients, {"steps": STEPS}),
        "smoothgrad": (xa.SmoothGrad, {"nb_samples": NOISY, "noise": SIGMA * job.scale}),
        "gradcam": (xa.GradCAM, {"conv_layer": job.cam_layer}),
        "gradcam_plus_plus": (xa.GradCAMPP, {"conv_layer": job.cam_layer}),
        "occlusion": (xa.Occlusion, {"patch_size": WINDOW, "patch_stride": STRIDE}),
        "rise": (xa.Rise, {"nb_samples": job.masks, "grid_size": CELLS}),
        "lime": (xa.Lime, {"interpretable_model": Ridge(alpha=RIDGE), **grid}),
        "kernel_shap": (xa.KernelShap, grid),
    }[job.method]
    explain = kind(model, batch_size=16, **options)

    def run(x, c):
        maps = explain.explain(x, tf.one_hot(c, job.classes)).numpy()
        return maps if maps.ndim == 4 else maps[..., None]

    return run


if __name__ == "__main__":
    main(explainer)
