"""Gradients along other paths: closed forms, slow replicas, and cases with equal methods."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.ndimage import gaussian_filter

import mnist_xai as mx
from mnist_xai.interpret import (
    Background,
    BlurIntegratedGradients,
    ExpectedGradients,
    GuidedIntegratedGradients,
    IntegratedGradients,
    expected_gradients_over,
)
from mnist_xai.interpret.methods.gradients.averages import path_gradient
from mnist_xai.interpret.methods.gradients.paths import blurred

TARGETS = [0, 3, 5, 7, 9]


def maps_of(method, model, images, targets=TARGETS):
    return mx.explain(model, images, targets, method=method).maps


def assert_close(found, expected, share=1e-5):
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, atol=share * np.abs(expected).max())


@pytest.fixture
def strokes(images):
    """Images with about as many black pixels as digits have; the last one is black."""
    drawn = np.where(images > 0.8, images, 0).astype("f")
    drawn[4] = 0
    return drawn


@pytest.fixture
def linear():
    """`S_c(x) = w_c · x + b_c` on images that are not square and have two channels."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6, 4, 2)), layers.Flatten(), layers.Dense(3)])
    return model, model.layers[-1].get_weights()[0].T.reshape(3, 6, 4, 2)


@pytest.fixture
def quadratic():
    """`S_c(x) = Σ_i w_ci x_i²`: along every path a pixel gets `w_ci (x_i² - x'_i²)`."""
    w = np.random.default_rng(3).normal(size=(3, 48)).astype("f")
    image = keras.Input((6, 4, 2))
    model = keras.Model(image, keras.ops.matmul(layers.Flatten()(image) ** 2, w.T))
    return model, w.reshape(3, 6, 4, 2)


@pytest.fixture
def points():
    return np.random.default_rng(4).random((3, 6, 4, 2), np.float32)


CLASSES = [0, 1, 2]


# --- Expected gradients ------------------------------------------------------------------


def test_expected_gradients_from_black_with_evenly_spaced_alphas_are_integrated_gradients(
    network, images
):
    alphas = (np.arange(16) + 0.5) / 16
    black = np.zeros((16, 28, 28, 1), "f")
    found = expected_gradients_over(network, images, TARGETS, black, alphas)
    rule = IntegratedGradients(steps=16, quadrature="riemann_middle")
    assert_close(found, maps_of(rule, network, images))


def test_expected_gradients_equal_the_mean_over_their_draws(network, images):
    background = Background(np.random.default_rng(9).random((3, 28, 28, 1), np.float32))
    for method in (
        ExpectedGradients(samples=7, seed=5),
        ExpectedGradients(background, samples=7, stratified=False),
    ):
        expected = np.zeros(images.shape)
        for other, alpha in zip(*method.draws((28, 28, 1)), strict=True):
            slope, _ = network.gradient(other + alpha * (images - other), TARGETS)
            expected += (images - other) * slope / 7
        assert_close(maps_of(method, network, images), expected)


def test_expected_gradients_of_a_linear_network_depend_only_on_the_mean_baseline(linear, points):
    model, w = linear
    others = np.random.default_rng(0).random((5, 6, 4, 2), np.float32)
    found = maps_of(ExpectedGradients(Background(others), samples=10), model, points, CLASSES)
    assert_close(found, w * (points - others.mean(axis=0)))


def test_expected_gradients_of_a_quadratic_converge_to_the_expectation(quadratic, points):
    model, w = quadratic
    network = mx.Network(model)
    others = np.random.default_rng(0).random((4, 6, 4, 2), np.float32)
    expected = w * (points**2 - (others**2).mean(axis=0))
    errors = {}
    for stratified in (True, False):
        found = [
            maps_of(
                ExpectedGradients(Background(others), 64, seed, stratified),
                network,
                points,
                CLASSES,
            )
            for seed in range(20)
        ]
        # The mean over seeds is unbiased: within 4 standard errors of the expectation.
        spread = np.std(found, axis=0, ddof=1)
        off = np.abs(np.mean(found, axis=0) - expected)
        assert (off < 4 * spread / np.sqrt(20) + 1e-6).mean() > 0.97
        errors[stratified] = np.abs(found - expected).mean()
    assert errors[True] < 0.6 * errors[False]


def test_expected_gradients_sum_approximately_to_the_mean_difference(network, images):
    background = Background(np.random.default_rng(9).random((8, 28, 28, 1), np.float32))
    found = maps_of(ExpectedGradients(background, samples=1024), network, images)
    black = [network.scores(background.images, [c] * 8).mean() for c in TARGETS]
    difference = network.scores(images, TARGETS) - black
    sums = found.sum(axis=(1, 2, 3))
    assert np.abs(sums - difference).max() < 0.1 * np.abs(difference).max()


