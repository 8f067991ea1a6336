"""Stand-ins for Zennit in environments with only Quantus and PyTorch, and helpers for Quantus."""

import sys
import types
import warnings

import torch


def stub_zennit():
    """Provide `zennit.layer.Sum`, a sum over the last axis: the only name that the twins use."""
    layer = types.ModuleType("zennit.layer")
    layer.Sum = type("Sum", (torch.nn.Module,), {"forward": lambda _, x: x.sum(-1)})
    sys.modules["zennit"] = types.ModuleType("zennit")
    sys.modules["zennit.layer"] = layer


class Doubled(torch.nn.Module):
    """A network in float64 that accepts float32, which Quantus passes to every model."""

    def __init__(self, model):
        super().__init__()
        self.model = model.double()
        self.eval()

    def forward(self, x):
        return self.model(x.double())


def score(metric, **given):
    """Return a metric's scores; suppress Quantus's warnings about its parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(channel_first=True, softmax=False, **given)
