"""A contract that every registered method must keep, and closed forms of gradient methods."""

import dataclasses
import re
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import METHODS
from mnist_xai.interpret.methods.base import Complete, Method
from mnist_xai.interpret.methods.gradients.gradient import (
    QUADRATURES,
    Gradient,
    InputXGradient,
    IntegratedGradients,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)
from mnist_xai.interpret.methods.relevance.deeplift import DeepLIFT, DeepSHAP
from mnist_xai.interpret.methods.relevance.lrp import LRP
from tests.conftest import MODELS, shared_network

every_method = pytest.mark.parametrize("name", METHODS)

# The contract does not depend on the number of steps and samples, so a few are enough.
FEWER = {"steps": 8, "points": 2, "samples": 64, "permutations": 2, "designs": 4}


def quick(name):
    method = METHODS[name]
    given = {field.name for field in dataclasses.fields(method)}
    fewer = {key: value for key, value in FEWER.items() if key in given}
    if name in ("smoothgrad", "smoothgrad_squared", "vargrad", "deep_shap"):
        fewer["samples"] = 4
    return dataclasses.replace(method, **fewer)


# --- The contract ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explained(network, images):
    """Explain the images by each method once: several tests look at the same explanation."""
    return cache(lambda name: mx.explain(network, images, method=quick(name)))


@pytest.fixture(scope="module")
def in_fours(network):
    """The same model, with passes for batches of four images."""
    return mx.Network(network.model, batch_size=4)


@every_method
def test_maps_are_finite_float32_of_the_images_size_and_signed_as_promised(name, explained, images):
    maps = explained(name).maps
    assert maps.dtype == np.float32
    assert maps.shape[:3] == images.shape[:3]
    assert np.isfinite(maps).all()
    assert maps.any(axis=(1, 2, 3)).all()
    assert (maps.min() < 0) == METHODS[name].about.signed


@every_method
def test_maps_do_not_depend_on_the_batch_or_on_other_images(
    name, explained, network, in_fours, images
):
    whole = explained(name).maps
    split = mx.explain(in_fours, images, method=quick(name)).maps
    alone = mx.explain(network, images[3:4], method=quick(name)).maps
    # LRP's epsilon rule divides by outputs as small as 1e-6; their rounding depends on the batch.
    scale = np.abs(whole).max() * (1e-4 if isinstance(METHODS[name], LRP) else 1e-5)
    np.testing.assert_allclose(split, whole, atol=scale)
    np.testing.assert_allclose(alone[0], whole[3], atol=scale)


@every_method
def test_explaining_twice_gives_equal_maps(name, explained, network, images):
    second = mx.explain(network, images, method=quick(name)).maps
    np.testing.assert_array_equal(second, explained(name).maps)


@every_method
def test_another_class_gives_another_map_for_class_sensitive_methods(
    name, explained, network, images
):
    # One class is the predicted one: with a ReLU, the maps of two other classes may both be zero.
    first, predicted = explained(name).maps, explained(name).targets
    second = mx.explain(network, images, (predicted + 1) % 10, method=quick(name)).maps
    differ = np.abs(first - second).max() > 1e-3 * np.abs(first).max()
    assert differ == METHODS[name].about.class_sensitive


