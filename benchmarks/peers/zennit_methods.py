"""Zennit's part of `benchmarks/methods.py`; run by it, in an environment with torch and zennit.

python benchmarks/peers/zennit_methods.py inputs.npz
"""

import torch
from contest import batched, serve
from torch_twin import in_both_formats  # First, because it installs the stub of torchvision.
from zennit import composites as zc
from zennit import rules as zr
from zennit.attribution import Gradient
from zennit.types import Linear


def everywhere(rule):
    return zc.LayerMapComposite([*zc.layer_map_base(), (Linear, rule)])


RELEVANCE = {
    "lrp_epsilon": lambda: everywhere(zr.Epsilon()),
    "lrp_z_plus": lambda: everywhere(zr.ZPlus()),
    "epsilon_plus_flat": zc.EpsilonPlusFlat,
    "epsilon_gamma_box": lambda: zc.EpsilonGammaBox(0.0, 1.0),
    "epsilon_alpha2_beta1": zc.EpsilonAlpha2Beta1,
}
GRADIENTS = {"guided_backprop": zc.GuidedBackprop, "deconvnet": zc.DeconvNet}


def methods(i):
    """Yield the settings; each composite is attached to a new network before the clock starts."""
    for name, composite in {**GRADIENTS, **RELEVANCE}.items():
        attributor = Gradient(i.model(), composite())
        attributor.__enter__()

        def attribute(x, c, attributor=attributor, relevance=name in RELEVANCE):
            chosen = torch.nn.functional.one_hot(c, 10).to(x)
            start = (lambda z: z * chosen) if relevance else chosen
            return attributor(x, start)[1]

        yield name, batched(i.in_batches(attribute), (64, 256))


if __name__ == "__main__":
    serve(in_both_formats(methods), ("torch", "zennit"), torch.get_num_threads())
