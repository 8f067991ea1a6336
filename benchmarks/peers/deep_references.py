"""Reference values of Captum, Zennit and LXT for deep networks; see `tests/references/README.md`.

    python benchmarks/peers/deep_references.py deep.npz tests/references/deep.npz

Everything is computed in float64, for the logits, and stored as float32 in Keras's order of axes.
The difference that float32 makes is stored as the key's round-off.
"""

import importlib.metadata
import json
import sys

import numpy as np
import torch
from stubs import stub_torchvision
from torch import nn

stub_torchvision()

import captum.attr as ca  # noqa: E402
from lxt.explicit import functional as lf  # noqa: E402
from lxt.explicit.rules import identity  # noqa: E402
from zennit import composites as zc  # noqa: E402
from zennit import rules as zr  # noqa: E402
from zennit.attribution import Gradient  # noqa: E402
from zennit.canonizers import NamedMergeBatchNorm  # noqa: E402
from zennit.layer import Sum  # noqa: E402
from zennit.types import Linear  # noqa: E402

# --- Convolutional networks, made from Keras's own description ---------------------------


class Twin(nn.Module):
    """A Keras model of convolutions, poolings, additions and a dense layer, in PyTorch."""

    def __init__(self, name, arrays, *, explicit_padding=True):
        super().__init__()
        self.calls, self.merged = [], []
        for given in json.loads(str(arrays[f"{name}/config"])):
            layer, config = given["name"], given["config"]
            inputs = _histories(given["inbound_nodes"])
            weights = {
                key.rpartition("/")[2]: torch.tensor(value)
                for key, value in arrays.items()
                if key.startswith(f"{name}/{layer}/")
            }
            module = MODULES[given["class_name"]](config, weights)
            before = getattr(self, inputs[0], None) if inputs else None
            padded = isinstance(before, nn.ZeroPad2d) and isinstance(module, nn.Conv2d)
            if padded and not explicit_padding:
                module.padding = before.padding[::2]
                setattr(self, inputs[0], nn.Identity())
            setattr(self, layer, module)
            self.calls.append((layer, inputs))
            if isinstance(module, nn.BatchNorm2d):
                self.merged.append((inputs, layer))
            if config.get("activation") == "relu" and given["class_name"] == "Conv2D":
                setattr(self, f"{layer}_relu", nn.ReLU())

    def forward(self, x):
        tensors = {}
        for layer, inputs in self.calls:
            given = [tensors[name] for name in inputs] or [x]
            module = getattr(self, layer)
            found = module(torch.stack(given, -1) if isinstance(module, Sum) else given[0])
            tensors[layer] = getattr(self, f"{layer}_relu", nn.Identity())(found)
        return tensors[layer]


def _histories(nodes):
    """Return the names of the layers that a layer reads, from its description."""
    found = []

    def walk(value):
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            found.append(value["config"]["keras_history"][0])
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                walk(inner)

    walk(nodes)
    return found


def _convolution(config, weights):
    kernel = weights["kernel"].permute(3, 2, 0, 1)
    same = config["padding"] == "same"
    assert not same or tuple(config["strides"]) == (1, 1)
    module = nn.Conv2d(
        *(kernel.shape[1], kernel.shape[0], tuple(kernel.shape[2:]), tuple(config["strides"])),
        padding="same" if same else 0,
    )
    module.load_state_dict({"weight": kernel, "bias": weights["bias"]})
    return module


def _normalisation(config, weights):
    module = nn.BatchNorm2d(len(weights["gamma"]), eps=config["epsilon"])
    state = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"}
    state |= {"running_var": "moving_variance"}
    module.load_state_dict({k: weights[v] for k, v in state.items()}, strict=False)
    return module


def _padding(config, _):
    (top, bottom), (left, right) = config["padding"]
    return nn.ZeroPad2d((left, right, top, bottom))


def _dense(_, weights):
    module = nn.Linear(*weights["kernel"].shape)
    module.load_state_dict({"weight": weights["kernel"].T, "bias": weights["bias"]})
    return module


def _maximum(config, _):
    return nn.MaxPool2d(tuple(config["pool_size"]), tuple(config["strides"]))


