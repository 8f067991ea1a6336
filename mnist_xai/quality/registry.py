"""Every metric by name."""

from collections.abc import Mapping

from mnist_xai.quality.complexity import EffectiveComplexity, EntropyComplexity, Sparseness
from mnist_xai.quality.metric import Metric

METRICS: Mapping[str, Metric] = {
    "sparseness": Sparseness(),
    "entropy_complexity": EntropyComplexity(),
    "effective_complexity": EffectiveComplexity(),
}
"""Ready metrics by name, family by family: faithfulness first."""
