"""How far an explanation can be trusted: metrics, controls, and data that know the answer."""

from mnist_xai.quality.complexity import (
    EffectiveComplexity,
    EntropyComplexity,
    Sparseness,
)
from mnist_xai.quality.controls import (
    CONTROLS,
    ImageItself,
    RandomMap,
    SobelEdges,
)
from mnist_xai.quality.correlation import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    SensitivityN,
)
from mnist_xai.quality.infidelity import (
    AddedNoise,
    Infidelity,
    RemovedSquares,
)
from mnist_xai.quality.localisation import (
    LocalisationAUC,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    TopKIntersection,
)
from mnist_xai.quality.metric import (
    Metric,
    Scores,
    Traits,
    Trial,
    lead,
)
from mnist_xai.quality.registry import (
    METRICS,
)

__all__ = [
    "CONTROLS",
    "METRICS",
    "AddedNoise",
    "EffectiveComplexity",
    "EntropyComplexity",
    "FaithfulnessCorrelation",
    "FaithfulnessEstimate",
    "ImageItself",
    "Infidelity",
    "LocalisationAUC",
    "Metric",
    "PointingGame",
    "RandomMap",
    "RelevanceMass",
    "RelevanceRank",
    "RemovedSquares",
    "Scores",
    "SensitivityN",
    "SobelEdges",
    "Sparseness",
    "TopKIntersection",
    "Traits",
    "Trial",
    "lead",
]
