"""Every metric by name."""

from collections.abc import Mapping

from mnist_xai.quality.axioms.completeness import Completeness, NonSensitivity
from mnist_xai.quality.axioms.invariance import (
    ImplementationInvariance,
    InputInvariance,
    Linearity,
    Symmetry,
)
from mnist_xai.quality.base import Metric
from mnist_xai.quality.complexity import EffectiveComplexity, EntropyComplexity, Sparseness
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
from mnist_xai.quality.faithfulness.infidelity import Infidelity
from mnist_xai.quality.faithfulness.irof import IROF
from mnist_xai.quality.faithfulness.road import ROAD
from mnist_xai.quality.localisation import (
    LocalisationAUC,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    TopKIntersection,
)
from mnist_xai.quality.randomisation.sanity_checks import (
    EfficientParameterRandomisation,
    ParameterRandomisation,
    RandomLogit,
    SmoothParameterRandomisation,
)
from mnist_xai.quality.robustness.consistency import Consistency
from mnist_xai.quality.robustness.sensitivity import AvgSensitivity, LocalLipschitz, MaxSensitivity
from mnist_xai.quality.robustness.stability import RelativeInputStability, RelativeOutputStability

METRICS: Mapping[str, Metric] = {
    "pixel_flipping": PixelFlipping(),
    "insertion": Insertion(),
    "region_perturbation": RegionPerturbation(),
    "road": ROAD(),
    "road_least": ROAD(order="least"),
    "selectivity": Selectivity(),
    "irof": IROF(),
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
