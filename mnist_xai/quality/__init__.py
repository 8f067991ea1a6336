"""Quality of explanations: metrics, controls, and data whose correct explanation is known."""

from mnist_xai.quality.axioms.completeness import Completeness, NonSensitivity
from mnist_xai.quality.axioms.invariance import (
    ImplementationInvariance,
    InputInvariance,
    Linearity,
    Symmetry,
)
from mnist_xai.quality.base import (
    METRICS,
    ExplainedBatch,
    Metric,
    MetricAbout,
    Scores,
    paired_difference,
    register,
)
from mnist_xai.quality.complexity import EffectiveComplexity, EntropyComplexity, Sparseness
from mnist_xai.quality.controls import CONTROLS, ImageItself, RandomMap, SobelEdges
from mnist_xai.quality.faithfulness.correlation import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    SensitivityN,
)
from mnist_xai.quality.faithfulness.flipping import (
    Insertion,
    PixelFlipping,
    RegionPerturbation,
    Selectivity,
)
from mnist_xai.quality.faithfulness.infidelity import AddedNoise, Infidelity, RemovedSquares
from mnist_xai.quality.faithfulness.irof import IROF
from mnist_xai.quality.faithfulness.removal import Baseline, Blur, NoisyImputation, Removal, Uniform
from mnist_xai.quality.faithfulness.road import ROAD
from mnist_xai.quality.localisation import (
    LocalisationAUC,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    TopKIntersection,
)
from mnist_xai.quality.randomisation.random_networks import randomised, randomised_layers
from mnist_xai.quality.randomisation.sanity_checks import (
    EfficientParameterRandomisation,
    ParameterRandomisation,
    RandomLogit,
    SmoothParameterRandomisation,
)
from mnist_xai.quality.robustness.consistency import Consistency
from mnist_xai.quality.robustness.sensitivity import AvgSensitivity, LocalLipschitz, MaxSensitivity
from mnist_xai.quality.robustness.stability import RelativeInputStability, RelativeOutputStability
from mnist_xai.quality.synthetic.closed_forms import ClosedForm, closed_forms
from mnist_xai.quality.synthetic.ground_truth import Known, digit_grid, distractor, planted_rule

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
    "ExplainedBatch",
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
    "MetricAbout",
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
    "Uniform",
    "closed_forms",
    "digit_grid",
    "distractor",
    "paired_difference",
    "planted_rule",
    "randomised",
    "randomised_layers",
    "register",
]
