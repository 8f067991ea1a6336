"""Add an attribution method: the gradient times the sign of each pixel."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import mnist_xai as mx
from mnist_xai.interpret import About


@mx.interpret.register("sign_gradient")
@dataclass(frozen=True)
class SignGradient:
    """Multiply the gradient by the sign of the pixel: `sign(x - μ) ⊙ ∂S_c/∂x`.

    Attributes:
        threshold: The value `μ`, in [0, 1]. Pixels below it count as negative.
    """

    threshold: float = 0.5

    about: ClassVar[About] = About(
        family="gradient",
        shows="how the score changes when a pixel becomes more of what it is",
        caveat="pixels near the threshold change sign with the smallest noise",
        reference="Gumpfer et al. 2023",
    )

    def __post_init__(self):
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: expected a number in [0, 1]; got {self.threshold}")

    def passes(self, network):
        """One gradient pass."""
        return 1

    def __call__(self, network, images, targets, *, score="logit"):
        """Return `(N, H, W, C)`, in units of the score for a pixel from black to white."""
        gradients, _ = network.gradient(images, targets, score=score)
        signs = np.where(images < self.threshold, -1, 1).astype(np.float32)
        return signs * gradients


network = mx.Network(mx.build_model("cnn", seed=0))
images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)

explanation = mx.explain(network, images, method="sign_gradient")
print("method:", explanation.name, explanation.maps.shape)

gradient = mx.explain(network, images, explanation.targets, method="gradient").maps
same = np.allclose(abs(explanation.maps), abs(gradient), atol=1e-5)
print("sizes are those of the gradient:", same)

other = mx.explain(network, images, method=SignGradient(threshold=0.0)).maps
print("with threshold 0 it is the gradient:", np.allclose(other, gradient, atol=1e-5))
