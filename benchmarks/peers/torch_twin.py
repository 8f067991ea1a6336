"""The case study's network in PyTorch with its images, for the peers in PyTorch."""

import sys

import torch
from contest import Inputs
from stubs import stub_torchvision

stub_torchvision()

from twins import twin  # noqa: E402

# Which memory format is faster depends on the method.
FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


class TorchInputs(Inputs):
    """Images as tensors `(N, C, H, W)` in one memory format."""

    def __init__(self, path, memory_format):
        super().__init__(path)
        self._format = memory_format
        self.x, self.baselines = (
            torch.tensor(a).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
            for a in (self.images, self.baselines)
        )
        self.c = torch.tensor(self.targets).long()
        self.patches = torch.tensor(self.patches).long()[None, None]

    def model(self):
        """Return a new network, so that hooks do not affect other methods."""
        return twin("cnn", self.arrays, torch.float32).to(memory_format=self._format)

    def in_batches(self, attribute):
        """Return a function of the batch size: `attribute(x, c)` of all images, in Keras's axes."""

        def run(size):
            pairs = zip(self.x.split(size), self.c.split(size), strict=True)
            return keras_order(torch.cat([attribute(x, c) for x, c in pairs]))

        return run


def keras_order(maps):
    return maps.detach().permute(0, 2, 3, 1).numpy()


def in_both_formats(methods):
    """Return the methods with the settings of both memory formats."""
    merged = {}
    for order, memory_format in FORMATS.items():
        for name, settings in methods(TorchInputs(sys.argv[1], memory_format)):
            found = {f"{setting} {order}".strip(): run for setting, run in settings.items()}
            merged.setdefault(name, {}).update(found)
    return merged
