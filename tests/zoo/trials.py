"""Try a family of methods on a model of the zoo, and say what came of it.

A map is right when it equals what plain calls of the owner's model give (`references.py`), or when
it keeps the sum that its method promises, with both ends of the sum taken from the owner's model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np

import mnist_xai as mx
from mnist_xai.interpret import (
    DeconvNet,
    DeepLIFT,
    Explanation,
    FeatureAblation,
    GradCAM,
    Gradient,
    Grid,
    GuidedBackprop,
    IntegratedGradients,
    KernelSHAP,
    Method,
)
from tests.zoo import references
from tests.zoo.specimen import Specimen

_STEPS, _CELLS = 8, 3
_TOLERANCE = 2e-3  # Of the largest value. Rounding of a deep network's own float32 stays below.
_TOLERANCE_OF_BFLOAT16 = 0.1
_ROUNDING = 1e-7  # Of the range of the pixels.
_TIMES_ROUNDING = 4  # The error may be so many times what rounding the pixels does to the model.

FAMILIES: Mapping[str, Mapping[str, Method]] = {
    "gradients": {"gradient": Gradient(), "integrated gradients": IntegratedGradients(_STEPS)},
    "CAM": {"gradcam": GradCAM()},
    "rectified": {"guided_backprop": GuidedBackprop(), "deconvnet": DeconvNet()},
    "LRP": {name: mx.METHODS[name] for name in ("lrp_epsilon", "epsilon_plus_flat", "lrp_z_box")},
    "DeepLIFT": {
        "deeplift_rescale": DeepLIFT(),
        "deeplift_reveal_cancel": DeepLIFT("reveal_cancel"),
    },
    "perturbation": {
        "feature_ablation": FeatureAblation(Grid(_CELLS)),
        "kernel_shap": KernelSHAP(Grid(_CELLS), samples=64),
    },
}


class Verdict(IntEnum):
    """What came of a trial, from best to worst."""

    RIGHT = 0
    ASKED = 1  # Right, once the owner has said which range the pixels have.
    REFUSED = 2  # Refused; the message names the cause and says what to do.
    UNCHECKED = 3  # A map, and nothing to compare it with.
    DEAD_END = 4  # Refused, and the message does not say what to do; or a crash.
    WRONG = 5  # A map that is wrong.


@dataclass(frozen=True)
class Finding:
    """What came of one method on one model."""

    verdict: Verdict
    method: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.method}: {self.verdict.name}{': ' * bool(self.why)}{self.why}"


_WAY_OUT = re.compile(
    r"\b(pass|passes|use|give|choose|try|explain|say|set|name|call|build|rebuild|wrap|put|let|"
    r"expected|needs)\b|[a-z_]+=|methods need none",
)


class Subject:
    """A model of the zoo under trial; its network is shared by all methods."""

    def __init__(self, specimen: Specimen) -> None:
        self.specimen = specimen
        self._networks: dict[bool, mx.Network] = {}

    @cached_property
    def targets(self) -> np.ndarray:
        """The classes that the owner's model predicts."""
        return np.asarray(self.specimen.scores(self.specimen.images)).argmax(axis=1)

    def network(self, *, told: bool) -> mx.Network:
        """Return the network; `told` passes what the owner says about the pixels."""
        if told not in self._networks:
            given = dict(self.specimen.needs)
            if told:
                bounds = self.specimen.low, self.specimen.high
                given["pixels"] = self.specimen.pixels or bounds
            self._networks[told] = mx.Network(self.specimen.model, **given)
        return self._networks[told]

    def try_method(self, name: str, method: Method) -> Finding:
        """Explain the images with a method, and check the maps."""
        told = False
        try:
            try:
                explanation = self._explain(method, told=False)
            except (ValueError, TypeError) as error:
                if "pixels=" not in str(error):
                    raise
                told = True
                explanation = self._explain(method, told=True)
        except (ValueError, TypeError) as error:
            out = _WAY_OUT.search(str(error))
            verdict = Verdict.REFUSED if out else Verdict.DEAD_END
            return Finding(verdict, name, f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 (a crash is a finding)
            return Finding(Verdict.DEAD_END, name, f"{type(error).__name__}: {error}")
        verdict, why = self._judge(name, explanation, self.network(told=told))
        if verdict is Verdict.RIGHT and told:
            verdict = Verdict.ASKED
        return Finding(verdict, name, why)

    def _explain(self, method: Method, *, told: bool) -> Explanation:
        given = self.specimen
        targets = self.targets if given.score == "output" else None  # An output has no prediction.
        network = self.network(told=told)
        if isinstance(method, GradCAM):
            method = self._comparable(method, network)
        return mx.explain(network, given.images, targets, method=method, score=given.score)

    def _comparable(self, method: GradCAM, network: mx.Network) -> GradCAM:
        """Return Grad-CAM at its own layer, or at the last one that the owner can name.

        Behind an operation in a `call`, the layer of the default has no name outside the package.
        """
        default = method.layer_name(network)
        shapes = network.layer_shapes
        spatial = [name for name in reversed(shapes) if len(shapes[name]) == 3]
        owned = self.specimen.inside or self.specimen.model
        for name in (default, *spatial):
            if name in shapes and references.layer_named(owned, name):
                return method if name == default else GradCAM(name)
        return method

    def _judge(
        self, name: str, explanation: Explanation, network: mx.Network
    ) -> tuple[Verdict, str]:
        """Compare an explanation with what the owner's model gives."""
        given = self.specimen
        tolerance = _TOLERANCE if network.runner.rounding < 1e-3 else _TOLERANCE_OF_BFLOAT16
        if not np.array_equal(explanation.targets, self.targets):
            return Verdict.WRONG, f"explains {explanation.targets}, predicted are {self.targets}"
        scores = np.asarray(references.target_scores(given.scores, given.images, self.targets))
        if missed := _missed(explanation.scores, scores, tolerance):
            return Verdict.WRONG, f"its score differs from the model's by {missed:.1%}"
        if not np.isfinite(explanation.maps).all():
            return Verdict.WRONG, "NaN in the maps"
        expected, found = self._expected(name, explanation, network)
        nothing = expected is None or not np.abs(expected).max() > 0
        if nothing and not (name == "gradcam" and expected is not None and not found.any()):
            return Verdict.UNCHECKED, "the model gives nothing to compare with"
        size = None if expected.ndim > 1 else _magnitude(explanation, expected)
        if missed := _missed(found, expected, tolerance, size):
            # Deep random networks are chaotic: their own gradient moves when pixels are rounded.
            again, _ = self._expected(name, explanation, network, self._rounded_images())
            own = _missed(again, expected, 0.0, size)
            if missed > _TIMES_ROUNDING * own:
                return Verdict.WRONG, f"differs by {missed:.1%} of the largest value"
        return Verdict.RIGHT, ""

    def _rounded_images(self) -> np.ndarray:
        """Return the images, each pixel moved by what rounding to float32 may do to it."""
        given = self.specimen
        width = np.asarray(given.high, np.float32) - np.asarray(given.low, np.float32)
        moves = np.random.default_rng(0).choice([-1, 1], given.images.shape)
        return (given.images + _ROUNDING * width * moves).astype(np.float32)

    def _expected(
        self,
        name: str,
        explanation: Explanation,
        network: mx.Network,
        images: np.ndarray | None = None,
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Return what the model itself gives for a method, and what the explanation says."""
        given = self.specimen
        start = given.scores, given.images if images is None else images, self.targets
        maps = explanation.maps
        if maps.ndim > given.images.ndim:  # Of a model that takes (H, W).
            maps = maps[..., 0] if maps.shape[:-1] == given.images.shape else maps
        if name == "gradient":
            return references.gradient(*start), maps
        if name == "integrated gradients":
            return references.integrated_gradients(*start, given.low, _STEPS), maps
        if name == "gradcam":
            used: Any = explanation.method
            layer = references.layer_named(given.inside or given.model, used.layer_name(network))
            return layer and references.gradcam(*start, layer), maps
        if name in FAMILIES["rectified"]:
            return references.rectified(*start, name), maps
        if name == "feature_ablation":
            return references.feature_ablation(*start, given.low, _CELLS), maps
        sums = maps.sum(axis=tuple(range(1, maps.ndim)), dtype=np.float64)
        if explanation.absorbed or explanation.name.startswith("lrp"):
            scores = np.asarray(references.target_scores(*start))
            return scores, sums + sum(explanation.absorbed.values())
        return references.difference_from_black(*start, given.low), sums


def try_family(subject: Subject, family: str) -> list[Finding]:
    """Try every method of a family; return one finding for each."""
    return [subject.try_method(name, method) for name, method in FAMILIES[family].items()]


def _magnitude(explanation: Explanation, expected: np.ndarray) -> float:
    """Return the size of what was added up to a sum; rounding is relative to it."""
    axes = tuple(range(1, explanation.maps.ndim))
    added = np.abs(explanation.maps).sum(axis=axes)
    added = added + sum(np.abs(part) for part in explanation.absorbed.values())
    return float(max(added.max(), np.abs(expected).max()))


def _missed(
    found: np.ndarray, expected: np.ndarray, tolerance: float, size: float | None = None
) -> float:
    """Return the largest error relative to the largest value; 0 when within the tolerance."""
    if found.shape != expected.shape:
        return np.inf
    whole = np.abs(expected).max() if size is None else size
    error = float(np.abs(found - expected).max() / max(whole, 1e-30))
    return error if error > tolerance else 0.0
