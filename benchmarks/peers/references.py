"""Reference values of Captum, Zennit and SHAP for `tests/references`; see its README.

    python benchmarks/peers/references.py inputs.npz tests/references

Everything is computed in float64, for the logits, and stored as float32 in Keras's order of axes.
The difference that float32 makes is stored as the key's round-off.
"""

import importlib.metadata
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from stubs import stub_torchvision

stub_torchvision()

import captum.attr as ca  # noqa: E402
import shap  # noqa: E402
from twins import layer, twin  # noqa: E402
from zennit import composites as zc  # noqa: E402
from zennit import rules as zr  # noqa: E402
from zennit.attribution import Gradient  # noqa: E402
from zennit.canonizers import SequentialMergeBatchNorm  # noqa: E402
from zennit.types import Linear  # noqa: E402

NETWORKS = ("cnn", "residual", "colour")  # `edges` is for Captum's DeepLIFT only.
# Layers of each network for class activation maps, and for conductance and influence.
CAM_LAYERS = {
    "cnn": ("conv2", "pool2"),
    "residual": ("relu3", "pool"),
    "colour": ("conv2", "pool"),
}
INNER_LAYERS = {
    "cnn": ("conv2", "dense"),
    "residual": ("pool", "dense"),
    "colour": ("conv2", "dense"),
}
NEURONS = {"cnn": ("conv2", (3, 4, 5)), "residual": ("conv2", (8, 10, 4)), "colour": ("dense", 4)}


class Inputs:
    """A twin, its images `x`, targets `c` and baselines, in one dtype."""

    def __init__(self, name, arrays, dtype):
        self.name, self.model = name, twin(name, arrays, dtype)
        self.x, self.baselines = (
            torch.tensor(arrays[f"{name}/{key}"]).permute(0, 3, 1, 2).to(dtype).contiguous()
            for key in ("images", "baselines")
        )
        self.c = torch.tensor(arrays[f"{name}/targets"])

    def layer(self, name):
        return layer(self.model, name)

    def one_by_one(self, attribute):
        """Return `attribute(x, c)` of each image alone, for methods that are wrong in batches."""
        pairs = zip(self.x.split(1), self.c.split(1), strict=True)
        return torch.cat([attribute(x, c) for x, c in pairs])


# --- Captum ------------------------------------------------------------------------------


def captum_values(i):
    yield "logits", i.model(i.x)
    if i.name == "edges":
        yield from deeplift(i)
        return
    yield "saliency", ca.Saliency(i.model).attribute(i.x, i.c, abs=False)
    yield "input_x_gradient", ca.InputXGradient(i.model).attribute(i.x, i.c)
    for key, method in (("", "gausslegendre"), ("_trapezoid", "riemann_trapezoid")):
        path = ca.IntegratedGradients(i.model)
        yield (
            f"integrated_gradients{key}",
            path.attribute(i.x, target=i.c, n_steps=64, method=method),
        )
    yield "guided_backprop", ca.GuidedBackprop(i.model).attribute(i.x, i.c)
    yield "deconvolution", ca.Deconvolution(i.model).attribute(i.x, i.c)
    yield from captum_gradient_shap(i)
    yield from captum_deeplift(i)
    yield from captum_layers(i)
    yield from captum_perturbations(i)


def captum_gradient_shap(i, samples=20):
    """Yield expected gradients, and their draws, which are the same for every image."""
    rng = np.random.default_rng(0)
    rows, alphas = rng.integers(0, len(i.baselines), samples), rng.random(samples)
    # Captum repeats each image `samples` times in a row before it draws.
    draws = [np.tile(draw, len(i.x)) for draw in (rows, alphas)]
    with (
        mock.patch("numpy.random.choice", return_value=draws[0]),
        mock.patch("numpy.random.uniform", return_value=draws[1]),
    ):
        found = ca.GradientShap(i.model).attribute(
            i.x, baselines=i.baselines, target=i.c, n_samples=samples, stdevs=0.0
        )
    expected = 0
    for row, alpha in zip(rows, alphas, strict=True):
        other = i.baselines[row]
        slope = ca.Saliency(i.model).attribute(alpha * i.x + (1 - alpha) * other, i.c, abs=False)
        expected = expected + (i.x - other) * slope.to(i.x) / samples
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    yield "gradient_shap", found
    yield "gradient_shap_rows", torch.tensor(rows)
    yield "gradient_shap_alphas", torch.tensor(alphas)


