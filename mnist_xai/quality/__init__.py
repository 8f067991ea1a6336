"""How far an explanation can be trusted: metrics, controls, and data that know the answer."""

from mnist_xai.quality.complexity import EffectiveComplexity, EntropyComplexity, Sparseness
from mnist_xai.quality.controls import CONTROLS, ImageItself, RandomMap, SobelEdges
from mnist_xai.quality.flipping import (
    Insertion,
    PixelFlipping,
    RegionPerturbation,
    Selectivity,
)
from mnist_xai.quality.irof import IROF
from mnist_xai.quality.metric import Metric, Scores, Traits, Trial
from mnist_xai.quality.registry import METRICS
from mnist_xai.quality.removal import Baseline, Blur, NoisyImputation, Removal, Uniform
from mnist_xai.quality.road import ROAD

__all__ = [
    "CONTROLS",
    "IROF",
    "METRICS",
    "ROAD",
    "Baseline",
    "Blur",
    "EffectiveComplexity",
    "EntropyComplexity",
    "ImageItself",
    "Insertion",
    "Metric",
    "NoisyImputation",
    "PixelFlipping",
    "RandomMap",
    "RegionPerturbation",
    "Removal",
    "Scores",
    "Selectivity",
    "SobelEdges",
    "Sparseness",
    "Traits",
    "Trial",
    "Uniform",
]