@every_method
def test_the_model_and_the_images_are_not_changed(name, network, images):
    weights, before = network.model.get_weights(), images.copy()
    mx.explain(network, images, method=quick(name))
    np.testing.assert_array_equal(images, before)
    for old, new in zip(weights, network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@every_method
def test_every_pass_is_traced_once_and_serves_every_call(name, in_fours, images):
    mx.explain(in_fours, images, method=quick(name))
    passes = in_fours.passes.traces()
    mx.explain(in_fours, images[:3], [1, 2, 3], method=quick(name))
    assert in_fours.passes.traces() == passes
    assert set(passes.values()) == {1}


# Models of conftest.py that a method must refuse, with the expected message.
REFUSED: dict[tuple[str, str], str] = {
    **{
        (name, kind): "none of its layers has outputs"
        for name, method in METHODS.items()
        for kind in ("dense", "softmax_layer", "softmax_activation", "softmax_operation")
        if method.about.family == "class activation map"
    },
    **{
        (name, kind): message
        for name in ("guided_backprop", "deconvnet", "guided_gradcam")
        for kind, message in (
            ("softmax_layer", "has no activation"),
            ("softmax_activation", "has no activation"),
            ("softmax_operation", "has no activation"),
        )
    },
    ("deconvnet", "nested"): r"backbone/shared:2 \(activation\): .* cannot treat this Activation",
}

# Maps that are zero by definition: all channels of the layer are negative on average, and these
# methods add them up with positive weights before a ReLU.
ZERO = {(name, "residual") for name in ("gradcam_plus_plus", "layercam", "scorecam", "ablationcam")}
# The gradient of a network without a hidden layer is constant, so its variance is zero.
ZERO |= {("vargrad", f"softmax_{kind}") for kind in ("layer", "activation", "operation")}


# LRP's presets differ in their rules, not in how they go through a network. Two of them meet every
# kind of model; the others meet the case study's, and those with branches and normalisation.
PAIRS = [
    (name, kind)
    for kind in MODELS
    for name, method in METHODS.items()
    if not isinstance(method, LRP)
    or name in ("lrp_epsilon", "lrp_alpha_beta")
    or kind in ("cnn", "residual", "nested")
    or (name, kind) in REFUSED
]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_every_kind_of_model_is_explained_or_refused_with_the_name_of_a_layer(name, kind, images):
    network = shared_network(kind)
    if (name, kind) in REFUSED:
        with pytest.raises(mx.UnsupportedLayerError, match=REFUSED[name, kind]):
            mx.explain(network, images[:2], method=quick(name))
        return
    explanation = mx.explain(network, images[:2], method=quick(name))
    assert np.isfinite(explanation.maps).all()
    assert explanation.maps.any() == ((name, kind) not in ZERO)
    assert explanation.maps.any() or "zero everywhere" in explanation.warnings[0]
    # These sums are exact by definition. Mixed precision has 8 bits, which are good for 1 %.
    if isinstance(METHODS[name], LRP | DeepLIFT | DeepSHAP):
        given = [np.abs(explanation.differences), np.abs(explanation.maps).sum(axis=(1, 2, 3))]
        whole = np.max([*given, *map(np.abs, explanation.absorbed.values())], axis=0)
        share = np.abs(explanation.residuals) / whole
        assert share.max() < (0.02 if kind == "mixed_precision" else 1e-4)


@every_method
def test_the_probability_gets_another_map_than_the_logit_for_class_sensitive_methods(
    name, explained, network, images
):
    logit = explained(name)
    probability = mx.explain(network, images, method=quick(name), score="probability")
    differ = np.abs(logit.maps - probability.maps).max() > 0
    assert differ == METHODS[name].about.class_sensitive
    p = network.probabilities(images).max(axis=1)
    np.testing.assert_allclose(probability.scores, p, atol=1e-6)


@every_method
def test_every_method_describes_itself_and_is_hashable_and_comparable(name, network):
    method = METHODS[name]
    assert isinstance(method, Method)
    assert method.about.shows
    assert method.about.caveat
    assert method.passes(network) >= 1
    assert type(method).__doc__
    twin = dataclasses.replace(method)
    assert method == twin
    assert hash(method) == hash(twin)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if isinstance(m, Complete)])
def test_maps_of_complete_methods_sum_to_the_difference_of_scores_within_1_percent(
    name, network, images
):
    explanation = mx.explain(network, images, method=name)
    share = np.abs(explanation.residuals) / np.abs(explanation.differences)
    assert share.max() < 0.01


# --- Closed forms ------------------------------------------------------------------------


@pytest.fixture
def quadratic():
    """`S_c(x) = Σ_i w_ci x_i²`, whose gradients and integrals are known."""
    w = np.random.default_rng(3).normal(size=(3, 16)).astype("f")
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, keras.ops.matmul(layers.Flatten()(image) ** 2, w.T))
    return model, w.reshape(3, 4, 4, 1)


