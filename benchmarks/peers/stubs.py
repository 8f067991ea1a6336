"""A stand-in for torchvision: Zennit needs only two of its names."""

import sys
import types

import torch


def stub_torchvision():
    """Provide the two classes by which Zennit recognises torchvision's ResNets."""
    resnet = types.ModuleType("torchvision.models.resnet")
    resnet.Bottleneck = type("Bottleneck", (torch.nn.Module,), {})
    resnet.BasicBlock = type("BasicBlock", (torch.nn.Module,), {})
    for name in ("torchvision", "torchvision.models"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[resnet.__name__] = resnet
