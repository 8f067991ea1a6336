from itertools import permutations

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.methods.perturbation.features import Grid, Pixels, Segmentation
from mnist_xai.interpret.methods.perturbation.kernel_shap import KernelSHAP
from mnist_xai.interpret.methods.perturbation.shapley import ExactShapley, ShapleySampling

METHODS = [ExactShapley, KernelSHAP, ShapleySampling]
every_method = pytest.mark.parametrize("method", METHODS)


def run(method, model, points, targets):
    return mx.explain(model, points, list(targets), method=method).maps


@pytest.fixture
def games():
    """Two scores of four pixels: `x_0 x_1 + x_2`, and the product of all."""
    image = keras.Input((2, 2, 1))
    x = [layers.Flatten()(image)[:, k : k + 1] for k in range(4)]
    scores = [x[0] * x[1] + x[2], x[0] * x[1] * x[2] * x[3]]
    return keras.Model(image, layers.Concatenate()(scores))


@pytest.fixture
def sparse():
    """Images with black features; which and how many differs between images."""
    images = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    images[0, :12] = images[1, :, 16:] = images[2, 4:] = 0
    return images


@every_method
def test_values_of_a_linear_network_are_the_terms_of_its_sum(method):
    model = keras.Sequential([keras.Input((2, 3, 2)), layers.Flatten(), layers.Dense(3)])
    w = model.layers[-1].get_weights()[0].T.reshape(3, 2, 3, 2)
    points = np.random.default_rng(4).random((3, 2, 3, 2), np.float32)
    found = run(method(Pixels(), baseline=0.5), model, points, (0, 1, 2))
    expected = (w * (points - 0.5)).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_factors_of_a_product_share_its_value_equally(games):
    x = np.random.default_rng(1).random((2, 2, 2, 1), np.float32)
    (a, b, c, _), product = x[0].ravel(), x[1].prod()
    expected = [[a * b / 2, a * b / 2, c, 0], [product / 4] * 4]
    for method in (ExactShapley(Pixels()), KernelSHAP(Pixels())):
        found = run(method, games, x, (0, 1)).reshape(2, 4)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    # The first score has one interaction, of two players: an order and its reverse suffice.
    pair = ShapleySampling(Pixels(), permutations=2)
    np.testing.assert_allclose(run(pair, games, x, (0, 1)).reshape(2, 4)[0], expected[0], atol=1e-6)
    many = ShapleySampling(Pixels(), permutations=2000)
    np.testing.assert_allclose(run(many, games, x, (0, 1)).reshape(2, 4), expected, atol=0.02)


def test_all_methods_equal_the_mean_over_all_orders(network, images):
    """The segmentation has six features of unequal size, so there are 720 orders."""
    mask = np.random.default_rng(7).choice(6, (28, 28), p=[0.1, 0.1, 0.1, 0.2, 0.2, 0.3])
    x, target = images[0], 4

    def value(coalition):
        kept = np.isin(mask, list(coalition))[..., np.newaxis]
        return network.scores(np.where(kept, x, np.float32(0.2))[None], [target])[0]

    values = {}
    phi = np.zeros(6)
    for order in permutations(range(6)):
        for k, feature in enumerate(order):
            before, after = frozenset(order[:k]), frozenset(order[: k + 1])
            for coalition in (before, after):
                if coalition not in values:
                    values[coalition] = value(coalition)
            phi[feature] += (values[after] - values[before]) / 720
    expected = (phi / np.bincount(mask.ravel()))[mask]
    features = Segmentation(mask)
    for method in (ExactShapley(features, 0.2), KernelSHAP(features, 62, 0.2)):
        found = run(method, network, x[None], [target])[0, ..., 0]
        np.testing.assert_allclose(found, expected, atol=1e-7)
    sampled = run(ShapleySampling(features, 600, baseline=0.2), network, x[None], [target])
    assert np.abs(sampled[0, ..., 0] - expected).max() < 0.1 * np.abs(expected).max()


def test_sampled_values_are_close_to_the_exact_values_but_not_equal(network, images):
    exact = run(ExactShapley(Grid(3)), network, images, range(5))
    for method in (KernelSHAP(Grid(3), samples=400), ShapleySampling(Grid(3), permutations=200)):
        found = run(method, network, images, range(5))
        assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()
        assert np.abs(found - exact).max() > 1e-5


@every_method
def test_black_features_get_zero_and_the_others_sum_to_the_difference(method, network, sparse):
    method = method() if method is not ExactShapley else ExactShapley(Grid(3))
    explanation = mx.explain(network, sparse, method=method)
    labels = method.features.labels(28, 28)
    for image, values in zip(sparse, explanation.maps, strict=True):
        black = [k for k in range(labels.max() + 1) if not image[labels == k].any()]
        assert bool(black) == (not image.all())
        np.testing.assert_allclose(values[np.isin(labels, black)], 0, atol=1e-12)
    np.testing.assert_allclose(explanation.residuals, 0, atol=1e-5)


@every_method
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_values_sum_to_the_difference_from_any_baseline(method, network, images, score):
    method = method(Grid(3), baseline=0.7)
    explanation = mx.explain(network, images, method=method, score=score)
    assert np.abs(explanation.differences).max() > 1e-3
    np.testing.assert_allclose(explanation.residuals, 0, atol=1e-5)


