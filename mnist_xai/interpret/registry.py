"""Every method by name, and the door that takes a name."""

from collections.abc import Mapping

import keras
import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.interpret.backprop import DeconvNet, GuidedBackprop, GuidedGradCAM
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
from mnist_xai.interpret.expected import ExpectedGradients
from mnist_xai.interpret.explanation import Explanation
from mnist_xai.interpret.gradients import (
    Gradient,
    InputXGradient,
    IntegratedGradients,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)
from mnist_xai.interpret.lrp import LRP
from mnist_xai.interpret.method import Accounted, Complete, Method
from mnist_xai.interpret.network import Network, Score
from mnist_xai.interpret.paths import (
    BlurIntegratedGradients,
    GuidedIntegratedGradients,
)
from mnist_xai.interpret.perturbation import LIME, RISE, FeatureAblation, Occlusion
from mnist_xai.interpret.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus
from mnist_xai.interpret.sensitivity import HSIC, Sobol
from mnist_xai.interpret.shapley import ExactShapley, KernelSHAP, ShapleySampling

METHODS: Mapping[str, Method] = {
    "gradient": Gradient(),
    "input_x_gradient": InputXGradient(),
    "integrated_gradients": IntegratedGradients(),
    "smoothgrad": SmoothGrad(),
    "smoothgrad_squared": SmoothGradSquared(),
    "vargrad": VarGrad(),
    "expected_gradients": ExpectedGradients(),
    "blur_integrated_gradients": BlurIntegratedGradients(),
    "guided_integrated_gradients": GuidedIntegratedGradients(),
    "gradcam": GradCAM(),
    "gradcam_plus_plus": GradCAMPlusPlus(),
    "hirescam": HiResCAM(),
    "layercam": LayerCAM(),
    "scorecam": ScoreCAM(),
    "ablationcam": AblationCAM(),
    "eigencam": EigenCAM(),
    "guided_gradcam": GuidedGradCAM(),
    "guided_backprop": GuidedBackprop(),
    "deconvnet": DeconvNet(),
    "lrp_epsilon": LRP(),
    "lrp_gamma": LRP(Gamma(), Gamma()),
    "lrp_z_plus": LRP(ZPlus(), ZPlus()),
    "lrp_alpha_beta": LRP(AlphaBeta(), AlphaBeta()),
    "lrp_flat": LRP(first=Flat()),
    "lrp_w_square": LRP(first=WSquare()),
    "lrp_z_box": LRP(first=ZBox()),
    "epsilon_plus_flat": LRP(ZPlus(), Epsilon(), Flat()),
    "epsilon_gamma_box": LRP(Gamma(), Epsilon(), ZBox()),
    "epsilon_alpha2_beta1": LRP(AlphaBeta(2, 1), Epsilon()),
    "deep_taylor": LRP(ZPlus(), ZPlus(), ZBox()),
    "deeplift_rescale": DeepLIFT(),
    "deeplift_reveal_cancel": DeepLIFT("reveal_cancel"),
    "deep_shap": DeepSHAP(),
    "occlusion": Occlusion(),
    "feature_ablation": FeatureAblation(),
    "rise": RISE(),
    "lime": LIME(),
    "kernel_shap": KernelSHAP(),
    "shapley_sampling": ShapleySampling(),
    "exact_shapley": ExactShapley(),
    "sobol": Sobol(),
    "hsic": HSIC(),
}
"""Ready methods by name, in the order in which they are best learnt."""


def explain(
    model: keras.Model | Network,
    images: ArrayLike,
    method: str | Method = "integrated_gradients",
    targets: ArrayLike | None = None,
    *,
    score: Score = "logit",
) -> Explanation:
    """Explain why a classifier scores these images as it does.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: float `(N, H, W, C)` in [0, 1].
        method: One of `METHODS`, or a method with hyper-parameters of your own.
        targets: Integers `(N,)`, the classes to explain; by default the predicted ones.
        score: What is explained of them, `"logit"` or `"probability"`.

    Returns:
        The maps with scores, completeness residuals and warnings.

    Raises:
        TypeError, ValueError: For an unknown method, or images, targets or a score out of
            shape, type or range.
        UnsupportedLayerError: For a layer that the method cannot treat.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}; got {method!r}")
        method = METHODS[method]
    if score not in ("logit", "probability"):
        raise ValueError(f"score: expected logit or probability; got {score!r}")
    network = Network.of(model)
    checked = network.check_images(images)
    z = network.logits(checked)
    classes = network.check_targets(z.argmax(axis=1) if targets is None else targets, len(z))
    scores = np.asarray(network.score_of(z, classes, score))
    if isinstance(method, Accounted):
        maps, lost = method.account(network, checked, classes, score=score)
        return Explanation(maps, checked, classes, scores, score, method, scores, lost)
    maps = method(network, checked, classes, score=score)
    differences = None
    if isinstance(method, Complete):
        differences = scores - network.scores(method.baselines(checked), classes, score=score)
    return Explanation(maps, checked, classes, scores, score, method, differences)
