"""Why a trained model decides as it does."""

from mnist_xai.interpret.cam import (
    AblationCAM,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
)
from mnist_xai.interpret.explanation import Explanation
from mnist_xai.interpret.gradients import (
    Gradient,
    InputXGradient,
    IntegratedGradients,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
    gradient_map,
)
from mnist_xai.interpret.layers import attention_map, layer_outputs, learned_attention
from mnist_xai.interpret.lrp import LRP
from mnist_xai.interpret.method import About, Accounted, Complete, Method
from mnist_xai.interpret.network import Network, UnsupportedLayerError
from mnist_xai.interpret.registry import METHODS, explain
from mnist_xai.interpret.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus

__all__ = [
    "LRP",
    "METHODS",
    "About",
    "Accounted",
    "AlphaBeta",
    "Complete",
    "Epsilon",
    "Explanation",
    "Flat",
    "Gamma",
    "Method",
    "Network",
    "UnsupportedLayerError",
    "WSquare",
    "ZBox",
    "ZPlus",
    "attention_map",
    "explain",
    "layer_outputs",
    "learned_attention",
]