@every_method
def test_features_with_equal_influence_get_equal_values(method):
    image = keras.Input((1, 3, 1))
    model = keras.Model(
        image, layers.Concatenate()([layers.Flatten()(image) ** 2, layers.GlobalMaxPool2D()(image)])
    )
    x = np.array([0.5, 0.5, 0.1], np.float32).reshape(1, 1, 3, 1)
    found = run(method(Pixels()), model, x, [3]).ravel()
    # Of the maximum 0.5, three pixels share 0.1 and two share 0.4.
    tolerance = 0.15 if method is ShapleySampling else 1e-6
    np.testing.assert_allclose(found, [7 / 30, 7 / 30, 1 / 30], atol=tolerance)


@every_method
def test_a_single_feature_gets_the_whole_difference_and_a_black_one_gets_zero(
    method, network, images
):
    x = images[:2].copy()
    x[1] = 0
    explanation = mx.explain(network, x, method=method(Grid(1)))
    expected = [explanation.differences[0] / 784, 0]
    np.testing.assert_allclose(explanation.maps[:, 3, 4, 0], expected, atol=1e-6)


def test_kernel_shap_does_not_depend_on_neighbours_with_other_black_features(network, sparse):
    whole = run(KernelSHAP(), network, sparse, range(4))
    for i in range(4):
        alone = run(KernelSHAP(), network, sparse[i : i + 1], [i])[0]
        np.testing.assert_allclose(alone, whole[i], atol=1e-5 * np.abs(whole).max())


def test_kernel_shap_does_not_depend_on_how_images_are_split_into_blocks(
    network, sparse, monkeypatch
):
    from mnist_xai.interpret.methods.perturbation import kernel_shap

    whole = run(KernelSHAP(samples=40), network, sparse, range(4))
    monkeypatch.setattr(kernel_shap, "PAIRS", 90)  # Two images at a time.
    found = run(KernelSHAP(samples=40), network, sparse, range(4))
    np.testing.assert_allclose(found, whole, atol=1e-5 * np.abs(whole).max())


def test_kernel_shap_solves_its_weighted_least_squares():
    """The expected values come from Lagrange multipliers, for sampled sets of ten players."""
    from mnist_xai.interpret.methods.perturbation.kernel_shap import _Regression

    sets, weights = KernelSHAP(seed=3).coalitions(10, 200)
    game = _Regression.of(sets, weights)
    v = np.random.default_rng(0).normal(size=len(sets) + 2)
    z, y, gap = sets.astype(float), v[1:-1] - v[0], v[-1] - v[0]
    system = np.zeros((11, 11))
    system[:10, :10] = z.T @ (weights[:, None] * z)
    system[10, :10] = system[:10, 10] = 1
    expected = np.linalg.solve(system, [*(z.T @ (weights * y)), gap])[:10]
    np.testing.assert_allclose(game.values(v), expected, atol=1e-8)


def test_kernel_shap_draws_sizes_with_the_kernels_probabilities_and_each_set_with_its_complement():
    sets, counts = KernelSHAP().coalitions(16, 20_000)
    assert counts.sum() == 20_000
    drawn = {tuple(s): c for s, c in zip(sets.tolist(), counts, strict=True)}
    assert all(drawn[tuple(not k for k in s)] == c for s, c in drawn.items())
    sizes = np.arange(1, 16)
    shares = np.bincount(sets.sum(axis=1), counts, 16)[1:] / 20_000
    expected = 1 / (sizes * (16 - sizes))
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.01)


def test_orders_come_in_reversed_pairs_only_if_antithetic():
    orders = ShapleySampling(permutations=6).orders(9)
    np.testing.assert_array_equal(orders[::2], orders[1::2, ::-1])
    plain = ShapleySampling(permutations=5, antithetic=False).orders(9)
    assert len(np.unique(plain, axis=0)) == 5
    np.testing.assert_array_equal(np.sort(plain), np.tile(np.arange(9), (5, 1)))


def test_the_number_of_passes_follows_from_the_definition(network):
    assert ExactShapley().passes(network) == 512
    assert ShapleySampling(permutations=4).passes(network) == 4 * 48 + 2
    assert KernelSHAP(samples=100).passes(network) == 102


def test_too_many_features_for_exact_values_are_refused_with_their_cost(network, images):
    message = r"features: expected at most 16, .* 25 of them take 2\^25 = 33,554,432 passes"
    with pytest.raises(ValueError, match=message):
        mx.explain(network, images, method=ExactShapley(Grid(5)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ExactShapley(baseline=2), r"baseline: expected a pixel in \[0, 1\]; got 2"),
        (lambda: KernelSHAP(samples=0), "samples: expected at least 2; got 0"),
        (lambda: KernelSHAP(samples=7), "samples: expected an even number; got 7"),
        (lambda: KernelSHAP(baseline=-1), "baseline: expected a pixel"),
        (lambda: ShapleySampling(permutations=0), "permutations: expected at least 2; got 0"),
        (lambda: ShapleySampling(permutations=3), "permutations: expected an even number"),
        (lambda: ShapleySampling(baseline=7), "baseline: expected a pixel"),
    ],
)
def test_bad_hyper_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