def test_the_draws_depend_on_the_seed_alone():
    background = Background(np.random.default_rng(9).random((3, 2, 2, 1), np.float32))
    for given in (None, background):
        first, again, other = (
            ExpectedGradients(given, samples=8, seed=s).draws((2, 2, 1)) for s in (1, 1, 2)
        )
        for a, b, c in zip(first, again, other, strict=True):
            np.testing.assert_array_equal(a, b)
            assert (a != c).any()


def test_stratified_draws_cover_all_parts_of_the_interval_and_all_background_images():
    background = Background(np.linspace(0, 1, 4, dtype="f").reshape(4, 1, 1, 1))
    baselines, alphas = ExpectedGradients(background, samples=10).draws((1, 1, 1))
    np.testing.assert_array_equal(np.floor(alphas * 10), np.arange(10))
    _, counts = np.unique(baselines, return_counts=True)
    assert sorted(counts) == [2, 2, 3, 3]
    within = [ExpectedGradients(samples=10, seed=s).draws((1, 1, 1))[1] * 10 % 1 for s in range(50)]
    assert np.mean(within) == pytest.approx(0.5, abs=0.05)  # Uniform within each part, too.
    assert np.std(within) == pytest.approx(1 / np.sqrt(12), abs=0.03)
    few, _ = ExpectedGradients(background, samples=3).draws((1, 1, 1))
    assert len(np.unique(few)) == 3


def test_backgrounds_with_equal_images_are_equal_and_do_not_change_with_the_array():
    given = np.random.default_rng(0).random((2, 3, 3, 1))
    background, same = Background(given), Background(given.copy())
    assert background == same
    assert hash(background) == hash(same)
    assert repr(background) == repr(same)
    assert ExpectedGradients(background) == ExpectedGradients(same)
    assert len({ExpectedGradients(background), ExpectedGradients(same)}) == 1
    assert background != Background(given.reshape(2, 1, 9, 1))
    assert repr(background).startswith("Background(2 images (3, 3, 1), ")
    first = background.images[0, 0, 0, 0]
    given[:] = 0
    assert background == same
    assert background.images[0, 0, 0, 0] == first
    with pytest.raises(ValueError, match="read-only"):
        background.images[0] = 0


# --- Blur integrated gradients -----------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.2, 1.3, 20])
def test_blurring_by_matrices_equals_scipys_gaussian_filter(points, sigma):
    expected = gaussian_filter(points, (0, sigma, sigma, 0), mode="constant")
    np.testing.assert_allclose(blurred(points, sigma), expected, atol=1e-6)
    np.testing.assert_array_equal(blurred(points, 0), points)


def test_blurring_never_leaves_the_pixel_range():
    white = np.ones((1, 28, 28, 1), "f")
    assert max(blurred(white, sigma).max() for sigma in (1.1, 1.2, 2.0, 2.15, 2.3)) == 1


def test_blur_integrated_gradients_of_linear_and_quadratic_networks_are_exact(
    linear, quadratic, points
):
    method = BlurIntegratedGradients(steps=3, sigma=0.5)
    start = gaussian_filter(points, (0, 2, 2, 0), mode="constant")  # Half of 4, the shorter side.
    np.testing.assert_allclose(method.baselines(points), start, atol=1e-6)
    model, w = linear
    assert_close(maps_of(method, model, points, CLASSES), w * (points - start))
    model, w = quadratic
    assert_close(maps_of(method, model, points, CLASSES), w * (points**2 - start**2))


