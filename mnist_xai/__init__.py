"""Train the MNIST case study, and show with mathematics why the network decides as it does.

import mnist_xai as mx

result = mx.train(save_to="saved_models/mine.keras")
model = mx.load_model("saved_models/mine.keras")
maps = mx.gradient_map(model, images)
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_xai.audit import Audit, audit
    from mnist_xai.data import Augmentation, Dataset, load_data, normalise
    from mnist_xai.evaluation import Evaluation, evaluate
    from mnist_xai.interpret import (
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
    from mnist_xai.model_builder import MODELS, build_model
    from mnist_xai.readers import DataError
    from mnist_xai.recipes import RECIPES, Recipe
    from mnist_xai.reproduce import reproduce
    from mnist_xai.saving import ModelFileError, load_model, read_card, save_model
    from mnist_xai.sources import DataUnavailableError
    from mnist_xai.train import TrainResult, train

# Where each name lives. Modules are imported when a name is first asked for, so that
# `mnist-xai --help` does not wait for TensorFlow.
_HOMES = {
    "audit": ("Audit", "audit"),
    "data": ("Augmentation", "Dataset", "load_data", "normalise"),
    "evaluation": ("Evaluation", "evaluate"),
    "interpret": (
        "METHODS",
        "Explanation",
        "Network",
        "UnsupportedLayerError",
        "activation_maximization",
        "attention_map",
        "explain",
        "feature_inversion",
        "gradient_map",
        "internal_influence",
        "layer_conductance",
        "layer_outputs",
        "learned_attention",
        "neuron_gradient",
        "project_feature_map",
        "receptive_field",
    ),
    "model_builder": ("MODELS", "build_model"),
    "readers": ("DataError",),
    "recipes": ("RECIPES", "Recipe"),
    "reproduce": ("reproduce",),
    "saving": ("ModelFileError", "load_model", "read_card", "save_model"),
    "sources": ("DataUnavailableError",),
    "train": ("TrainResult", "train"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

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
    "gradient_map",
    "internal_influence",
    "layer_conductance",
    "layer_outputs",
    "learned_attention",
    "load_data",
    "load_model",
    "neuron_gradient",
    "normalise",
    "project_feature_map",
    "read_card",
    "receptive_field",
    "reproduce",
    "save_model",
    "train",
]


_MODULES = (
    "foundations",
    "interpret",
    "plots",
    "quality",
)  # Asked for as `mx.interpret` without an import of their own.


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `mx.train`, `mx.audit` and `mx.reproduce` functions when their modules are bound."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
