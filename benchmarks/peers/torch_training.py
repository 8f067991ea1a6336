"""The case study's network in PyTorch, for `benchmarks/training.py`; needs torch and numpy.

python benchmarks/peers/torch_training.py FOLDER_WITH_MNIST
"""

import gzip
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

GOAL, EVERY, BATCH = 0.99, 12_800, 128


def read(folder, name, offset):
    raw = (Path(folder) / f"{name}.gz").read_bytes()
    return np.frombuffer(gzip.decompress(raw), np.uint8, offset=offset)


def load(folder, part):
    images = read(folder, f"{part}-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)
    labels = read(folder, f"{part}-labels-idx1-ubyte", 8)
    return torch.tensor(images / np.float32(255)), torch.tensor(labels.astype(np.int64))


def main():
    torch.manual_seed(0)
    (x, y), (x_test, y_test) = (load(sys.argv[1], part) for part in ("train", "t10k"))
    model = nn.Sequential(
        nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    assert sum(p.numel() for p in model.parameters()) == 184_586
    optimizer, loss = torch.optim.Adam(model.parameters()), nn.CrossEntropyLoss()
    marks, seconds, images, reached = [], 0.0, 0, None
    order = torch.randperm(len(x))
    while reached is None or len(marks) < 4:
        start = time.perf_counter()
        for _ in range(EVERY // BATCH):
            at = images % len(x)
            if at + BATCH > len(x):
                order, at = torch.randperm(len(x)), 0
            batch = order[at : at + BATCH]
            optimizer.zero_grad()
            loss(model(x[batch]), y[batch]).backward()
            optimizer.step()
            images += BATCH
        seconds += time.perf_counter() - start
        marks.append((images, seconds))
        with torch.no_grad():
            right = (model(x_test).argmax(1) == y_test).float().mean().item()
        if reached is None and right >= GOAL:
            reached = seconds
    (i0, s0), (i1, s1) = marks[0], marks[-1]
    print(json.dumps({
        "images_per_second": (i1 - i0) / (s1 - s0),
        "seconds_to_99": reached,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