def test_blur_integrated_gradients_equal_the_integral_over_the_scale():
    """Compare with the definition, `-∫₀^σ_max ∂S/∂x ⊙ ∂L/∂σ dσ`, on a smooth network."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.Flatten(),
            layers.Dense(3, kernel_initializer="he_normal"),
        ]
    )
    x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    network, step = mx.Network(model), 2 / 2000

    def scaled(sigma):
        return gaussian_filter(x.astype("d"), (0, sigma, sigma, 0), mode="constant")

    sigmas = (np.arange(2000) + 0.5) * step
    blurs = np.concatenate([scaled(sigma).astype("f") for sigma in sigmas])
    slopes = network.gradient(blurs, CLASSES * len(sigmas))[0].reshape(-1, *x.shape)
    expected = np.zeros(x.shape)
    for sigma, slope in zip(sigmas, slopes, strict=True):
        # At some σ the Gaussian, cut off at 4 σ, gets one more tap: the image jumps there.
        expected -= slope * (scaled(sigma + step / 2) - scaled(max(sigma - step / 2, 1e-9)))
    found = maps_of(BlurIntegratedGradients(steps=64), network, x, CLASSES)
    assert_close(found, expected, 2e-3)


# --- Guided integrated gradients ---------------------------------------------------------


def guided_slowly(network, image, target, *, steps, points, fraction, max_dist, baseline):
    """Run the paper's algorithm for one image, pixel by pixel and in units of pixels."""
    x_in = image.ravel().astype("d")
    x_from = np.full_like(x_in, baseline)
    x, attribution = x_from.copy(), np.zeros_like(x_in)
    features = [i for i in range(len(x)) if x_in[i] != x_from[i]]
    nodes, weights = np.polynomial.legendre.leggauss(points)

    def slope(at):
        return network.gradient(at.reshape(1, *image.shape), [target])[0].ravel()

    for step in range(1, steps + 1):
        x_old, y = x.copy(), np.abs(slope(x))
        wanted = np.abs(x_in - x_from).sum() * (1 - step / steps)
        bounds = np.clip([step / steps - max_dist, step / steps + max_dist], 0, 1)
        behind, ahead = (x_from + b * (x_in - x_from) for b in bounds)
        for i in features:
            if abs(x_in[i] - x[i]) > abs(x_in[i] - behind[i]):
                x[i] = behind[i]
        while (excess := np.abs(x_in - x).sum() - wanted) > 1e-9:
            open_to = [i for i in features if abs(x[i] - ahead[i]) > 1e-12]
            ranked = sorted([*(y[i] for i in open_to)])
            ranked += [np.inf] * (len(features) - len(ranked))
            threshold = ranked[int(fraction * (len(features) - 1))]
            chosen = [i for i in open_to if y[i] <= threshold]
            gamma = min(excess / sum(abs(ahead[i] - x[i]) for i in chosen), 1)
            for i in chosen:
                x[i] += gamma * (ahead[i] - x[i])
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            attribution += weight * slope(x_old + node * (x - x_old)) * (x - x_old)
    return attribution.reshape(image.shape)


@pytest.mark.parametrize(("fraction", "max_dist"), [(0.1, 1), (0.25, 0.1), (0.01, 0.3)])
@pytest.mark.parametrize("baseline", [0, 0.25])
def test_guided_integrated_gradients_equal_their_slow_replica(
    network, strokes, fraction, max_dist, baseline
):
    options = {"steps": 9, "points": 2, "fraction": fraction, "max_dist": max_dist}
    method, some, targets = (
        GuidedIntegratedGradients(baseline=baseline, **options),
        [0, 3, 4],
        [0, 7, 9],
    )
    found = maps_of(method, network, strokes[some], targets)
    expected = [
        guided_slowly(network, x, c, baseline=baseline, **options)
        for x, c in zip(strokes[some], targets, strict=True)
    ]
    assert_close(found, np.array(expected))
    assert found[-1].any() == (baseline > 0)  # The black image is equal to the baseline 0.


def test_a_straight_guided_path_gives_integrated_gradients(network, images):
    nodes, weights = np.polynomial.legendre.leggauss(3)
    scales = ((np.arange(8)[:, None] + (nodes + 1) / 2) / 8).ravel().tolist()
    mean = path_gradient(
        network, images, TARGETS, np.zeros_like(images),
        weights=np.tile(weights / 16, 8).tolist(), scales=scales,
    )  # fmt: skip
    for straight in ({"fraction": 1, "max_dist": 1}, {"fraction": 0.1, "max_dist": 0}):
        found = maps_of(GuidedIntegratedGradients(8, 3, **straight), network, images)
        assert_close(found, images * mean)


def test_a_free_guided_path_gives_another_map(network, images):
    straight, free = (
        maps_of(GuidedIntegratedGradients(16, 3, max_dist=d), network, images) for d in (0, 1)
    )
    assert np.abs(straight - free).max() > 0.2 * np.abs(straight).max()


def test_guided_integrated_gradients_of_additive_scores_do_not_depend_on_the_path(
    linear, quadratic, points
):
    for max_dist in (0.1, 1):
        method = GuidedIntegratedGradients(5, 1, max_dist=max_dist, baseline=0.5)
        model, w = linear
        assert_close(maps_of(method, model, points, CLASSES), w * (points - 0.5))
        model, w = quadratic
        assert_close(maps_of(method, model, points, CLASSES), w * (points**2 - 0.25))


@pytest.fixture
def product():
    """`S_0(x, y) = 3 x + 2 x y`, for which the guided path is known."""
    image = keras.Input((2, 1, 1))
    x, y = image[:, 0, :, 0], image[:, 1, :, 0]
    return keras.Model(image, layers.Concatenate()([3 * x + 2 * x * y, x]))


