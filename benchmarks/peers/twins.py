"""The networks of `tests/references/networks.py` in PyTorch, with equal weights.

Layers have Keras's names; a fused ReLU becomes a separate module, `NAME_relu`. Every ReLU is used
once, because otherwise Captum's DeepLIFT is silently wrong (captum#1082). The addition is Zennit's
`Sum`, because Zennit has no rule for `+`.
"""

from collections import OrderedDict

import torch
from torch import nn
from zennit.layer import Sum


def cnn():
    return _sequential(
        conv1=nn.Conv2d(1, 32, 5), conv1_relu=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(32, 64, 5), conv2_relu=nn.ReLU(), pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(), dense=nn.Linear(1024, 128), dense_relu=nn.ReLU(),
        probabilities=nn.Linear(128, 10),
    )  # fmt: skip


def colour():
    return _sequential(
        conv1=nn.Conv2d(3, 6, 3), conv1_relu=nn.ReLU(), pool=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 8, 3), conv2_relu=nn.ReLU(),
        flatten=nn.Flatten(), dense=nn.Linear(200, 12), dense_relu=nn.ReLU(),
        logits=nn.Linear(12, 5),
    )  # fmt: skip


def edges():
    return _sequential(
        conv=nn.Conv2d(1, 2, (1, 2)), pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(), logits=nn.Linear(32, 3),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        # In the order of the calls, because Zennit merges a BatchNorm into the layer before it.
        for k in (1, 2, 3):
            setattr(self, f"conv{k}", nn.Conv2d(1 if k == 1 else 8, 8, 3, padding=1))
            setattr(self, f"bn{k}", nn.BatchNorm2d(8, eps=1e-3))  # Keras's epsilon.
            if k < 3:
                setattr(self, f"relu{k}", nn.ReLU())
        self.add, self.relu3 = Sum(), nn.ReLU()
        self.mean_pool, self.pool, self.flatten = nn.AvgPool2d(2), nn.MaxPool2d(2), nn.Flatten()
        self.dense, self.dense_relu, self.logits = nn.Linear(392, 16), nn.ReLU(), nn.Linear(16, 10)

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(x)))))
        x = self.relu3(self.add(torch.stack([x, y], dim=-1)))
        x = self.flatten(self.pool(self.mean_pool(x)))
        return self.logits(self.dense_relu(self.dense(x)))


BUILD = {"cnn": cnn, "residual": Residual, "colour": colour, "edges": edges}


def twin(name, weights, dtype=torch.float64):
    """Return the twin of a network, given `{"network/layer/weight": array}` in Keras's shapes."""
    model = BUILD[name]().to(dtype).eval()
    state = {}
    before_flatten = None  # Channels of the last feature map.
    for module_name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            kernel = torch.tensor(weights[f"{name}/{module_name}/kernel"])
            if isinstance(module, nn.Conv2d):
                kernel, before_flatten = kernel.permute(3, 2, 0, 1), module.out_channels
            elif before_flatten:
                kernel, before_flatten = _rows_to_nchw(kernel, before_flatten).T, None
            else:
                kernel = kernel.T
            state |= {f"{module_name}.weight": kernel}
            state |= {f"{module_name}.bias": torch.tensor(weights[f"{name}/{module_name}/bias"])}
        if isinstance(module, nn.BatchNorm2d):
            for ours, keras in (
                ("weight", "gamma"),
                ("bias", "beta"),
                ("running_mean", "moving_mean"),
                ("running_var", "moving_variance"),
            ):
                value = torch.tensor(weights[f"{name}/{module_name}/{keras}"])
                state[f"{module_name}.{ours}"] = value
            state[f"{module_name}.num_batches_tracked"] = torch.tensor(0)
    model.load_state_dict(state)
    return model.requires_grad_(False)


def layer(model, name):
    """Return the module with the output of Keras's layer of this name, including its ReLU."""
    return getattr(model, f"{name}_relu", None) or getattr(model, name)


def _sequential(**modules):
    return nn.Sequential(OrderedDict(modules))


def _rows_to_nchw(kernel, channels):
    """Reorder a dense kernel behind Flatten from (H, W, C) rows, as in Keras, to (C, H, W)."""
    side = round((len(kernel) / channels) ** 0.5)
    return kernel.reshape(side, side, channels, -1).permute(2, 0, 1, 3).flatten(0, 2)
