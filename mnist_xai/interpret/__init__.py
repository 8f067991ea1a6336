"""Why a trained model decides as it does."""

from mnist_xai.interpret.backprop import (
    DeconvNet,
    GuidedBackprop,
    GuidedGradCAM,
    project_feature_map,
)
from mnist_xai.interpret.cam import (
    AblationCAM,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
)
from mnist_xai.interpret.deeplift import DeepLIFT, DeepSHAP
from mnist_xai.interpret.expected import Background, ExpectedGradients, expected_gradients_over
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
from mnist_xai.interpret.inversion import feature_inversion
from mnist_xai.interpret.layers import attention_map, layer_outputs, learned_attention
from mnist_xai.interpret.lrp import LRP
from mnist_xai.interpret.maximization import activation_maximization
from mnist_xai.interpret.method import About, Accounted, Complete, Method
from mnist_xai.interpret.network import Network, UnsupportedLayerError
from mnist_xai.interpret.neurons import internal_influence, layer_conductance, neuron_gradient
from mnist_xai.interpret.paths import (
    BlurIntegratedGradients,
    GuidedIntegratedGradients,
)
from mnist_xai.interpret.perturbation import LIME, RISE, FeatureAblation, Occlusion
from mnist_xai.interpret.receptive import ReceptiveField, receptive_field
from mnist_xai.interpret.registry import METHODS, explain
from mnist_xai.interpret.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus
from mnist_xai.interpret.sensitivity import HSIC, Sobol
from mnist_xai.interpret.shapley import ExactShapley, KernelSHAP, ShapleySampling

__all__ = [
    "HSIC",
    "LIME",
    "LRP",
    "METHODS",
    "RISE",
    "AblationCAM",
    "About",
    "Accounted",
    "AlphaBeta",
    "Background",
    "BlurIntegratedGradients",
    "Complete",
    "DeconvNet",
    "DeepLIFT",
    "DeepSHAP",
    "EigenCAM",
    "Epsilon",
    "ExactShapley",
    "ExpectedGradients",
    "Explanation",
    "FeatureAblation",
    "Features",
    "Flat",
    "Gamma",
    "GradCAM",
    "GradCAMPlusPlus",
    "Gradient",
    "Grid",
    "GuidedBackprop",
    "GuidedGradCAM",
    "GuidedIntegratedGradients",
    "HiResCAM",
    "InputXGradient",
    "IntegratedGradients",
    "KernelSHAP",
    "LayerCAM",
    "Method",
    "Network",
    "Occlusion",
    "Patches",
    "Pixels",
    "ReceptiveField",
    "ScoreCAM",
    "Segmentation",
    "ShapleySampling",
    "SmoothGrad",
    "SmoothGradSquared",
    "Sobol",
    "UnsupportedLayerError",
    "VarGrad",
    "WSquare",
    "ZBox",
    "ZPlus",
    "activation_maximization",
    "attention_map",
    "expected_gradients_over",
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
]