MODULES = {
    "InputLayer": lambda *_: nn.Identity(),
    "ZeroPadding2D": _padding,
    "Conv2D": _convolution,
    "BatchNormalization": _normalisation,
    "Activation": lambda *_: nn.ReLU(),
    "MaxPooling2D": _maximum,
    "Add": lambda *_: Sum(),
    "GlobalAveragePooling2D": lambda *_: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "Dense": _dense,
}


class Merge(NamedMergeBatchNorm):
    """Merge each BatchNorm and set its epsilon to 0; Zennit keeps it, which shrinks the input."""

    def register(self, linears, batch_norm):
        self.eps = batch_norm.eps
        super().register(linears, batch_norm)
        batch_norm.eps = 0.0

    def remove(self):
        super().remove()
        self.batch_norm.eps = self.eps


def everywhere(rule, canonizers):
    return zc.LayerMapComposite([*zc.layer_map_base(), (Linear, rule)], canonizers=canonizers)


COMPOSITES = {
    "epsilon": lambda c: everywhere(zr.Epsilon(), c),
    "z_plus": lambda c: everywhere(zr.ZPlus(), c),
    "epsilon_plus_flat": lambda c: zc.EpsilonPlusFlat(canonizers=c),
    "epsilon_gamma_box": lambda c: zc.EpsilonGammaBox(0.0, 1.0, canonizers=c),
    "epsilon_alpha2_beta1": lambda c: zc.EpsilonAlpha2Beta1(canonizers=c),
}


def convolutional(name, arrays, dtype):
    model = Twin(name, arrays).to(dtype).eval()
    x, c = _images(name, arrays, dtype)
    logits = model(x)
    yield "logits", logits
    one_hot = nn.functional.one_hot(c, logits.shape[1]).to(logits)
    for key, composite in COMPOSITES.items():
        # Zennit's box rule takes the bounds of pixels for those of an explicit border.
        explicit = key != "epsilon_gamma_box"
        twin = Twin(name, arrays, explicit_padding=explicit).to(dtype).eval()
        canonizers = [Merge(twin.merged)] if twin.merged else []
        with Gradient(twin, composite(canonizers)) as attributor:
            output, found = attributor(x.clone(), one_hot * logits)
        torch.testing.assert_close(output, logits)  # The merge must not change the logits.
        yield f"zennit_{key}", found
    yield "captum_saliency", ca.Saliency(model).attribute(x.clone(), c, abs=False)
    gradients = ca.IntegratedGradients(model)
    yield (
        "captum_integrated_gradients",
        gradients.attribute(x.clone(), target=c, n_steps=64, method="gausslegendre"),
    )
    yield "captum_guided_backprop", ca.GuidedBackprop(model).attribute(x.clone(), c)
    yield "captum_deconvolution", ca.Deconvolution(model).attribute(x.clone(), c)
    for module in model.modules():  # See `references.py`: a copy before each pool.
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_pre_hook(lambda _, arguments: arguments[0].clone())
    lift = ca.DeepLift(model)
    maps = [lift.attribute(a, 0 * a, b) for a, b in zip(x.split(1), c.split(1), strict=True)]
    yield "captum_deeplift", torch.cat(maps)


# --- The transformer, written with LXT's functions ---------------------------------------


def transformer(name, arrays, dtype):
    w = {
        key.removeprefix(f"{name}/"): torch.tensor(value, dtype=dtype)
        for key, value in arrays.items()
        if key.startswith(f"{name}/") and value.dtype.kind == "f"
    }
    x, c = _images(name, arrays, dtype)
    for key, conservative in (("attn_lrp", False), ("cp_lrp", True)):
        pixels = x.clone().requires_grad_()
        logits = _forward(w, pixels, conservative)
        if not conservative:
            yield "logits", logits
        one_hot = nn.functional.one_hot(c, logits.shape[1]).to(logits)
        logits.backward(logits.detach() * one_hot)
        yield f"lxt_{key}", pixels.grad


SMALL = 1e-6


def stabilised(z, epsilon=SMALL, inplace=False):
    """Return `z + ε sign z`; LXT adds `ε` without the sign."""
    return z + torch.where(z < 0, -epsilon, epsilon)


lf._stabilize = stabilised


