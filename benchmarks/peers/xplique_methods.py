"""Xplique's part of `benchmarks/methods.py`; run by it, in an environment with xplique.

python benchmarks/peers/xplique_methods.py inputs.npz
"""

import tensorflow as tf
from contest import (
    BATCHES,
    CAM_LAYER,
    CELLS,
    DESIGNS,
    FEW,
    MASKS,
    NOISY,
    PATCH,
    RIDGE,
    SIGMA,
    STEPS,
    STRIDE,
    serve,
)
from keras_twin import inputs, threads
from sklearn.linear_model import Ridge
from xplique import attributions as xa


def methods(i):
    def of(kind, count=None, **options):
        """Return settings with explainers of each batch size, made before the clock starts."""
        x, y = i.x[:count], tf.constant(i.one_hot[:count])
        return {f"batch {size}": _run(kind(i.keras, batch_size=size, **options), x, y)
                for size in BATCHES}  # fmt: skip

    yield "gradient", of(xa.Saliency)
    yield "input_x_gradient", of(xa.GradientInput)
    yield "integrated_gradients", of(xa.IntegratedGradients, steps=STEPS)
    yield "smoothgrad", of(xa.SmoothGrad, nb_samples=NOISY, noise=SIGMA)
    yield "guided_backprop", of(xa.GuidedBackprop)
    yield "deconvnet", of(xa.DeconvNet)
    yield "gradcam", of(xa.GradCAM, conv_layer=CAM_LAYER)
    yield "gradcam_plus_plus", of(xa.GradCAMPP, conv_layer=CAM_LAYER)
    yield "occlusion", of(xa.Occlusion, patch_size=PATCH, patch_stride=STRIDE)
    yield "rise", of(xa.Rise, FEW, nb_samples=MASKS, grid_size=CELLS)
    patches = {"nb_samples": MASKS, "map_to_interpret_space": lambda _: i.patches}
    # Without its cosine distance, which is 1 + cosine, so that all weights are almost 0.
    yield "lime", of(xa.Lime, FEW, interpretable_model=Ridge(alpha=RIDGE), **patches)
    yield "kernel_shap", of(xa.KernelShap, FEW, **patches)
    yield "sobol", of(xa.SobolAttributionMethod, FEW, grid_size=CELLS, nb_design=DESIGNS)
    yield "hsic", of(xa.HsicAttributionMethod, FEW, grid_size=CELLS, nb_design=MASKS)


def _run(explainer, x, y):
    return lambda: explainer.explain(x, y).numpy()


if __name__ == "__main__":
    serve(dict(methods(inputs())), ("tensorflow", "xplique"), threads())
