"""Every method by name, and the door that takes a name."""

from collections.abc import Mapping
from difflib import get_close_matches

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.core.inputs import Array, Score, check_score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.runner import score_of
from mnist_xai.interpret.methods.base import Complete, Conservative, Method
from mnist_xai.interpret.methods.cam.cam import (
    AblationCAM,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
)
from mnist_xai.interpret.methods.explanation import Explanation
from mnist_xai.interpret.methods.gradients.expected import ExpectedGradients
from mnist_xai.interpret.methods.gradients.gradient import (
    Gradient,
    InputXGradient,
    IntegratedGradients,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)
from mnist_xai.interpret.methods.gradients.paths import (
    BlurIntegratedGradients,
    GuidedIntegratedGradients,
)
from mnist_xai.interpret.methods.perturbation.ablation import LIME, RISE, FeatureAblation, Occlusion
from mnist_xai.interpret.methods.perturbation.sensitivity import HSIC, Sobol
from mnist_xai.interpret.methods.perturbation.shapley import (
    ExactShapley,
    KernelSHAP,
    ShapleySampling,
)
from mnist_xai.interpret.methods.relevance.backprop import DeconvNet, GuidedBackprop, GuidedGradCAM
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


def method_named(name: str) -> Method:
    """The method of this name.

    Raises:
        ValueError: When there is none; says which names are like it.
    """
    if name not in METHODS:
        word = name.lower().replace("-", "_")
        near = [*get_close_matches(word, METHODS), *(n for n in METHODS if word and word in n)]
        if not near:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}; got {name!r}")
        meant = " or ".join(dict.fromkeys(near[:5]))
        raise ValueError(f"method: there is no {name!r}; did you mean {meant}?")
    return METHODS[name]


def explain(
    model: keras.Model | Network,
    images: ArrayLike,
    method: str | Method = "integrated_gradients",
    targets: ArrayLike | None = None,
    *,
    score: Score = "logit",
    progress: bool = False,
) -> Explanation:
    """Explain why a classifier scores these images as it does.

    Args:
        model: A Keras classifier, or a `Network` made of it.
        images: float `(N, H, W, C)` in [0, 1].
        method: One of `METHODS`, or a method with hyper-parameters of your own.
        targets: Integers `(N,)`, the classes to explain; by default the predicted ones.
        score: What is explained of them, `"logit"` or `"probability"`.
        progress: Whether to show how many images are done.

    Returns:
        The maps with scores, completeness residuals and warnings.

    Raises:
        TypeError, ValueError: For an unknown method, or images, targets or a score out of
            shape, type or range.
        UnsupportedLayerError: For a layer that the method cannot treat.
    """
    if isinstance(method, str):
        method = method_named(method)
    named = [name for name, known in METHODS.items() if known == method]
    check_score(score)
    network = Network.of(model)
    checked = network.inputs.check_images(images)
    z = network.logits(checked)
    classes = network.inputs.check_targets(z.argmax(axis=1) if targets is None else targets, len(z))
    scores = np.asarray(score_of(z, classes, score))
    bar = keras.utils.Progbar(len(z), unit_name="image") if progress else None
    maps: list[Array] = []
    promises: list[Array] = []
    losses: list[dict[str, Array]] = []
    for rows in network.chunks(len(z)):
        given = checked[rows], classes[rows], scores[rows]
        made, promised, absorbed = _explain_chunk(network, method, *given, score)
        maps.append(made)
        promises += [] if promised is None else [promised]
        losses.append(absorbed)
        if bar:
            bar.add(len(made))
    return Explanation(
        np.concatenate(maps),
        checked,
        classes,
        scores,
        score,
        method,
        named[0] if named else type(method).__name__,
        np.concatenate(promises) if promises else None,
        {name: np.concatenate([absorbed[name] for absorbed in losses]) for name in losses[0]},
    )


def _explain_chunk(
    network: Network,
    method: Method,
    images: Array,
    targets: NDArray[np.int32],
    scores: Array,
    score: Score,
) -> tuple[Array, Array | None, dict[str, Array]]:
    """The maps, what they promise to sum to, and what of it is absorbed by name."""
    if isinstance(method, Conservative):
        maps, absorbed = method.explain_and_absorb(network, images, targets, score=score)
        return maps, scores, absorbed
    maps = method(network, images, targets, score=score)
    if not isinstance(method, Complete):
        return maps, None, {}
    return maps, scores - network.scores(method.baselines(images), targets, score=score), {}
