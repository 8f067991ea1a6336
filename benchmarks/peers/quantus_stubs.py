"""What the twins need of Zennit, where only Quantus and PyTorch are installed."""

import sys
import types
import warnings

import torch


def stub_zennit():
    """A `Sum` over the last axis, the one name of Zennit's that the twins use."""
    layer = types.ModuleType("zennit.layer")
    layer.Sum = type("Sum", (torch.nn.Module,), {"forward": lambda _, x: x.sum(-1)})
    sys.modules["zennit"] = types.ModuleType("zennit")
    sys.modules["zennit.layer"] = layer


class Doubled(torch.nn.Module):
    """A network in float64 that takes the float32 which Quantus hands to every model."""

    def __init__(self, model):
        super().__init__()
        self.model = model.double()
        self.eval()

    def forward(self, x):
        return self.model(x.double())


def score(metric, **given):
    """A metric's scores, without Quantus's remarks on what its parameters mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(channel_first=True, softmax=False, **given)