@pytest.fixture
def points():
    return np.random.default_rng(4).random((3, 4, 4, 1), np.float32)


def run(method, model, points, targets=(0, 1, 2)):
    return mx.explain(model, points, list(targets), method=method).maps


def test_gradient_and_input_x_gradient_of_a_quadratic_equal_their_closed_forms(quadratic, points):
    model, w = quadratic
    np.testing.assert_allclose(run(Gradient(), model, points), 2 * w * points, atol=1e-5)
    np.testing.assert_allclose(run(InputXGradient(), model, points), 2 * w * points**2, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 64])
def test_integrated_gradients_of_a_quadratic_are_exact(quadratic, points, steps):
    model, w = quadratic
    found = run(IntegratedGradients(steps=steps), model, points)
    np.testing.assert_allclose(found, w * points**2, atol=1e-5)
    found = run(IntegratedGradients(steps=steps, baseline=0.5), model, points)
    np.testing.assert_allclose(found, w * (points**2 - 0.25), atol=1e-5)


def test_quadratures_integrate_the_exponential_and_their_exact_polynomials():
    for name, rule in QUADRATURES.items():
        nodes, weights = rule(50)
        assert weights.sum() == pytest.approx(1)
        assert 0 <= nodes.min() <= nodes.max() <= 1
        assert weights @ np.exp(nodes) == pytest.approx(np.e - 1, rel=0.02), name
    nodes, weights = QUADRATURES["gauss_legendre"](5)
    assert weights @ nodes**9 == pytest.approx(0.1, abs=1e-15)  # Exact to degree 2n - 1.
    nodes, weights = QUADRATURES["trapezoid"](3)
    np.testing.assert_allclose(weights, [0.25, 0.5, 0.25])


def test_on_a_linear_network_all_methods_agree(points):
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(3)])
    w = model.layers[-1].get_weights()[0].T.reshape(3, 4, 4, 1)
    for method in (Gradient(), SmoothGrad(samples=3)):
        np.testing.assert_allclose(run(method, model, points), w, atol=1e-6)
    for method in (InputXGradient(), IntegratedGradients(), SmoothGrad(InputXGradient(), sigma=0)):
        np.testing.assert_allclose(run(method, model, points), w * points, atol=1e-6)
    np.testing.assert_allclose(run(SmoothGradSquared(samples=3), model, points), w**2, atol=1e-6)
    np.testing.assert_allclose(run(VarGrad(samples=3), model, points), 0, atol=1e-6)


def test_smoothgrad_with_one_noiseless_sample_is_the_gradient(network, images):
    expected = mx.explain(network, images, method="gradient").maps
    found = mx.explain(network, images, method=SmoothGrad(samples=1, sigma=0)).maps
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_smoothgrad_its_square_and_vargrad_equal_statistics_over_the_noisy_copies(network, images):
    method = SmoothGrad(samples=4, sigma=0.2, seed=7)
    noise = np.random.default_rng(7).standard_normal((4, 28, 28, 1), np.float32) * 0.2
    maps = [network.gradient(images + e, [3] * 5)[0] for e in noise]
    scale = np.abs(maps).max()
    found = mx.explain(network, images, [3] * 5, method=method).maps
    np.testing.assert_allclose(found, np.mean(maps, axis=0), atol=1e-5 * scale)
    squared = mx.explain(
        network, images, [3] * 5, method=SmoothGradSquared(samples=4, sigma=0.2, seed=7)
    )
    np.testing.assert_allclose(squared.maps, np.square(maps).mean(axis=0), atol=1e-5 * scale**2)
    variance = mx.explain(network, images, [3] * 5, method=VarGrad(samples=4, sigma=0.2, seed=7))
    np.testing.assert_allclose(variance.maps, np.var(maps, axis=0), atol=1e-5 * scale**2)


