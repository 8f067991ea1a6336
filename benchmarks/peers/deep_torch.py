"""Captum and Zennit, for `benchmarks/deep.py`; run by it in an environment with torch.

ResNet50 is a twin in PyTorch's own layers. Other networks are Keras's, on its torch backend.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import torch
from deep_contest import (
    KERNEL_WIDTH,
    NOISY,
    RIDGE,
    SIGMA,
    STEPS,
    STRIDE,
    WINDOW,
    main,
)
from deep_twins import resnet50


def explainer(job):
    twin = job.model == "resnet50"
    model = resnet50(job.weights) if twin else OnKeras(job.built())
    order = torch.channels_last if twin else torch.contiguous_format
    model = model.to(memory_format=order)
    attribute = {"zennit": zennit, "captum": captum}[job.contestant](job, model)

    def run(x, c):
        points = torch.tensor(x).permute(0, 3, 1, 2).contiguous(memory_format=order)
        maps = attribute(points, torch.tensor(c).long())
        return maps.detach().permute(0, 2, 3, 1).numpy()

    return run


class OnKeras(torch.nn.Module):
    """A Keras model on the torch backend, for images `(N, C, H, W)`."""

    def __init__(self, model):
        super().__init__()
        self.keras = model

    def forward(self, x):
        return self.keras(x.permute(0, 2, 3, 1), training=False)


def captum(job, model):
    import captum.attr as ca
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr._core.lime import get_exp_kernel_similarity_function

    grid = torch.tensor(job.grid).long()[None, None]
    features = {
        "feature_mask": grid,
        "n_samples": job.masks,
        "return_input_shape": True,
        "perturbations_per_eval": 16,
    }

    def each(method):
        """Fit one model for each image."""

        def run(x, c):
            pairs = zip(x.split(1), c.split(1), strict=True)
            return torch.cat([method.attribute(a, target=b, **features) for a, b in pairs])

        return run

    def cam():
        layer = ca.LayerGradCam(model, model.layer4)
        return lambda x, c: ca.LayerAttribution.interpolate(
            layer.attribute(x, c, relu_attributions=True), x.shape[2:], "bilinear"
        )

    def lime():
        nearness = get_exp_kernel_similarity_function("cosine", KERNEL_WIDTH)
        return each(ca.Lime(model, SkLearnRidge(alpha=RIDGE), nearness))

    return {
        "gradient": lambda: lambda x, c: ca.Saliency(model).attribute(x, c, abs=False),
        "integrated_gradients": lambda: lambda x, c: ca.IntegratedGradients(model).attribute(
            x, target=c, n_steps=STEPS, method="gausslegendre", internal_batch_size=16
        ),
        "smoothgrad": lambda: lambda x, c: ca.NoiseTunnel(ca.Saliency(model)).attribute(
            x, nt_type="smoothgrad", nt_samples=NOISY, nt_samples_batch_size=4,
            stdevs=SIGMA * job.scale, target=c, abs=False,
        ),
        "gradcam": cam,
        "deeplift_rescale": lambda: lambda x, c: ca.DeepLift(model).attribute(x, 0 * x, c),
        "occlusion": lambda: lambda x, c: ca.Occlusion(model).attribute(
            x, (3, WINDOW, WINDOW), (3, STRIDE, STRIDE), target=c, perturbations_per_eval=8
        ),
        "lime": lime,
        "kernel_shap": lambda: each(ca.KernelShap(model)),
    }[job.method]()  # fmt: skip


def zennit(job, model):
    from zennit import composites as zc
    from zennit import rules as zr
    from zennit.attribution import Gradient
    from zennit.torchvision import ResNetCanonizer
    from zennit.types import Linear

    canonizers = [ResNetCanonizer()]
    composite = {
        "lrp_epsilon": lambda: zc.LayerMapComposite(
            [*zc.layer_map_base(), (Linear, zr.Epsilon())], canonizers=canonizers
        ),
        "epsilon_plus_flat": lambda: zc.EpsilonPlusFlat(canonizers=canonizers),
    }[job.method]()
    attributor = Gradient(model, composite)
    attributor.__enter__()

    def run(x, c):
        chosen = torch.nn.functional.one_hot(c, job.classes).to(x)
        return attributor(x, lambda z: z * chosen)[1]

    return run


if __name__ == "__main__":
    main(explainer)