def test_a_free_guided_path_moves_the_flattest_pixel_first(product):
    """`∂S/∂y = 2 x` is 0 until `x` moves, so `y` moves all the way first, and `x` after it.

    Then `y` gets `∫ 2 · 0 dy = 0` and `x` gets all of `3 x + 2 x y`. Integrated gradients give each
    half of the product.
    """
    image = np.full((1, 2, 1, 1), 0.5, "f")
    for steps in (2, 6):
        method = GuidedIntegratedGradients(steps, 1, max_dist=1)
        found = maps_of(method, product, image, [0])
        np.testing.assert_allclose(found.ravel(), [2.0, 0], atol=1e-6)
    found = maps_of(IntegratedGradients(), product, image, [0])
    np.testing.assert_allclose(found.ravel(), [1.75, 0.25], atol=1e-6)


def test_a_guided_path_stays_within_max_dist_of_the_straight_path(product, monkeypatch):
    image = np.full((1, 2, 1, 1), 0.5, "f")
    seen = []
    plain = mx.Network.gradient_at

    def spy(self, images, targets, **options):
        seen.extend(np.asarray(images).reshape(-1, 2) / 0.5)
        return plain(self, images, targets, **options)

    monkeypatch.setattr(mx.Network, "gradient_at", spy)
    maps_of(GuidedIntegratedGradients(10, 1, max_dist=0.2), product, image, [0])
    x, y = np.array(seen).T
    mean = (x + y) / 2
    assert np.abs([x - mean, y - mean]).max() <= 0.2 + 1e-6
    assert np.abs(x - y).max() > 0.3  # y is 0.2 ahead of the mean, and x is 0.2 behind it.


# --- Bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ExpectedGradients(samples=0), "samples: expected at least 1; got 0"),
        (lambda: ExpectedGradients(seed=-1), "seed: expected at least 0; got -1"),
        (lambda: ExpectedGradients(np.zeros((1, 2, 2, 1))), "background: expected Background"),
        (lambda: BlurIntegratedGradients(steps=0), "steps: expected at least 1; got 0"),
        (lambda: BlurIntegratedGradients(sigma=0), "sigma: expected above 0"),
        (lambda: BlurIntegratedGradients(sigma=np.nan), "sigma: expected above 0"),
        (lambda: GuidedIntegratedGradients(steps=0), "steps: expected at least 1; got 0"),
        (lambda: GuidedIntegratedGradients(points=0), "points: expected at least 1; got 0"),
        (lambda: GuidedIntegratedGradients(fraction=0), r"fraction: expected a share in \(0, 1\]"),
        (lambda: GuidedIntegratedGradients(max_dist=2), r"max_dist: expected a share in \[0, 1\]"),
        (lambda: GuidedIntegratedGradients(baseline=-1), r"baseline: expected a pixel in \[0, 1\]"),
        (lambda: Background(np.zeros((28, 28, 1))), r"images: expected \(B, H, W, C\)"),
        (lambda: Background(np.zeros((0, 28, 28, 1))), r"images: expected \(B, H, W, C\)"),
        (lambda: Background(np.full((1, 2, 2, 1), np.nan)), "images: expected finite values"),
    ],
)
def test_bad_hyper_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_arrays_are_refused(network, images):
    with pytest.raises(TypeError, match="images: expected floats"):
        Background(np.zeros((1, 28, 28, 1), np.uint8))
    small = ExpectedGradients(Background(np.zeros((1, 8, 8, 1))))
    with pytest.raises(ValueError, match=r"background: expected images \(28, 28, 1\); got \(8, 8"):
        mx.explain(network, images, method=small)
    for alphas in ([0.5], [0.5, 2], [0.5, np.nan]):
        with pytest.raises(ValueError, match="alphas: expected 2 numbers in"):
            expected_gradients_over(network, images, TARGETS, images[:2], alphas)
    with pytest.raises(ValueError, match="targets: expected 5 integers"):
        expected_gradients_over(network, images, [1], images[:2], [0.5, 0.5])


def test_a_network_that_ends_in_a_global_maximum_is_explained(images):
    """TensorFlow does not know the shape of its gradient before the pass runs."""
    image = keras.Input((28, 28, 1))
    weights = layers.Dense(10)
    model = keras.Model(image, weights(layers.GlobalMaxPooling2D()(image)))
    brightest = images.reshape(5, -1).argmax(axis=1)
    expected = np.zeros((5, 28 * 28), "f")
    expected[np.arange(5), brightest] = (
        images.max(axis=(1, 2, 3)) * weights.kernel[0].numpy()[TARGETS]
    )
    maps = maps_of(IntegratedGradients(4), model, images)
    assert_close(maps.reshape(5, -1), expected)


@pytest.mark.parametrize("method", [ExpectedGradients, mx.interpret.DeepSHAP])
def test_a_background_outside_the_range_of_the_network_is_refused(network, images, method):
    background = Background(np.full((1, 28, 28, 1), 1.5))
    with pytest.raises(ValueError, match=r"background: images: expected values in \[0, 1\]"):
        mx.explain(network, images, method=method(background))