def captum_deeplift(i):
    """Yield DeepLIFT as Captum computes it on an unchanged network, and the correct one."""
    yield from deeplift(i, "_as_is")
    # Captum hooks the output of a ReLU before the input of the pool behind it. Both are the same
    # tensor, so the ReLU gets the pool's plain gradient unless a copy lies between them.
    for module in i.model.modules():
        if isinstance(module, torch.nn.MaxPool2d):
            module.register_forward_pre_hook(lambda _, arguments: arguments[0].clone())
    yield from deeplift(i)


def deeplift(i, suffix=""):
    """Explain one image and one baseline at a time, because of captum#1276: batches are wrong."""
    lift = ca.DeepLift(i.model)
    yield f"deeplift{suffix}", i.one_by_one(lambda x, c: lift.attribute(x, 0 * x, c))
    if i.name == "edges":
        yield "deeplift_batched", lift.attribute(i.x, 0 * i.x, i.c)
        return

    def over_baselines(x, c):
        maps = [lift.attribute(x, other, c) for other in i.baselines.split(1)]
        return torch.stack(maps).mean(0)

    yield f"deeplift_shap{suffix}", i.one_by_one(over_baselines)


def captum_layers(i):
    for name in CAM_LAYERS[i.name]:
        cam = ca.LayerGradCam(i.model, i.layer(name))
        yield f"grad_cam_{name}", cam.attribute(i.x, i.c, relu_attributions=True)
        yield f"grad_cam_signed_{name}", cam.attribute(i.x, i.c)
        guided = ca.GuidedGradCam(i.model, i.layer(name))
        yield f"guided_grad_cam_{name}", guided.attribute(i.x, i.c, interpolate_mode="bilinear")
    for name in INNER_LAYERS[i.name]:
        for key, method in (
            ("conductance", ca.LayerConductance),
            ("internal_influence", ca.InternalInfluence),
        ):
            found = method(i.model, i.layer(name)).attribute(i.x, target=i.c, n_steps=64)
            yield f"{key}_{name}", found
    name, unit = NEURONS[i.name]
    if isinstance(unit, tuple):  # (row, column, channel), as in Keras.
        unit = (unit[2], *unit[:2])
    neuron = ca.NeuronGradient(i.model, i.layer(name))
    yield "neuron_gradient", neuron.attribute(i.x, neuron_selector=unit)


def captum_perturbations(i):
    channels, height, width = i.x.shape[1:]
    for side, stride in ((4, 2), (5, 3)):
        found = ca.Occlusion(i.model).attribute(
            i.x,
            sliding_window_shapes=(channels, side, side),
            strides=(channels, stride, stride),
            target=i.c,
        )
        yield f"occlusion_{side}_{stride}", found
    mask = patches(height, width, 4, 4)
    yield "feature_ablation", ca.FeatureAblation(i.model).attribute(i.x, None, i.c, None, mask)


