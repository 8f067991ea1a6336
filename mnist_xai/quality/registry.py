"""Every metric by name."""

from collections.abc import Mapping

from mnist_xai.quality.axioms import Completeness, NonSensitivity
from mnist_xai.quality.complexity import EffectiveComplexity, EntropyComplexity, Sparseness
from mnist_xai.quality.consistency import Consistency
from mnist_xai.quality.invariance import (
    ImplementationInvariance,
    InputInvariance,
    Linearity,
    Symmetry,
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
    "completeness": Completeness(),
    "non_sensitivity": NonSensitivity(),
    "input_invariance": InputInvariance(),
    "implementation_invariance": ImplementationInvariance(),
    "linearity": Linearity(),
    "symmetry": Symmetry(),
}
"""Ready metrics by name, family by family: faithfulness first."""
