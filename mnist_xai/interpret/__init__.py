"""Why a trained model decides as it does."""

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
from mnist_xai.interpret.inversion import feature_inversion
from mnist_xai.interpret.layers import attention_map, layer_outputs, learned_attention
from mnist_xai.interpret.maximization import activation_maximization
from mnist_xai.interpret.method import About, Complete, Method
from mnist_xai.interpret.network import Network, UnsupportedLayerError
from mnist_xai.interpret.neurons import internal_influence, layer_conductance, neuron_gradient
from mnist_xai.interpret.receptive import ReceptiveField, receptive_field
from mnist_xai.interpret.registry import METHODS, explain

__all__ = [
    "METHODS",
    "About",
    "Complete",
    "Explanation",
    "Gradient",
    "InputXGradient",
    "IntegratedGradients",
    "Method",
    "Network",
    "ReceptiveField",
    "SmoothGrad",
    "SmoothGradSquared",
    "UnsupportedLayerError",
    "VarGrad",
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
    "receptive_field",
]
