"""How far an explanation can be trusted: metrics, controls, and data that know the answer."""

from mnist_xai.quality.complexity import EffectiveComplexity, EntropyComplexity, Sparseness
from mnist_xai.quality.controls import CONTROLS, ImageItself, RandomMap, SobelEdges
from mnist_xai.quality.metric import Metric, Scores, Traits, Trial, lead
from mnist_xai.quality.registry import METRICS

__all__ = [
    "CONTROLS",
    "METRICS",
    "EffectiveComplexity",
    "EntropyComplexity",
    "ImageItself",
    "Metric",
    "RandomMap",
    "Scores",
    "SobelEdges",
    "Sparseness",
    "Traits",
    "Trial",
    "lead",
]
