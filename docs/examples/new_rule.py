"""Add a rule of relevance propagation: shares in proportion to absolute contributions."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf

import mnist_xai as mx
from mnist_xai.interpret.methods.relevance.rules import Part, Share


def positive(t):
    return tf.maximum(t, 0.0)


def negative(t):
    return tf.minimum(t, 0.0)


@dataclass(frozen=True)
class Absolute:
    """`R_i = Σ_j |x_i w_ij| R_j / (Σ_i |x_i w_ij| + |b_j|)`."""

    caveat: ClassVar[str] = "evidence against the class is counted as if it were for the class"
    signed: ClassVar[bool] = False

    epsilon: float = 1e-6

    @property
    def shares(self):
        """One share: the contributions above zero, less those below."""
        above = Part(positive, positive, positive), Part(negative, negative, tf.zeros_like)
        below = (
            Part(positive, negative, negative, sign=-1.0),
            Part(negative, positive, tf.zeros_like, sign=-1.0),
        )
        return (Share((*above, *below)),)


network = mx.Network(mx.build_model("cnn", seed=0))
images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)

method = mx.interpret.LRP(convolution=Absolute(), dense=Absolute())
explanation = mx.explain(network, images, method=method)
print("no relevance is negative:", explanation.maps.min() >= 0)

total = explanation.maps.sum(axis=(1, 2, 3)) + sum(explanation.absorbed.values())
print(
    "maps and absorbed parts sum to the score:", np.allclose(total, explanation.scores, rtol=1e-3)
)
print("absorbed by:", ", ".join(explanation.absorbed))
