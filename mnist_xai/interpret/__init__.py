"""Why a trained model decides as it does."""

from mnist_xai.interpret.explanation import Explanation
from mnist_xai.interpret.features import Features, Grid, Patches, Pixels, Segmentation
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
from mnist_xai.interpret.perturbation import LIME, RISE, FeatureAblation, Occlusion
from mnist_xai.interpret.registry import METHODS, explain
from mnist_xai.interpret.sensitivity import HSIC, Sobol
from mnist_xai.interpret.shapley import ExactShapley, KernelSHAP, ShapleySampling

__all__ = [
    "HSIC",
    "LIME",
    "METHODS",
    "RISE",
    "About",
    "Complete",
    "ExactShapley",
    "Explanation",
    "FeatureAblation",
    "Features",
    "Gradient",
    "Grid",
    "InputXGradient",
    "IntegratedGradients",
    "KernelSHAP",
    "Method",
    "Network",
    "Occlusion",
    "Patches",
    "Pixels",
    "Segmentation",
    "ShapleySampling",
    "SmoothGrad",
    "SmoothGradSquared",
    "Sobol",
    "UnsupportedLayerError",
    "VarGrad",
    "attention_map",
    "explain",
    "gradient_map",
    "layer_outputs",
    "learned_attention",
]
