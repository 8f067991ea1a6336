"""A stand-in for torchvision, of which Zennit needs two names only."""

import sys
import types

import torch


def stub_torchvision():
    """Zennit asks torchvision for two classes, only to recognise ResNets."""
    resnet = types.ModuleType("torchvision.models.resnet")
    resnet.Bottleneck = type("Bottleneck", (torch.nn.Module,), {})
    resnet.BasicBlock = type("BasicBlock", (torch.nn.Module,), {})
    for name in ("torchvision", "torchvision.models"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[resnet.__name__] = resnet