def _forward(w, x, conservative):
    batch = len(x)
    patches = x.unfold(2, 8, 8).unfold(3, 8, 8)  # (N, C, h, w, 8, 8)
    patches = patches.permute(0, 2, 3, 4, 5, 1).reshape(batch, 16, -1)
    kernel = w["patches/kernel"].reshape(-1, w["patches/kernel"].shape[-1])
    x = lf.linear_epsilon(patches, kernel.T, w["patches/bias"], SMALL)
    x = nn.functional.pad(x, (0, 0, 1, 0))
    x = lf.add2(x, w["places"].expand_as(x), False, SMALL)
    for k in range(3):
        y = _norm(w, x, f"norm{k}a")
        q, k_, v = (_projected(w, y, f"attention{k}/{part}") for part in ("query", "key", "value"))
        scale = q.shape[-1] ** -0.5
        scores = lf.matmul(
            identity(lambda t, s=scale: t * s, q), k_.transpose(-1, -2), False, SMALL
        )
        weights = lf.softmax(scores, -1)
        if conservative:
            mixed = _weighed(weights.detach(), v)
        else:
            mixed = lf.matmul(weights, v, False, 2 * SMALL)
        mixed = mixed.transpose(1, 2).reshape(*x.shape[:2], -1)
        out = w[f"attention{k}/attention_output/kernel"]
        out = out.reshape(-1, out.shape[-1]).T
        bias = w[f"attention{k}/attention_output/bias"]
        x = lf.add2(x, lf.linear_epsilon(mixed, out, bias, SMALL), False, SMALL)
        y = _linear(w, _norm(w, x, f"norm{k}b"), f"dense{k}a")
        y = _linear(w, identity(nn.functional.gelu, y), f"dense{k}b")
        x = lf.add2(x, y, False, SMALL)
    return _linear(w, _norm(w, x, "norm")[:, 0], "logits")


def _weighed(weights, v):
    """Return `A v` with the epsilon rule for `v` and constant attention weights `A`."""
    columns = v.shape[-1]
    rows = [
        lf.linear_epsilon(v[:, :, :, p].unsqueeze(2), weights[n, h], None, SMALL)[n, h, 0]
        for n in range(len(v))
        for h in range(v.shape[1])
        for p in range(columns)
    ]
    return torch.stack(rows).reshape(*v.shape[:2], columns, -1).transpose(-1, -2)


def _norm(w, x, name):
    return lf.layer_norm_grad_fn.apply(x, w[f"{name}/gamma"], w[f"{name}/beta"], 1e-6, SMALL)


def _linear(w, x, name):
    return lf.linear_epsilon(x, w[f"{name}/kernel"].T, w[f"{name}/bias"], SMALL)


def _projected(w, x, name):
    """Return a projection as `(N, heads, tokens, size)`."""
    kernel = w[f"{name}/kernel"]
    found = lf.linear_epsilon(
        x, kernel.reshape(len(kernel), -1).T, w[f"{name}/bias"].ravel(), SMALL
    )
    return found.reshape(*x.shape[:2], *kernel.shape[1:]).transpose(1, 2)


# --- Files -------------------------------------------------------------------------------


def _images(name, arrays, dtype):
    x = torch.tensor(arrays[f"{name}/images"]).permute(0, 3, 1, 2).to(dtype).contiguous()
    return x, torch.tensor(arrays[f"{name}/targets"])


def keras_order(value):
    value = value.detach()
    return (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).numpy()


def main():
    with np.load(sys.argv[1]) as file:
        arrays = dict(file)
    found, roundoff = {}, {}
    for name, values in (
        ("resnet50", convolutional),
        ("vgg16", convolutional),
        ("vit", transformer),
    ):
        exact, rough = (
            {k: keras_order(v) for k, v in values(name, arrays, dtype)}
            for dtype in (torch.float64, torch.float32)
        )
        for key, value in exact.items():
            share = np.abs(value - rough[key]).max() / np.abs(value).max()
            roundoff[f"{name}/{key}"] = float(f"{share:.1e}")
            found[f"{name}/{key}"] = value.astype(np.float32)
            print(name, key, value.shape, f"largest {np.abs(value).max():.3g}, {share:.1e}")
    used = ("torch", "numpy", "captum", "zennit", "lxt")
    about = {
        "versions": json.dumps({p: importlib.metadata.version(p) for p in used}),
        "command": "python benchmarks/peers/deep_references.py deep.npz tests/references/deep.npz",
    }
    np.savez_compressed(sys.argv[2], roundoff=json.dumps(roundoff, indent=1), **about, **found)


if __name__ == "__main__":
    main()
