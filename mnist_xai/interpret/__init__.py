"""Why a trained model decides as it does."""

from mnist_xai.interpret.core.graph import UnsupportedLayerError
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.inspect.activations import attention_map, layer_outputs, learned_attention
from mnist_xai.interpret.inspect.inversion import feature_inversion
from mnist_xai.interpret.inspect.maximization import activation_maximization
from mnist_xai.interpret.inspect.neurons import (
    internal_influence,
    layer_conductance,
    neuron_gradient,
)
from mnist_xai.interpret.inspect.receptive_field import ReceptiveField, receptive_field
from mnist_xai.interpret.methods.base import (
    METHODS,
    About,
    Complete,
    Conservative,
    Method,
    register,
)
from mnist_xai.interpret.methods.cam.eigencam import EigenCAM
from mnist_xai.interpret.methods.cam.gradient_based import (
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
)
from mnist_xai.interpret.methods.cam.score_based import AblationCAM, ScoreCAM
from mnist_xai.interpret.methods.explain import explain
from mnist_xai.interpret.methods.explanation import Explanation
from mnist_xai.interpret.methods.gradients.expected import (
    Background,
    ExpectedGradients,
    expected_gradients_over,
)
from mnist_xai.interpret.methods.gradients.gradient import (
    Gradient,
    InputXGradient,
    IntegratedGradients,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
    gradient_map,
)
from mnist_xai.interpret.methods.gradients.paths import (
    BlurIntegratedGradients,
    GuidedIntegratedGradients,
)
from mnist_xai.interpret.methods.perturbation.ablation import FeatureAblation
from mnist_xai.interpret.methods.perturbation.features import (
    Features,
    Grid,
    Patches,
    Pixels,
    Segmentation,
)
from mnist_xai.interpret.methods.perturbation.kernel_shap import KernelSHAP
from mnist_xai.interpret.methods.perturbation.lime import LIME
from mnist_xai.interpret.methods.perturbation.occlusion import Occlusion
from mnist_xai.interpret.methods.perturbation.rise import RISE
from mnist_xai.interpret.methods.perturbation.sensitivity import HSIC, Sobol
from mnist_xai.interpret.methods.perturbation.shapley import ExactShapley, ShapleySampling
from mnist_xai.interpret.methods.perturbation.superpixels import Superpixels
from mnist_xai.interpret.methods.relevance.backprop import (
    DeconvNet,
    GuidedBackprop,
    GuidedGradCAM,
    project_feature_map,
)
from mnist_xai.interpret.methods.relevance.deeplift import DeepLIFT, DeepSHAP
from mnist_xai.interpret.methods.relevance.lrp import LRP
from mnist_xai.interpret.methods.relevance.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    WSquare,
    ZBox,
    ZPlus,
)

Accounted = Conservative  # Its former name.

__all__ = [
    "HSIC",
    "LIME",
    "LRP",
    "METHODS",
    "RISE",
    "AblationCAM",
    "About",
    "AlphaBeta",
    "Background",
    "BlurIntegratedGradients",
    "Complete",
    "Conservative",
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
    "Superpixels",
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
    "register",
]
