"""The end of a network: from its last numbers to scores of classes.

`raw` are the numbers before the last softmax or sigmoid, `(N, units)`; the logits `z` are one
number for each class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.graph import (
    Call,
    first_tensor,
    is_cast,
    last_activation,
    without_activation,
    without_identities,
)
from mnist_xai.interpret.core.inputs import Score, check_score

Kind = Literal["softmax", "sigmoid", "one unit", "log-probabilities", "linear", "plain"]
"""What a network ends in.

softmax: softmax over the classes; sigmoid: one sigmoid for each class; one unit: a single sigmoid
or linear unit `z`, read as two classes with the logits `-z` and `z`; log-probabilities: a softmax
that cannot be undone, so that the logits are `log p`; linear: the outputs are the logits; plain:
outputs in [0, 1] of unknown origin, which are explained as they are.
"""


@dataclass(frozen=True)
class Head:
    """How scores are computed from a network's last numbers.

    Attributes:
        kind: What the network ends in.
        units: Number of outputs.
        undone: Whether a softmax or sigmoid comes last and is left out in `raw`.
    """

    kind: Kind
    units: int
    undone: bool

    @property
    def classes(self) -> int:
        """Number of classes."""
        return 2 if self.kind == "one unit" else self.units

    @property
    def note(self) -> str:
        """A sentence on what was read into the outputs; empty where nothing was."""
        if self.kind == "log-probabilities":
            return (
                "The model's softmax cannot be undone, so the logits are its log-probabilities: "
                "they also depend on the scores of the other classes."
            )
        if self.kind == "one unit" and not self.undone:
            return (
                "The model's one linear unit z is read as a logit: class 1 has the logit z, "
                "class 0 has -z. For a regression, pass score='output'."
            )
        if self.kind == "plain":
            return (
                "The model's outputs lie in [0, 1], and no softmax or sigmoid was found before "
                "them: they are explained as they are."
            )
        return ""

    def logits(self, raw: tf.Tensor) -> tf.Tensor:
        """Return the logits `(N, classes)`."""
        raw = tf.cast(raw, tf.float32)
        if self.kind == "one unit":
            return tf.concat([-raw, raw], axis=1)
        if self.kind == "log-probabilities":
            return tf.math.log(tf.maximum(raw, np.finfo(np.float32).tiny))
        return raw

    def probabilities(self, z: tf.Tensor) -> tf.Tensor:
        """Return the probabilities of logits, `(N, classes)`: softmax, or a sigmoid each."""
        if self.kind == "plain":
            return z
        return tf.sigmoid(z) if self.kind in ("sigmoid", "one unit") else tf.nn.softmax(z)

    def outputs(self, z: tf.Tensor) -> tf.Tensor:
        """Return the model's own outputs, `(N, units)`, from its logits."""
        own = self.probabilities(z) if self.undone or self.kind == "log-probabilities" else z
        return own[:, 1:] if self.kind == "one unit" else own

    def probabilities_of(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the probabilities of the classes, `(N, classes)`, from the model's own outputs."""
        outputs = tf.cast(outputs, tf.float32)
        if self.kind == "one unit":
            p = outputs if self.undone else tf.sigmoid(outputs)
            return tf.concat([1 - p, p], axis=1)
        return tf.nn.softmax(outputs) if self.kind == "linear" else outputs

    def values(self, z: tf.Tensor, score: Score) -> tf.Tensor:
        """Return logits, probabilities or outputs, `(N, classes)` or `(N, units)`."""
        check_score(score)
        if score == "logit":
            return z
        return self.probabilities(z) if score == "probability" else self.outputs(z)

    def score(self, z: tf.Tensor, target: tf.Tensor, score: Score) -> tf.Tensor:
        """Return the targets' scores of logits: `(N,)`."""
        return tf.gather(self.values(z, score), target, batch_dims=1)

    def chosen(self, z: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """Return the targets `(N,)`, with the predicted class for each `PREDICTED`."""
        return tf.where(target < 0, tf.argmax(z, axis=1, output_type=tf.int32), target)

    def squash(self, score: Score) -> Callable[[tf.Tensor], tf.Tensor] | None:
        """Return the softmax or sigmoid between `raw` and a score; None for none."""
        if score == "logit" or self.kind == "plain" or (score == "output" and not self.undone):
            return None
        return tf.sigmoid if self.kind in ("sigmoid", "one unit") else tf.nn.softmax

    def raw_slope(self, target: tf.Tensor, score: Score) -> tf.Tensor:
        """Return the derivative of the targets' logits with respect to `raw`, `(N, units)`.

        It is ±1 for the one unit that the logit is made of, and 0 for the others.
        """
        if self.kind != "one unit":
            return tf.one_hot(target, self.units)
        sign = tf.ones_like(target) if score == "output" else 2 * target - 1
        return tf.cast(sign, tf.float32)[:, tf.newaxis]


def find_head(calls: dict[str, Call], output: Any) -> Head:
    """Return the head of a network, given the calls of a run on noise and its output."""
    _, activation = undo_activation(calls, output)
    units = int(output.shape[-1])
    if activation == "softmax" and units > 1:
        return Head("softmax", units, undone=True)
    if activation == "sigmoid":
        return Head("one unit" if units == 1 else "sigmoid", units, undone=True)
    values = np.asarray(tf.cast(output, tf.float32))
    if units > 1 and values.min() >= 0 and sums_to_one(output):
        return Head("log-probabilities", units, undone=False)
    if values.min() >= 0 and values.max() <= 1 and _is_opaque(calls, output):
        return Head("plain", units, undone=False)
    return Head("one unit" if units == 1 else "linear", units, undone=False)


def undo_activation(calls: dict[str, Call], output: Any) -> tuple[Any, str]:
    """Return what a model's last softmax or sigmoid was applied to, and its name.

    Args:
        calls: The calls of a run.
        output: An output of the model.

    Returns:
        The input of the last softmax or sigmoid and its name; the output itself and an empty name
        where it does not come from one.
    """
    for call in reversed(without_identities(calls).values()):
        if all(output is not tensor for tensor in keras.tree.flatten(call.output)):
            continue
        x = first_tensor(call.args, call.kwargs)
        if name := _activation_alone(call.layer):
            return x, name
        for name, activation in _LAST.items():
            if last_activation(call.layer) is activation:
                return without_activation(call.layer)(*call.args, **call.kwargs), name
        if is_cast(call):
            raw, name = undo_activation(calls, x)
            return (raw, name) if name else (output, "")
        break
    return output, ""


_LAST = {"softmax": keras.activations.softmax, "sigmoid": keras.activations.sigmoid}


def _activation_alone(layer: Any) -> str:
    """Return the name of a layer or operation that is softmax or sigmoid and nothing else."""
    if isinstance(layer, keras.layers.Activation):
        return next((name for name, kind in _LAST.items() if layer.activation is kind), "")
    if type(layer).__name__ == "Softmax" and layer.axis in (-1, 1):
        return "softmax"
    return "sigmoid" if type(layer) is keras.src.ops.nn.Sigmoid else ""


def _is_opaque(calls: dict[str, Call], output: Any) -> bool:
    """Return whether the output comes from a layer that may do anything."""
    maker = next((call.layer for call in reversed(calls.values()) if call.output is output), None)
    named = type(maker).__module__.startswith("keras.") and not isinstance(maker, _OPAQUE)
    return not named


_OPAQUE = (keras.layers.Lambda, keras.layers.TFSMLayer)


def epsilon_of(dtype: str) -> float:
    """Return the distance of 1 to the next number; 0 for types that are not rounded."""
    try:
        return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]
    except ValueError:  # Integers and booleans.
        return 0.0


def sums_to_one(p: Any, axis: int = 1) -> bool:
    """Return whether an array of any precision sums to one along an axis, up to rounding."""
    tensor = tf.convert_to_tensor(p)
    limit = max(1e-3, 4 * epsilon_of(tensor.dtype.name))
    sums = tf.reduce_sum(tf.cast(tensor, tf.float32), axis=axis)
    return bool(np.allclose(sums, 1, rtol=0, atol=limit))
