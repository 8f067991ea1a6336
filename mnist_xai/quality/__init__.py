"""How far an explanation can be trusted: metrics, controls, and data that know the answer."""

from mnist_xai.quality.axioms import (
    Completeness,
    NonSensitivity,
)
from mnist_xai.quality.closed_forms import (
    ClosedForm,
    closed_forms,
)
from mnist_xai.quality.complexity import (
    EffectiveComplexity,
    EntropyComplexity,
    Sparseness,
)
from mnist_xai.quality.consistency import (
    Consistency,
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
from mnist_xai.quality.flipping import (
    Insertion,
    PixelFlipping,
    RegionPerturbation,
    Selectivity,
)
from mnist_xai.quality.ground_truth import (
    Known,
    digit_grid,
    distractor,
    planted_rule,
)
from mnist_xai.quality.infidelity import (
    AddedNoise,
    Infidelity,
    RemovedSquares,
)
from mnist_xai.quality.invariance import (
    ImplementationInvariance,
    InputInvariance,
    Linearity,
    Symmetry,
)
from mnist_xai.quality.irof import IROF
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
from mnist_xai.quality.random_networks import (
    stages,
)
from mnist_xai.quality.randomisation import (
    EfficientParameterRandomisation,
    ParameterRandomisation,
    RandomLogit,
    SmoothParameterRandomisation,
)
from mnist_xai.quality.registry import (
    METRICS,
)
from mnist_xai.quality.removal import (
    Baseline,
    Blur,
    NoisyImputation,
    Removal,
    Uniform,
)
from mnist_xai.quality.road import ROAD
from mnist_xai.quality.robustness import (
    AvgSensitivity,
    LocalLipschitz,
    MaxSensitivity,
)
from mnist_xai.quality.stability import (
    RelativeInputStability,
    RelativeOutputStability,
)

__all__ = [
    "CONTROLS",
    "IROF",
    "METRICS",
    "ROAD",
    "AddedNoise",
    "AvgSensitivity",
    "Baseline",
    "Blur",
    "ClosedForm",
    "Completeness",
    "Consistency",
    "EffectiveComplexity",
    "EfficientParameterRandomisation",
    "EntropyComplexity",
    "FaithfulnessCorrelation",
    "FaithfulnessEstimate",
    "ImageItself",
    "ImplementationInvariance",
    "Infidelity",
    "InputInvariance",
    "Insertion",
    "Known",
    "Linearity",
    "LocalLipschitz",
    "LocalisationAUC",
    "MaxSensitivity",
    "Metric",
    "NoisyImputation",
    "NonSensitivity",
    "ParameterRandomisation",
    "PixelFlipping",
    "PointingGame",
    "RandomLogit",
    "RandomMap",
    "RegionPerturbation",
    "RelativeInputStability",
    "RelativeOutputStability",
    "RelevanceMass",
    "RelevanceRank",
    "Removal",
    "RemovedSquares",
    "Scores",
    "Selectivity",
    "SensitivityN",
    "SmoothParameterRandomisation",
    "SobelEdges",
    "Sparseness",
    "Symmetry",
    "TopKIntersection",
    "Traits",
    "Trial",
    "Uniform",
    "closed_forms",
    "digit_grid",
    "distractor",
    "lead",
    "planted_rule",
    "randomised",
    "stages",
]
