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
from mnist_xai.interpret.expected import Background, ExpectedGradients, expected_gradients_over
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
from mnist_xai.interpret.method import About, Complete, Method
from mnist_xai.interpret.network import Network, UnsupportedLayerError
from mnist_xai.interpret.paths import (
    BlurIntegratedGradients,
    GuidedIntegratedGradients,
)
from mnist_xai.interpret.registry import METHODS, explain

__all__ = [
    "METHODS",
    "AblationCAM",
    "About",
    "Background",
    "BlurIntegratedGradients",
    "Complete",
    "EigenCAM",
    "ExpectedGradients",
    "Explanation",
    "GradCAM",
    "GradCAMPlusPlus",
    "Gradient",
    "GuidedIntegratedGradients",
    "HiResCAM",
    "InputXGradient",
    "IntegratedGradients",
    "LayerCAM",
    "Method",
    "Network",
    "ScoreCAM",
    "SmoothGrad",
    "SmoothGradSquared",
    "UnsupportedLayerError",
    "VarGrad",
    "attention_map",
    "expected_gradients_over",
    "explain",
    "gradient_map",
    "layer_outputs",
    "learned_attention",
]
