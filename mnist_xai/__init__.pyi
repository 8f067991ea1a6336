# The public names, one home each. Type checkers and editors read this file; `__init__.py` loads
# the names from it lazily.
from . import foundations, interpret, plots, quality
from .audit import Audit, audit
from .data import Augmentation, Dataset, load_data, normalise
from .evaluation import Evaluation, evaluate
from .interpret import (
    METHODS,
    Explanation,
    Network,
    UnsupportedLayerError,
    activation_maximization,
    attention_map,
    explain,
    feature_inversion,
    gradient_map,
    internal_influence,
    layer_conductance,
    layer_outputs,
    learned_attention,
    neuron_gradient,
    project_feature_map,
    receptive_field,
)
from .io.datasets import DataUnavailableError
from .io.readers import DataError
from .io.saving import ModelFileError, load_model, read_card, save_model
from .model_builder import MODELS, build_model
from .recipes import RECIPES, Recipe
from .reproduce import reproduce
from .train import TrainResult, train

__all__ = [
    "METHODS",
    "MODELS",
    "RECIPES",
    "Audit",
    "Augmentation",
    "DataError",
    "DataUnavailableError",
    "Dataset",
    "Evaluation",
    "Explanation",
    "ModelFileError",
    "Network",
    "Recipe",
    "TrainResult",
    "UnsupportedLayerError",
    "activation_maximization",
    "attention_map",
    "audit",
    "build_model",
    "evaluate",
    "explain",
    "feature_inversion",
    "foundations",
    "gradient_map",
    "internal_influence",
    "interpret",
    "layer_conductance",
    "layer_outputs",
    "learned_attention",
    "load_data",
    "load_model",
    "neuron_gradient",
    "normalise",
    "plots",
    "project_feature_map",
    "quality",
    "read_card",
    "receptive_field",
    "reproduce",
    "save_model",
    "train",
]
