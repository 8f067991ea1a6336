"""Our maps against those of Captum, Zennit and SHAP: see `tests/references/README.md`."""

import numpy as np
import pytest
import tensorflow as tf

import mnist_xai as mx
from mnist_xai.interpret import (
    Background,
    DeepSHAP,
    ExactShapley,
    FeatureAblation,
    GuidedGradCAM,
    IntegratedGradients,
    Occlusion,
    Patches,
    Segmentation,
    expected_gradients_over,
    internal_influence,
    layer_conductance,
    neuron_gradient,
)
from mnist_xai.interpret.methods.relevance.lrp import LRP
from mnist_xai.interpret.methods.relevance.rules import AlphaBeta, Epsilon, Flat, ZPlus
from tests.references import networks, reference, roundoff


class Peers:
    """One network with images and targets, and the other libraries' values for it."""

    def __init__(self, name):
        self.name = name
        model, self.images, self.targets, self.baselines = networks.case(name)
        self.network = mx.Network(model)

    def maps(self, method):
        return mx.explain(self.network, self.images, self.targets, method=method).maps

    def reference(self, library, key):
        return reference(library, self.name, key)

    def agree(self, found, library, key, share=None, undecided=False, ties=0.0):
        """`found` is the reference to within a share of its largest value: rounding by default.

        Places that are `undecided` may differ, and a fraction `ties` of the others.
        """
        share = share or self.network.runner.rounding
        expected = self.reference(library, key)
        assert found.shape == expected.shape
        assert np.abs(expected).max() > 0
        assert roundoff(library, self.name, key) < share  # Or the comparison would mean nothing.
        kept = ~np.broadcast_to(undecided, found.shape)
        limit = share * np.abs(expected).max()
        if ties:
            assert np.mean(np.abs(found - expected)[kept] > limit) <= ties
        else:
            np.testing.assert_allclose(found[kept], expected[kept], rtol=0, atol=limit)

    def undecided(self, gradients):
        """Places whose gradients jump when the pixels change by no more than rounding.

        A ReLU near zero, or two near equals in a pooling window, are decided by the last digit,
        and so by the processor. Elsewhere the gradients of a piecewise linear network stay put.

        Args:
            gradients: Images to gradients of logits or units.
        """
        found, jumps = gradients(self.images), False
        for seed in range(2):
            noise = np.random.default_rng(seed).uniform(-1, 1, self.images.shape)
            near = self.images * (1 + self.network.runner.rounding * noise)
            change = np.abs(gradients(np.float32(np.clip(near, 0, 1))) - found)
            jumps = jumps | (change > self.network.runner.rounding * np.abs(found).max())
        assert jumps.mean() <= 1e-3  # They are few, or nothing would be compared.
        return jumps


@pytest.fixture(scope="module", params=networks.CASES)
def peers(request):
    return Peers(request.param)


# --- The networks are the ones that the references were made for -------------------------


@pytest.mark.parametrize("library", ["captum", "zennit", "shap"])
def test_the_references_are_for_the_same_logits(peers, library):
    peers.agree(peers.network.logits(peers.images), library, "logits")


# --- Our methods -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("gradient", "saliency"),
        ("input_x_gradient", "input_x_gradient"),
        (IntegratedGradients(steps=64), "integrated_gradients"),
        ("guided_backprop", "guided_backprop"),
        ("deconvnet", "deconvolution"),
        ("deeplift_rescale", "deeplift"),
    ],
)
def test_maps_equal_captums(peers, method, key):
    peers.agree(peers.maps(method), "captum", key)


@pytest.mark.parametrize(
    ("method", "key"),
    [
        (Occlusion(4, 2), "occlusion_4_2"),
        (Occlusion(5, 3), "occlusion_5_3"),
        (FeatureAblation(Patches(4)), "feature_ablation"),
    ],
)
def test_places_have_the_value_of_captums_channels(peers, method, key):
    maps = np.broadcast_to(peers.maps(method), peers.images.shape)
    peers.agree(maps, "captum", key)


