"""Every metric by name."""

from collections.abc import Mapping

from mnist_xai.quality.complexity import EffectiveComplexity, EntropyComplexity, Sparseness
from mnist_xai.quality.flipping import (
    Insertion,
    PixelFlipping,
    RegionPerturbation,
    Selectivity,
)
from mnist_xai.quality.irof import IROF
from mnist_xai.quality.metric import Metric
from mnist_xai.quality.road import ROAD

METRICS: Mapping[str, Metric] = {
    "pixel_flipping": PixelFlipping(),
    "insertion": Insertion(),
    "region_perturbation": RegionPerturbation(),
    "road": ROAD(),
    "road_least": ROAD(order="least"),
    "selectivity": Selectivity(),
    "irof": IROF(),
    "sparseness": Sparseness(),
    "entropy_complexity": EntropyComplexity(),
    "effective_complexity": EffectiveComplexity(),
}
"""Ready metrics by name, family by family: faithfulness first."""