def test_smoothgrad_equals_tf_keras_vis_with_the_same_noise(cnn, images):
    """The noise of tf-keras-vis cannot be set, so its Saliency explains each of our copies."""
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    oracle = Saliency(cnn, model_modifier=ReplaceToLinear(), clone=True)
    noise = np.random.default_rng(0).standard_normal((3, 28, 28, 1), np.float32) * 0.15
    with pytest.warns(UserWarning, match="structure of `inputs`"):
        maps = [
            oracle(CategoricalScore([2] * 5), tf.constant(images + e), keepdims=True,
                   normalize_map=False, gradient_modifier=lambda g: g)
            for e in noise
        ]  # fmt: skip
    found = mx.explain(cnn, images, [2] * 5, method=SmoothGrad(samples=3)).maps
    np.testing.assert_allclose(found, np.mean(maps, axis=0), atol=1e-5 * np.abs(found).max())


def test_vargrad_of_a_constant_gradient_is_exactly_zero(images):
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(3)])
    model.set_weights([1000 * w for w in model.get_weights()])
    assert not mx.explain(model, images, method=VarGrad(samples=7)).maps.any()


# --- The explanation ---------------------------------------------------------------------


def test_an_explanation_as_text_names_method_score_and_residual(network, images):
    text = str(mx.explain(network, images, method="integrated_gradients"))
    assert text.startswith(
        "integrated_gradients: 5 maps of the logit of the target classes, by Int"
    )
    assert "IntegratedGradients(steps=256, quadrature='gauss_legendre'" in text
    assert re.search(r"difference from the baseline; the maps miss 0\.\d\d% of it \(median\)", text)
    assert "1 map of" in str(mx.explain(network, images[:1], method="integrated_gradients"))
    assert mx.explain(network, images, method="gradient").residuals is None


def test_progress_is_shown_and_an_interrupt_leaves_the_weights_unchanged(
    cnn, images, capsys, monkeypatch
):
    network = mx.Network(cnn, batch_size=2)
    shown = mx.explain(network, images, method="gradient", progress=True)
    assert "5/5" in capsys.readouterr().out
    hidden = mx.explain(network, images, method="gradient")
    assert not capsys.readouterr().out
    np.testing.assert_array_equal(shown.maps, hidden.maps)

    def interrupt(bar, current):
        raise KeyboardInterrupt

    weights = cnn.get_weights()
    monkeypatch.setattr(keras.utils.Progbar, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        mx.explain(network, images, method="integrated_gradients", progress=True)
    for old, new in zip(weights, cnn.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_maps_of_zeros_cause_a_warning(network):
    explanation = mx.explain(
        network, np.zeros((2, 28, 28, 1), np.float32), method="input_x_gradient"
    )
    assert explanation.warnings == ["The maps of images 0, 1 are zero everywhere."]


def test_too_few_steps_cause_a_warning_about_the_sum(network, images):
    explanation = mx.explain(network, images, method=IntegratedGradients(steps=1, baseline=0.9))
    assert "more than 1% of what" in explanation.warnings[0]


def test_an_explanation_is_plotted_as_images_maps_and_a_colour_bar(network, images):
    figure = mx.explain(network, images, method="gradient").plot()
    assert len(figure.axes) == 11


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, x: mx.explain(m, x, method="magic"),
            "method: expected one of gradient, .*; got 'magic'",
        ),
        (
            lambda m, x: mx.explain(m, x, score="loss"),
            "score: expected logit, prob",
        ),
        (lambda m, x: mx.explain(m, x * 2), r"images: expected values in \[0, 1\]"),
        (lambda m, x: mx.explain(m, x, targets=[1]), "targets: expected 5 integers"),
        (lambda *_: IntegratedGradients(steps=0), "steps: expected at least 1; got 0"),
        (lambda *_: IntegratedGradients(1, "trapezoid"), "steps: expected at least 2; got 1"),
        (lambda *_: IntegratedGradients(quadrature="simpson"), "quadrature: expected one of"),
        (lambda *_: IntegratedGradients(baseline=2), r"baseline: expected a pixel in \[0, 1\]"),
        (lambda *_: SmoothGrad(samples=0), "samples: expected at least 1; got 0"),
        (lambda *_: VarGrad(sigma=-1), "sigma: expected at least 0; got -1"),
    ],
)
def test_bad_input_is_refused(network, images, call, message):
    with pytest.raises(ValueError, match=message):
        call(network, images)
