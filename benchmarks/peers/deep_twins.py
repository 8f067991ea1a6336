"""ResNet50 of Keras as a PyTorch network with torchvision's names, with the same weights."""

import torch
from stubs import stub_torchvision
from torch import nn

stub_torchvision()

from torchvision.models import resnet  # noqa: E402 The stub's; Zennit looks for its classes.

EPSILON = 1.001e-5  # Of Keras's normalisations.


class Bottleneck(resnet.Bottleneck):
    def __init__(self, inputs, width, stride, shortcut):
        super().__init__()
        # Keras strides in the first convolution.
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, stride), norm(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), norm(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1), norm(4 * width)
        # One each, because Captum takes no layer that is used twice. Zennit uses the first.
        self.relu, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.downsample = None
        if shortcut:
            projection = nn.Conv2d(inputs, 4 * width, 1, stride)
            self.downsample = nn.Sequential(projection, norm(4 * width))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(y)))))
        return self.relu3(y + (x if self.downsample is None else self.downsample(x)))


def norm(width):
    return nn.BatchNorm2d(width, eps=EPSILON)


class ResNet50(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 64, 7, 2, 3), norm(64), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs, stages = 64, []
        for i, depth in enumerate((3, 4, 6, 3)):
            blocks = []
            for k in range(depth):
                stride = 2 if i and not k else 1
                blocks.append(Bottleneck(inputs, 64 * 2**i, stride, shortcut=not k))
                inputs = 256 * 2**i
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(x)))


def resnet50(weights):
    """Return the network with these weights of Keras, in Keras's order; checked by the caller."""
    network, given = ResNet50().eval(), iter(weights)

    def fill(layer):
        if isinstance(layer, nn.BatchNorm2d):
            names = ("weight", "bias", "running_mean", "running_var")
            for name in names:
                getattr(layer, name).data.copy_(torch.tensor(next(given)))
            return
        kernel = torch.tensor(next(given))
        turned = kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        layer.weight.data.copy_(turned)
        layer.bias.data.copy_(torch.tensor(next(given)))

    for layer in layers_in_keras_order(network):
        fill(layer)
    return network


def layers_in_keras_order(network):
    """Yield layers with weights as Keras lists them: by depth, the shortcut before its partner."""
    yield from (network.conv1, network.bn1)
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            yield from (block.conv1, block.bn1, block.conv2, block.bn2)
            # At equal depth Keras lists the shortcut's layer before the branch's.
            convolutions, norms = [block.conv3], [block.bn3]
            if block.downsample is not None:
                convolutions.insert(0, block.downsample[0])
                norms.insert(0, block.downsample[1])
            yield from (*convolutions, *norms)
    yield network.fc
