"""Document 004, section 5.2, corrected: the dense network in PyTorch, which you install yourself.

    python examples/dense_pytorch.py --epochs 10

The article calls `F.relu` without importing `torch.nn.functional as F`, and never defines its
`train_loader` and `test_loader`. The rest is right: CrossEntropyLoss contains the softmax.
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mnist_xai as mx


def batches(images, labels, size, shuffle):
    x, y = torch.tensor(mx.normalise(images)), torch.tensor(labels, dtype=torch.long)
    return DataLoader(TensorDataset(x, y), batch_size=size, shuffle=shuffle)


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=10)
epochs = parser.parse_args().epochs
data = mx.load_data("mnist")
torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer, criterion = torch.optim.Adam(model.parameters(), lr=0.001), nn.CrossEntropyLoss()
for epoch in range(1, epochs + 1):
    for images, labels in batches(data.train_images, data.train_labels, 32, shuffle=True):
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss of the last batch {loss.item():.4f}")
with torch.no_grad():
    test = batches(data.test_images, data.test_labels, 500, shuffle=False)
    right = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in test)
print(f"accuracy on the test images: {right / len(data.test_images):.2%}")