def test_deep_lift_over_baselines_equals_captums_and_shaps(peers):
    explanation = mx.explain(
        peers.network, peers.images, peers.targets, method=DeepSHAP(Background(peers.baselines))
    )
    maps = explanation.maps
    assert (
        np.abs(explanation.residuals / explanation.differences).max()
        < peers.network.runner.rounding
    )
    peers.agree(maps, "captum", "deeplift_shap")
    peers.agree(maps, "shap", "deep_explainer")


def test_deeplift_of_a_batch_is_that_of_its_images():
    """Captum takes the first image's gradient for all where a pool's input does not differ."""
    edges = Peers("edges")
    edges.agree(edges.maps("deeplift_rescale"), "captum", "deeplift")


UNIT = {"cnn": ("conv2", (3, 4, 5)), "residual": ("conv2", (8, 10, 4)), "colour": ("dense", (4,))}
LAYERS = {"cnn": ("conv2", "dense"), "residual": ("pool", "dense"), "colour": ("conv2", "dense")}


def test_neuron_gradients_equal_captums(peers):
    def gradients(images):
        return neuron_gradient(peers.network, images, *UNIT[peers.name])

    found, undecided = gradients(peers.images), peers.undecided(gradients)
    peers.agree(found, "captum", "neuron_gradient", undecided=undecided)


@pytest.mark.parametrize("which", [0, 1])
def test_influence_and_conductance_of_a_layer_equal_captums(peers, which):
    layer = LAYERS[peers.name][which]

    arguments = peers.network, peers.images, layer, peers.targets
    influence = internal_influence(*arguments)
    conductance = layer_conductance(*arguments, differences="forward")
    for found, key in ((influence, "internal_influence"), (conductance, "conductance")):
        # Two places of a black background tie in their pooling window at every step of the path,
        # and the order of a sum decides between them.
        peers.agree(found, "captum", f"{key}_{layer}", ties=1e-3)


def test_guided_gradcam_equals_captums(peers):
    for layer in {"cnn": ["conv2", "pool2"], "residual": ["pool"], "colour": ["pool"]}[peers.name]:
        peers.agree(peers.maps(GuidedGradCAM(layer)), "captum", f"guided_grad_cam_{layer}")


def test_exact_shapley_values_equal_shaps():
    """Eight patches, 4 pixels high and 8 wide, of the colour network's images."""
    colour = Peers("colour")
    patches = np.arange(16)[:, None] // 4 * 2 + np.arange(16)[None] // 8
    maps = colour.maps(ExactShapley(Segmentation(patches)))
    values = [[m[patches == k].sum() for k in range(8)] for m in maps]
    colour.agree(np.float32(values), "shap", "exact_shapley")


def test_the_trapezoid_is_captums_when_its_weights_sum_to_one(peers):
    """Captum's 64 weights of 1/64, halved at the ends, sum to 63/64."""
    maps = peers.maps(IntegratedGradients(steps=64, quadrature="trapezoid"))
    peers.agree(maps * np.float32(63 / 64), "captum", "integrated_gradients_trapezoid")


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("lrp_epsilon", "epsilon"),
        (LRP(Epsilon(0.25), Epsilon(0.25)), "epsilon_0.25"),
        ("lrp_z_plus", "z_plus"),
        ("lrp_alpha_beta", "alpha2_beta1"),
        ("lrp_gamma", "gamma"),
        ("lrp_flat", "first_flat"),
        ("lrp_w_square", "first_w_square"),
        ("lrp_z_box", "first_z_box"),
        (LRP(ZPlus(), Epsilon()), "epsilon_plus"),
        ("epsilon_plus_flat", "epsilon_plus_flat"),
        ("epsilon_gamma_box", "epsilon_gamma_box"),
        ("epsilon_alpha2_beta1", "epsilon_alpha2_beta1"),
        (LRP(AlphaBeta(), Epsilon(), Flat()), "epsilon_alpha2_beta1_flat"),
    ],
    ids=lambda value: value if isinstance(value, str) else "composed",
)
def test_relevance_equals_zennits(peers, method, key):
    peers.agree(peers.maps(method), "zennit", key)