def patches(height, width, patch_height, patch_width):
    """Return the number of the patch that contains each pixel, row by row, `(1, 1, H, W)`."""
    rows, columns = torch.arange(height) // patch_height, torch.arange(width) // patch_width
    return (rows[:, None] * (width // patch_width) + columns)[None, None]


# --- Zennit ------------------------------------------------------------------------------


class Merge(SequentialMergeBatchNorm):
    """Merge a BatchNorm and set its epsilon to 0; Zennit keeps it, which shrinks the input."""

    def register(self, linears, batch_norm):
        self.eps = batch_norm.eps
        super().register(linears, batch_norm)
        batch_norm.eps = 0.0

    def remove(self):
        super().remove()
        self.batch_norm.eps = self.eps


def everywhere(rule):
    return zc.LayerMapComposite([*zc.layer_map_base(), (Linear, rule)], canonizers=[Merge()])


def first(rule):
    return zc.SpecialFirstLayerMapComposite(
        [*zc.layer_map_base(), (Linear, zr.Epsilon())], [(Linear, rule)], canonizers=[Merge()]
    )


COMPOSITES = {
    "epsilon": lambda: everywhere(zr.Epsilon()),
    "epsilon_0.25": lambda: everywhere(zr.Epsilon(0.25)),
    "z_plus": lambda: everywhere(zr.ZPlus()),
    "alpha2_beta1": lambda: everywhere(zr.AlphaBeta(2, 1)),
    "gamma": lambda: everywhere(zr.Gamma(0.25)),
    "first_flat": lambda: first(zr.Flat()),
    "first_w_square": lambda: first(zr.WSquare()),
    "first_z_box": lambda: first(zr.ZBox(0.0, 1.0)),
    "epsilon_plus": lambda: zc.EpsilonPlus(canonizers=[Merge()]),
    "epsilon_plus_flat": lambda: zc.EpsilonPlusFlat(canonizers=[Merge()]),
    "epsilon_gamma_box": lambda: zc.EpsilonGammaBox(0.0, 1.0, canonizers=[Merge()]),
    "epsilon_alpha2_beta1": lambda: zc.EpsilonAlpha2Beta1(canonizers=[Merge()]),
    "epsilon_alpha2_beta1_flat": lambda: zc.EpsilonAlpha2Beta1Flat(canonizers=[Merge()]),
    "excitation_backprop": lambda: zc.ExcitationBackprop(canonizers=[Merge()]),
    "guided_backprop": zc.GuidedBackprop,
    "deconvnet": zc.DeconvNet,
}


def zennit_values(i):
    logits = i.model(i.x)
    one_hot = torch.nn.functional.one_hot(i.c, logits.shape[1]).to(logits)
    yield "logits", logits
    for key, composite in COMPOSITES.items():
        # Guided backpropagation and deconvnet give gradients, not relevance.
        gradient = key in ("guided_backprop", "deconvnet")
        start = one_hot if gradient else one_hot * logits
        with Gradient(i.model, composite()) as attributor:
            output, found = attributor(i.x.clone(), start)
        torch.testing.assert_close(output, logits)  # The merge must not change the logits.
        yield key, found


# --- SHAP --------------------------------------------------------------------------------


def shap_values(i):
    yield "logits", i.model(i.x)
    if i.name == "colour":
        yield from exact_shapley(i)
    # SHAP does not know the module `Sum`: it warns and, correctly, treats it as linear.
    explainer = shap.DeepExplainer(i.model, i.baselines)
    values = explainer.shap_values(i.x, check_additivity=False)  # (N, C, H, W, classes)
    found = torch.stack([torch.tensor(v[..., c]) for v, c in zip(values, i.c, strict=True)])
    yield "deep_explainer", found
    wanted = i.model(i.x) - i.model(i.baselines).mean(0)
    yield "deep_explainer_difference", wanted.gather(1, i.c[:, None])[:, 0]


def exact_shapley(i):
    """Yield Shapley values of 4 x 2 patches over all 2^8 coalitions; absent patches are black."""
    mask = patches(16, 16, 4, 8)

    def score(x, c):
        def of(present):
            kept = torch.tensor(present).to(x)[:, mask[0, 0]][:, None]
            return i.model(x * kept)[:, c].numpy()

        return of

    found = []
    for x, c in zip(i.x, i.c, strict=True):
        explainer = shap.explainers.Exact(
            score(x, c), shap.maskers.Independent(np.zeros((1, 8)), max_samples=1)
        )
        found.append(explainer(np.ones((1, 8)), max_evals=2**8).values[0])
    yield "exact_shapley", torch.tensor(np.array(found))


# --- Files -------------------------------------------------------------------------------


def keras_order(value):
    value = value.detach()
    return (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).numpy()


def collect(values, arrays, networks):
    """Return `{network/key: float32}`, and the round-off of each key in float32."""
    found, roundoff = {}, {}
    for name in networks:
        exact, rough = (
            {k: keras_order(v) for k, v in values(Inputs(name, arrays, dtype))}
            for dtype in (torch.float64, torch.float32)
        )
        for key, value in exact.items():
            scale = np.abs(value).max() or 1.0
            roundoff[f"{name}/{key}"] = float(f"{np.abs(value - rough[key]).max() / scale:.1e}")
            whole = np.issubdtype(value.dtype, np.integer)
            found[f"{name}/{key}"] = value if whole else value.astype(np.float32)
    return found, roundoff


def main():
    inputs, folder = sys.argv[1], Path(sys.argv[2])
    with np.load(inputs) as file:
        arrays = dict(file)
    used = ("torch", "numpy", "captum", "zennit", "shap")
    about = {
        "versions": json.dumps({p: importlib.metadata.version(p) for p in used}),
        "command": "python benchmarks/peers/references.py inputs.npz tests/references",
    }
    for library, values, networks in (
        ("captum", captum_values, (*NETWORKS, "edges")),
        ("zennit", zennit_values, NETWORKS),
        ("shap", shap_values, NETWORKS),
    ):
        found, roundoff = collect(values, arrays, networks)
        path = folder / f"{library}.npz"
        np.savez_compressed(path, roundoff=json.dumps(roundoff, indent=1), **about, **found)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")
        for key, value in found.items():
            print(f"  {key} {value.shape} largest {np.abs(value).max():.3g}, {roundoff[key]}")


if __name__ == "__main__":
    main()
