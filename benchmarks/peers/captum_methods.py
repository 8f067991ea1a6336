"""Captum's part of `benchmarks/methods.py`; run by it, in an environment with torch and captum.

python benchmarks/peers/captum_methods.py inputs.npz
"""

import captum.attr as ca
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr._core.lime import get_exp_kernel_similarity_function
from contest import (
    BASELINES,
    CAM_LAYER,
    FEW,
    KERNEL_WIDTH,
    MASKS,
    NOISY,
    PATCH,
    PERMUTATIONS,
    RIDGE,
    SIGMA,
    STEPS,
    STRIDE,
    batched,
    serve,
)
from torch_twin import in_both_formats, keras_order
from twins import layer


def methods(i):
    model = i.model()
    few, few_c = i.x[:FEW], i.c[:FEW]

    def by_images(attribute, batches=(64, 256)):
        return batched(i.in_batches(attribute), batches)

    saliency, product = ca.Saliency(model), ca.InputXGradient(model)
    yield "gradient", by_images(lambda x, c: saliency.attribute(x, c, abs=False))
    yield "input_x_gradient", by_images(product.attribute)
    yield "integrated_gradients", batched(lambda size: integrated_gradients(i, model, size))
    yield "smoothgrad", smoothgrad(i, saliency)
    yield "guided_backprop", by_images(ca.GuidedBackprop(model).attribute)
    yield "deconvnet", by_images(ca.Deconvolution(model).attribute)
    cam = ca.LayerGradCam(model, layer(model, CAM_LAYER))

    def grad_cam(x, c):
        small = cam.attribute(x, c, relu_attributions=True)
        return ca.LayerAttribution.interpolate(small, x.shape[2:], "bilinear")

    yield "gradcam", by_images(grad_cam)
    lift, lift_shap = ca.DeepLift(model), ca.DeepLiftShap(model)
    yield "deeplift_rescale", by_images(lambda x, c: lift.attribute(x, 0 * x, c))
    yield "deep_shap", batched(lambda size: deep_shap(i, lift_shap, size), (BASELINES, 64, 320))
    occlusion = ca.Occlusion(model)

    def occlude(at_once):
        return keras_order(
            occlusion.attribute(
                i.x, (1, PATCH, PATCH), (1, STRIDE, STRIDE), target=i.c,
                perturbations_per_eval=at_once,
            )
        )  # fmt: skip

    yield "occlusion", settings("at once", occlude, (1, 4))
    features = {"feature_mask": i.patches, "n_samples": MASKS, "return_input_shape": True}
    nearness = get_exp_kernel_similarity_function("cosine", KERNEL_WIDTH)
    lime = ca.Lime(model, SkLearnRidge(alpha=RIDGE), nearness)
    for name, method in (("lime", lime), ("kernel_shap", ca.KernelShap(model))):
        yield name, settings("at once", one_by_one(few, few_c, method, features), (64, 256))
    shapley = ca.ShapleyValueSampling(model)

    def sample(at_once):
        return keras_order(
            shapley.attribute(
                few, target=few_c, feature_mask=i.patches, n_samples=PERMUTATIONS,
                perturbations_per_eval=at_once,
            )
        )  # fmt: skip

    yield "shapley_sampling", settings("at once", sample, (4, 16, 49))


def settings(what, run, values):
    return {f"{value} {what}": (lambda value=value: run(value)) for value in values}


def integrated_gradients(i, model, size):
    found = ca.IntegratedGradients(model).attribute(
        i.x, target=i.c, n_steps=STEPS, method="gausslegendre", internal_batch_size=size
    )
    return keras_order(found)


def smoothgrad(i, saliency):
    """Return the settings: `images x samples` at a time."""
    tunnel = ca.NoiseTunnel(saliency)

    def run(images, at_once):
        def attribute(x, c):
            return tunnel.attribute(
                x, nt_type="smoothgrad", nt_samples=NOISY, nt_samples_batch_size=at_once,
                stdevs=SIGMA, target=c, abs=False,
            )  # fmt: skip

        return i.in_batches(attribute)(images)

    shapes = ((256, 1), (64, 5), (5, 50))
    return {f"{a} x {b} at once": (lambda a=a, b=b: run(a, b)) for a, b in shapes}


def deep_shap(i, lift_shap, size):
    """Explain pairs of an image and a baseline, `size` at a time."""
    rows = max(1, size // BASELINES)
    pairs = zip(i.x[:FEW].split(rows), i.c[:FEW].split(rows), strict=True)
    found = [lift_shap.attribute(x, i.baselines, target=c) for x, c in pairs]
    return keras_order(torch.cat(found))


def one_by_one(x, c, method, features):
    """Explain one image a call: LIME and KernelSHAP fit one model for all images of a call."""

    def run(at_once):
        pairs = zip(x.split(1), c.split(1), strict=True)
        maps = [
            method.attribute(x, target=c, perturbations_per_eval=at_once, **features)
            for x, c in pairs
        ]
        return keras_order(torch.cat(maps))

    return run


if __name__ == "__main__":
    serve(in_both_formats(methods), ("torch", "captum"), torch.get_num_threads())
