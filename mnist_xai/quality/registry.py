"""Every metric by name."""

from collections.abc import Mapping

from mnist_xai.quality.axioms import Completeness, NonSensitivity
from mnist_xai.quality.complexity import EffectiveComplexity, EntropyComplexity, Sparseness
from mnist_xai.quality.consistency import Consistency
from mnist_xai.quality.correlation import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    SensitivityN,
)
from mnist_xai.quality.infidelity import Infidelity
from mnist_xai.quality.invariance import (
    ImplementationInvariance,
    InputInvariance,
    Linearity,
    Symmetry,
)
from mnist_xai.quality.localisation import (
    LocalisationAUC,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    TopKIntersection,
)
from mnist_xai.quality.metric import Metric
from mnist_xai.quality.randomisation import (
    EfficientParameterRandomisation,
    ParameterRandomisation,
    RandomLogit,
    SmoothParameterRandomisation,
)
from mnist_xai.quality.robustness import AvgSensitivity, LocalLipschitz, MaxSensitivity
from mnist_xai.quality.stability import RelativeInputStability, RelativeOutputStability

METRICS: Mapping[str, Metric] = {
    "faithfulness_correlation": FaithfulnessCorrelation(),
    "faithfulness_estimate": FaithfulnessEstimate(),
    "sensitivity_n": SensitivityN(),
    "infidelity": Infidelity(),
    "max_sensitivity": MaxSensitivity(),
    "avg_sensitivity": AvgSensitivity(),
    "local_lipschitz": LocalLipschitz(),
    "relative_input_stability": RelativeInputStability(),
    "relative_output_stability": RelativeOutputStability(),
    "consistency": Consistency(),
    "parameter_randomisation": ParameterRandomisation(),
    "smooth_parameter_randomisation": SmoothParameterRandomisation(),
    "efficient_parameter_randomisation": EfficientParameterRandomisation(),
    "random_logit": RandomLogit(),
    "sparseness": Sparseness(),
    "entropy_complexity": EntropyComplexity(),
    "effective_complexity": EffectiveComplexity(),
    "pointing_game": PointingGame(),
    "top_k_intersection": TopKIntersection(),
    "relevance_mass": RelevanceMass(),
    "relevance_rank": RelevanceRank(),
    "localisation_auc": LocalisationAUC(),
    "completeness": Completeness(),
    "non_sensitivity": NonSensitivity(),
    "input_invariance": InputInvariance(),
    "implementation_invariance": ImplementationInvariance(),
    "linearity": Linearity(),
    "symmetry": Symmetry(),
}
"""Ready metrics by name, family by family: faithfulness first."""