def test_expected_gradients_equal_captums_with_its_draws(peers):
    rows, alphas = (peers.reference("captum", f"gradient_shap_{k}") for k in ("rows", "alphas"))
    draws = peers.baselines[rows.astype(int)], alphas
    maps = expected_gradients_over(peers.network, peers.images, peers.targets, *draws)
    peers.agree(maps, "captum", "gradient_shap")


@pytest.mark.parametrize("stage", [0, 1])
def test_the_gradient_at_a_layer_gives_captums_gradcam(peers, stage):
    layer = {"cnn": ("conv2", "pool2"), "residual": ("relu3", "pool"), "colour": ("conv2", "pool")}
    layer = layer[peers.name][stage]
    a, slope, _ = peers.network.layer_gradient(peers.images, peers.targets, layer)
    cam = (slope.mean(axis=(1, 2), keepdims=True) * a).sum(axis=-1, keepdims=True)
    peers.agree(cam, "captum", f"grad_cam_signed_{layer}")
    peers.agree(np.maximum(cam, 0), "captum", f"grad_cam_{layer}")


# --- The references hold each other up ---------------------------------------------------


def test_captum_and_zennit_agree_where_they_do_the_same(peers):
    peers.agree(peers.reference("zennit", "guided_backprop"), "captum", "guided_backprop")
    peers.agree(peers.reference("zennit", "deconvnet"), "captum", "deconvolution")
    # With ReLU as the only non-linearity LRP-0 is input times gradient, biases or not; epsilon
    # is 1e-6, and a few units are so small that it shows.
    epsilon = peers.reference("zennit", "epsilon")
    peers.agree(epsilon, "captum", "input_x_gradient", share=1e-2)


def test_guided_gradcam_upsamples_as_tensorflow_does(peers):
    for layer in {"cnn": ["conv2", "pool2"], "residual": ["pool"], "colour": ["pool"]}[peers.name]:
        cam = peers.reference("captum", f"grad_cam_{layer}")
        upsampled = tf.image.resize(cam, peers.images.shape[1:3]).numpy()
        guided = peers.reference("captum", "guided_backprop")
        peers.agree(guided * upsampled, "captum", f"guided_grad_cam_{layer}")


def test_captums_deeplift_agrees_with_shap_when_its_pools_are_repaired(peers):
    peers.agree(peers.reference("captum", "deeplift_shap"), "shap", "deep_explainer")
    sums = peers.reference("shap", "deep_explainer").sum(axis=(1, 2, 3))
    peers.agree(sums, "shap", "deep_explainer_difference")


@pytest.mark.parametrize("name", ["cnn", "colour"])
def test_captums_deeplift_is_wrong_where_a_pool_follows_a_relu(name):
    difference = reference("shap", name, "deep_explainer_difference")
    sums = reference("captum", name, "deeplift_shap_as_is").sum(axis=(1, 2, 3))
    assert np.abs(sums - difference).max() > 0.2 * np.abs(difference).max()
    right, wrong = (reference("captum", name, k) for k in ("deeplift", "deeplift_as_is"))
    assert np.abs(right - wrong).max() > 0.1 * np.abs(right).max()


def test_captums_deeplift_of_a_batch_is_wrong_but_for_its_first_image():
    alone, batched = (reference("captum", "edges", k) for k in ("deeplift", "deeplift_batched"))
    np.testing.assert_array_equal(batched[0], alone[0])
    assert (np.abs(batched - alone)[1:].max(axis=(1, 2, 3)) > 0.01).all()
    sums = [maps.sum(axis=(1, 2, 3)) for maps in (alone, batched)]
    np.testing.assert_allclose(*sums, atol=1e-6)  # Completeness does not see it.


def test_exact_shapley_values_sum_to_what_the_patches_do_together():
    name, peers = "colour", Peers("colour")
    black = peers.network.scores(0 * peers.images, peers.targets)
    difference = peers.network.scores(peers.images, peers.targets) - black
    sums = reference("shap", name, "exact_shapley").sum(axis=1)
    np.testing.assert_allclose(sums, difference, atol=1e-6)
