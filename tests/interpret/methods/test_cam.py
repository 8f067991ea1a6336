"""Class activation maps: compared with closed forms, slow replicas and tf-keras-vis."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import (
    AblationCAM,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
)
from mnist_xai.interpret.core.spatial import last_spatial_layer
from tests.conftest import mixed_precision, shared_network

TARGETS = [0, 3, 5, 7, 9]
ALL = [GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM, AblationCAM, EigenCAM]
every_cam = pytest.mark.parametrize("cam", ALL, ids=lambda cam: cam.__name__)


def maps_of(method, model, images, targets=TARGETS, **options):
    return mx.explain(model, images, targets, method=method, **options).maps


def relu(x):
    return np.maximum(x, 0)


def stretched(maps, side=28):
    return tf.image.resize(np.asarray(maps, np.float32)[..., None], (side, side)).numpy()


def assert_close(found, expected, share=1e-5):
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, atol=share * np.abs(expected).max())


# --- Closed forms ------------------------------------------------------------------------


@pytest.fixture
def pooled():
    """Convolution, mean over positions, dense: the architecture of the original CAM.

    The feature maps are as large as the image, so nothing is stretched.
    """
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="features"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax", name="classes"),
        ]
    )
    kernel, bias = model.get_layer("classes").get_weights()
    model.get_layer("classes").set_weights([kernel, bias + np.linspace(-1, 2, 10)])
    return model


@pytest.fixture
def small():
    return np.random.default_rng(5).random((5, 8, 8, 1), np.float32)


@pytest.fixture
def parts(pooled, small):
    """Activations `(5, 8, 8, 6)`, the targets' weights `(5, 6)` and logits `(5,)`."""
    network = mx.Network(pooled)
    a = network.activations(small, ["features"])["features"].astype(np.float64)
    w = pooled.get_layer("classes").get_weights()[0].T[TARGETS].astype(np.float64)
    return a, w, network.scores(small, TARGETS)


def weighted(a, w):
    return np.einsum("nhwk,nk->nhw", a, w)[..., None]


def test_before_mean_pooling_gradcam_is_cam(pooled, small, parts):
    """CAM of Zhou et al. 2016 is `Σ_k w_k A_k`; the mean adds a factor `1/hw`."""
    a, w, _ = parts
    assert_close(maps_of(GradCAM(), pooled, small), relu(weighted(a, w)) / 64)


def test_before_mean_pooling_hirescam_is_cam_without_the_relu(pooled, small, parts):
    a, w, _ = parts
    found = maps_of(HiResCAM(), pooled, small)
    assert found.min() < 0
    assert_close(found, weighted(a, w) / 64)
    np.testing.assert_array_equal(relu(found) > 0, maps_of(GradCAM(), pooled, small) > 0)


def test_before_mean_pooling_layercam_is_cam_of_the_positive_weights(pooled, small, parts):
    a, w, _ = parts
    assert_close(maps_of(LayerCAM(), pooled, small), weighted(a, relu(w)) / 64)


def test_before_mean_pooling_gradcam_plus_plus_gives_every_position_the_same_weight(
    pooled, small, parts
):
    """The gradient is `w/64` everywhere, so `α = 1 / (2 + w mean(A))`."""
    a, w, _ = parts
    weights = relu(w) / (2 + w * a.mean(axis=(1, 2)))
    assert_close(maps_of(GradCAMPlusPlus(), pooled, small), weighted(a, weights))


def test_before_mean_pooling_ablation_weights_are_the_channels_shares_of_the_score(
    pooled, small, parts
):
    a, w, score = parts
    assert score.min() < 0 < score.max()
    weights = w * a.mean(axis=(1, 2)) / np.abs(score)[:, None]
    assert_close(maps_of(AblationCAM(), pooled, small), relu(weighted(a, weights)))


def test_ablationcam_with_a_negative_score_still_shows_the_channels_that_raise_it(pooled, small):
    """Adding a constant to all logits does not change the classifier, so only the scale changes."""
    network = mx.Network(pooled)
    before, scores = maps_of(AblationCAM(), network, small), network.scores(small, TARGETS)
    kernel, bias = pooled.get_layer("classes").get_weights()
    pooled.get_layer("classes").set_weights([kernel, bias - 5])
    after = maps_of(AblationCAM(), network, small)
    scale = np.abs(scores / (scores - 5))[:, None, None, None]
    assert_close(after, before * scale, 1e-4)


def test_ablationcam_with_a_score_of_zero_does_not_divide_the_drops(pooled, small):
    kernel, _ = pooled.get_layer("classes").get_weights()
    kernel[:3], kernel[3:] = 1, 0
    features = pooled.get_layer("features")
    weights, bias = features.get_weights()
    weights[..., 0], weights[..., 1], weights[..., 2] = 0, 0, 0
    bias[:3] = [1, 2, 3]
    features.set_weights([weights, bias])
    pooled.get_layer("classes").set_weights([kernel, np.full(10, -6)])  # S = 1 + 2 + 3 - 6.
    np.testing.assert_array_equal(mx.Network(pooled).scores(small, TARGETS), 0)
    # Σ_k w_k mean(A_k) A_k = 1 + 4 + 9.
    np.testing.assert_allclose(maps_of(AblationCAM(), pooled, small), 14, rtol=1e-6)


def test_hirescam_sums_to_the_logit_minus_its_bias(pooled, small, parts):
    score = parts[2]
    bias = pooled.get_layer("classes").get_weights()[1][TARGETS]
    sums = maps_of(HiResCAM(), pooled, small).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(sums, score - bias, atol=1e-5)


def test_eigencam_of_channels_with_one_common_pattern_is_that_pattern():
    """`A_k = c_k P` has rank one, so the map is `|c| P` if `Σ_k c_k > 0`, else `-|c| P`."""
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(3, 1, use_bias=False, name="features")(image)
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    images = np.random.default_rng(6).random((2, 8, 8, 1), np.float32)
    for c, sign in (([3, -1, 2], 1), ([-3, 1, -2], -1)):
        model.get_layer("features").set_weights([np.reshape(c, (1, 1, 1, 3))])
        found = maps_of(EigenCAM(), model, images, [0, 1])
        np.testing.assert_allclose(found, sign * np.sqrt(14) * images, rtol=1e-5)


def test_stretching_is_bilinear_with_half_pixel_centres():
    """From 2 to 4 pixels the weights are 1, 3/4, 1/4, 0: corners are not aligned."""
    image = keras.Input((4, 4, 1))
    x = layers.AveragePooling2D(2, name="pool")(image)
    model = keras.Model(image, layers.Dense(2, kernel_initializer="ones")(layers.Flatten()(x)))
    images = np.zeros((1, 4, 4, 1), np.float32)
    images[0, :2, :2] = 1
    weights = np.array([1, 0.75, 0.25, 0])
    found = maps_of(HiResCAM(), model, images, [0])
    np.testing.assert_allclose(found[0, ..., 0], np.outer(weights, weights), atol=1e-6)


# --- Slow replicas -----------------------------------------------------------------------


@pytest.fixture
def conv2(network, images):
    """Activations, gradients and scores of the case study's second convolution, in float64."""
    found = network.layer_gradient(images, TARGETS, "conv2")
    return [part.astype(np.float64) for part in found]


def gradcam_plus_plus_slowly(a, g, *, normalised=False):
    """Compute each coefficient as in the paper, for one position and channel at a time."""
    total = np.zeros(a.shape[:3])
    for n, k in np.ndindex(len(a), a.shape[3]):
        alpha = np.zeros(a.shape[1:3])
        for i, j in np.ndindex(alpha.shape):
            d = g[n, i, j, k]
            if d != 0:
                alpha[i, j] = d**2 / (2 * d**2 + a[n, :, :, k].sum() * d**3)
        if normalised and alpha.any():
            alpha /= alpha.sum()
        total[n] += (alpha * relu(g[n, :, :, k])).sum() * a[n, :, :, k]
    return relu(total)


def test_the_gradient_cams_equal_their_slow_replicas(network, images, conv2):
    a, g, _ = conv2
    gradcam, hirescam, layercam = np.zeros((3, *a.shape[:3]))
    for n, k in np.ndindex(len(a), a.shape[3]):
        gradcam[n] += g[n, :, :, k].mean() * a[n, :, :, k]
        hirescam[n] += g[n, :, :, k] * a[n, :, :, k]
        layercam[n] += relu(g[n, :, :, k]) * a[n, :, :, k]
    for method, expected in (
        (GradCAM, relu(gradcam)),
        (GradCAMPlusPlus, gradcam_plus_plus_slowly(a, g)),
        (HiResCAM, hirescam),
        (LayerCAM, layercam),
    ):
        assert_close(maps_of(method("conv2"), network, images), stretched(expected))


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_scorecam_equals_its_slow_replica(network, images, conv2, score):
    a = conv2[0]
    expected = np.zeros(a.shape[:3])
    for n, target in enumerate(TARGETS):
        black = network.scores(np.zeros_like(images[:1]), [target], score=score)
        increase = np.full(64, -np.inf)
        for k in range(64):
            mask = stretched(a[n : n + 1, :, :, k])
            if np.ptp(mask) > 0:
                mask = (mask - mask.min()) / (mask.max() - mask.min())
                masked = (images[n : n + 1] * mask).astype(np.float32)
                increase[k] = network.scores(masked, [target], score=score)[0] - black[0]
        weights = np.exp(increase)
        expected[n] = relu(a[n] @ (weights / weights.sum()))
    found = maps_of(ScoreCAM("conv2"), network, images, score=score)
    assert_close(found, stretched(expected))


def test_ablationcam_equals_its_slow_replica(network, images, conv2):
    a, _, whole = conv2
    weights = np.zeros((5, 64))
    for k in range(64):
        ablated = a.copy()
        ablated[..., k] = 0
        score = network.scores_with_layer_at(images, TARGETS, "conv2", ablated)
        weights[:, k] = (whole - score) / np.abs(whole)
    expected = relu(np.einsum("nhwk,nk->nhw", a, weights))
    assert_close(maps_of(AblationCAM("conv2"), network, images), stretched(expected), 1e-4)


def test_eigencam_equals_power_iteration(network, images, conv2):
    """Power iteration on `AᵀA` from all ones converges to the vector with the right sign."""
    a = conv2[0].reshape(5, 64, 64)
    expected = np.zeros((5, 64))
    for n in range(5):
        v = np.ones(64)
        for _ in range(2000):
            v = a[n].T @ (a[n] @ v)
            v /= np.linalg.norm(v)
        expected[n] = a[n] @ v
    found = maps_of(EigenCAM("conv2"), network, images)
    assert found.min() >= 0
    assert_close(found, stretched(expected.reshape(5, 8, 8)))


# --- An independent library --------------------------------------------------------------


def tf_keras_vis(name, model, images, layer, score=None, **options):
    """Return the maps of tf-keras-vis at the layer's resolution, without its normalisation."""
    from importlib import import_module

    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    home = {"GradcamPlusPlus": "gradcam_plus_plus"}.get(name, name.lower())
    method = getattr(import_module(f"tf_keras_vis.{home}"), name)
    oracle = method(model, model_modifier=ReplaceToLinear(), clone=True)
    return np.asarray(
        oracle(score or CategoricalScore(TARGETS), images, penultimate_layer=layer,
               seek_penultimate_conv_layer=False, expand_cam=False, normalize_cam=False, **options)
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # Raised by tf-keras-vis.
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # tf-keras-vis uses a deprecated SciPy name.
@pytest.mark.parametrize(("name", "method"), [("Gradcam", GradCAM), ("Layercam", LayerCAM)])
@pytest.mark.parametrize("layer", ["conv1", "pool1", "conv2", "pool2"])
def test_gradcam_and_layercam_equal_tf_keras_vis(cnn, images, name, method, layer):
    expected = tf_keras_vis(name, cnn, images, layer)
    assert_close(maps_of(method(layer), cnn, images), stretched(expected))


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_replica_of_gradcam_plus_plus_equals_tf_keras_vis(cnn, images, conv2):
    """tf-keras-vis makes each channel's coefficients sum to one, and keeps the factor `exp(S)`."""
    a, g, score = conv2
    expected = tf_keras_vis("GradcamPlusPlus", cnn, images, "conv2")
    found = gradcam_plus_plus_slowly(a, g, normalised=True) * np.exp(score)[:, None, None]
    assert_close(found, expected, 1e-4)


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scorecam_equals_tf_keras_vis(small):
    """tf-keras-vis has no softmax over channels and aligns corners when it stretches maps.

    With `exp(p_c)` as its score, its weights are proportional to ours, and here nothing is
    stretched.
    """
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, padding="same", activation="sigmoid", name="features")(image)
    x = layers.Flatten()(x)
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="classes")(x))

    def score(p):
        return np.exp(p.numpy()[np.arange(5), TARGETS])

    expected = tf_keras_vis("Scorecam", model, small, "features", score)
    found = maps_of(ScoreCAM(), model, small, score="probability")[..., 0]
    found, expected = (m / m.sum(axis=(1, 2), keepdims=True) for m in (found, expected))
    assert_close(found, expected)


# --- Changes of the network --------------------------------------------------------------


def scale_logits(model, factor):
    layer = model.layers[-1]
    layer.set_weights([factor * w for w in layer.get_weights()])


@pytest.mark.parametrize(
    ("cam", "power"),
    [(GradCAM, 1), (HiResCAM, 1), (LayerCAM, 1), (AblationCAM, 0), (EigenCAM, 0)],
)
def test_doubling_the_logits_doubles_the_maps_or_leaves_them_unchanged(cnn, images, cam, power):
    network = mx.Network(cnn)
    before = maps_of(cam(), network, images)
    scale_logits(cnn, 2)
    assert_close(maps_of(cam(), network, images), 2**power * before, 1e-4)


@every_cam
def test_maps_do_not_depend_on_the_order_of_the_channels(cam, pooled, small):
    before = maps_of(cam(), pooled, small)
    order = np.random.default_rng(7).permutation(6)
    kernel, bias = pooled.get_layer("features").get_weights()
    pooled.get_layer("features").set_weights([kernel[..., order], bias[order]])
    kernel, bias = pooled.get_layer("classes").get_weights()
    pooled.get_layer("classes").set_weights([kernel[order], bias])
    assert_close(maps_of(cam(), pooled, small), before)


def test_scorecam_gives_a_constant_channel_the_weight_zero(pooled, small):
    """A channel that is 1 everywhere gives the same map as one that is 0 everywhere."""
    classes, features = pooled.get_layer("classes"), pooled.get_layer("features")
    weights, offset = classes.get_weights()
    weights[0] = 0  # The scores must not depend on channel 0.
    classes.set_weights([weights, offset])
    kernel, bias = features.get_weights()
    kernel[..., 0] = 0
    maps = []
    for bias[0] in (-1, 1):
        features.set_weights([kernel, bias])
        maps.append(maps_of(ScoreCAM(), pooled, small))
    assert_close(maps[0], maps[1])


def test_scorecam_with_constant_channels_only_is_zero_and_warns(pooled):
    features = pooled.get_layer("features")
    kernel, bias = features.get_weights()
    features.set_weights([0 * kernel, bias + 1])
    explanation = mx.explain(pooled, np.ones((1, 8, 8, 1), np.float32), method=ScoreCAM())
    assert not explanation.maps.any()
    assert explanation.warnings == ["The map of image 0 is zero everywhere."]


def test_scorecam_with_logits_that_overflow_exp_shows_only_the_best_channel(pooled, small):
    """The softmax of large logits is 1 at the largest."""
    scale_logits(pooled, 1e6)
    a = mx.Network(pooled).activations(small, ["features"])["features"]
    found = maps_of(ScoreCAM(), pooled, small)
    distance = np.abs(a - found).max(axis=(1, 2))
    np.testing.assert_array_equal(distance.min(axis=1), 0)


def test_scorecam_normalises_each_image_separately(network, images):
    """Much brighter neighbours do not change the map of a dim image."""
    dim = images[:1] * 0.05
    alone = maps_of(ScoreCAM(), network, dim, [3])
    beside = maps_of(ScoreCAM(), network, np.concatenate([dim, images]), [3] * 6)
    assert_close(beside[:1], alone)


def test_gradcam_plus_plus_with_logits_that_overflow_exp_is_finite(cnn, images):
    scale_logits(cnn, 2000)
    network = mx.Network(cnn)
    targets = network.logits(images).argmax(axis=1)
    assert network.scores(images, targets).max() > 89
    maps = maps_of(GradCAMPlusPlus(), network, images, targets)
    assert np.isfinite(maps).all()
    assert maps.any()


def test_gradcam_plus_plus_gives_the_weight_zero_at_the_pole():
    """The score is the sum of the activations, so `g = 1`; they sum to -2, where the pole is."""
    image = keras.Input((2, 2, 1))
    x = layers.Conv2D(1, 1, kernel_initializer="ones", use_bias=False)(image - 1)
    model = keras.Model(image, layers.Dense(2, kernel_initializer="ones")(layers.Flatten()(x)))
    found = maps_of(GradCAMPlusPlus(), model, np.full((1, 2, 2, 1), 0.5, np.float32), [0])
    np.testing.assert_array_equal(found, 0)


# --- Layers ------------------------------------------------------------------------------


@every_cam
def test_the_layer_defaults_to_the_last_one_with_positions(cam, network, images):
    np.testing.assert_array_equal(
        maps_of(cam(), network, images), maps_of(cam("pool2"), network, images)
    )
    assert np.abs(maps_of(cam("conv2"), network, images)).max() > 0


def test_a_layer_with_a_single_position_is_not_the_default():
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(3, 3, name="features")(image)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    assert last_spatial_layer(mx.Network(model)) == "features"


@every_cam
def test_each_call_of_a_shared_layer_has_its_own_map(cam, images):
    network = shared_network("nested")
    first = maps_of(cam("backbone/shared"), network, images)
    second = maps_of(cam("backbone/shared:2"), network, images)
    assert np.isfinite(second).all()
    assert np.abs(first - second).max() > 1e-3 * np.abs(second).max() > 0


def test_ablating_the_second_call_of_a_shared_layer_does_not_change_the_first(images):
    network = shared_network("nested")
    layer = "backbone/shared:2"
    a = network.activations(images, [layer])[layer]
    whole = network.scores(images, TARGETS)
    weights = []
    for k in range(4):
        ablated = a * (np.arange(4) != k)
        weights.append(whole - network.scores_with_layer_at(images, TARGETS, layer, ablated))
    weights = np.stack(weights, axis=1) / np.abs(whole)[:, None]
    expected = relu(np.einsum("nhwk,nk->nhw", a, weights))[..., None]
    assert_close(maps_of(AblationCAM(layer), network, images), expected, 1e-4)


@pytest.fixture(scope="module")
def half(network):
    """The case study's network in half precision, with the same weights."""
    model = mixed_precision()
    model.set_weights(network.model.get_weights())
    return mx.Network(model)


@every_cam
@pytest.mark.parametrize("layer", ["conv1", "pool2"])
def test_half_precision_gives_almost_the_same_maps(cam, layer, network, half, images):
    expected = maps_of(cam(layer), network, images)
    found = maps_of(cam(layer), half, images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).mean() < 0.2 * np.abs(expected).mean()


@pytest.fixture(scope="module")
def of_any_size():
    """A network that takes images of any size."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="features")(image)
    return mx.Network(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))


@every_cam
def test_images_of_any_size_are_explained(cam, of_any_size):
    network = of_any_size
    for height, width in ((12, 9), (16, 20)):
        images = np.random.default_rng(8).random((2, height, width, 3), np.float32)
        found = maps_of(cam("features"), network, images, [0, 1])
        assert found.shape == (2, height, width, 1)
        assert np.isfinite(found).all()


def test_the_number_of_passes_is_that_of_the_definition(network):
    assert [cam().passes(network) for cam in ALL] == [1, 1, 1, 1, 65, 66, 1]
    assert ScoreCAM("conv1").passes(network) == 33


@pytest.mark.parametrize("cam", [ScoreCAM, AblationCAM])
def test_no_pass_is_larger_than_the_batch(cam, cnn, images, monkeypatch):
    network, sizes = mx.Network(cnn, batch_size=7), []
    run = network.runner.run

    def counted(x, *caller):
        tf.py_function(lambda n: sizes.append(int(n)), [tf.shape(x)[0]], [])
        return run(x, *caller)

    monkeypatch.setattr(network.runner, "run", counted)
    cam()(network, images, np.array(TARGETS, np.int32))
    assert max(sizes) <= 7
    assert sum(sizes) == 5 * cam().passes(network)


# --- Bad input ---------------------------------------------------------------------------


@every_cam
def test_bad_layers_are_refused(cam, network, images):
    with pytest.raises(ValueError, match=r"layer: expected .* \(N, h, w, .*'dense' gives \(N, 128"):
        mx.explain(network, images, method=cam("dense"))
    with pytest.raises(ValueError, match="layer: expected one of conv1, pool1, .*; got 'conv3'"):
        mx.explain(network, images, method=cam("conv3"))
    for layer in (3, ""):
        with pytest.raises(ValueError, match="layer: expected the name of a layer, or None; got"):
            cam(layer)


@every_cam
def test_a_model_without_a_layer_with_positions_is_refused_by_name(cam, images):
    model = mx.build_model("dense", seed=0)
    with pytest.raises(mx.UnsupportedLayerError, match="dense: none of its layers has outputs"):
        mx.explain(model, images, method=cam())


@pytest.mark.parametrize("cam", [GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM])
def test_a_layer_that_the_score_does_not_depend_on_is_refused(cam, images):
    image = keras.Input((28, 28, 1))
    aside = layers.Conv2D(2, 3, name="aside")(image)
    scores = layers.Dense(3, name="scores")(layers.Flatten()(image))
    model = keras.Model(image, {"scores": scores, "aside": aside})
    network = mx.Network(model, output="scores")
    with pytest.raises(mx.UnsupportedLayerError, match="aside: the score does not depend"):
        mx.explain(network, images, [0] * 5, method=cam("aside"))


def test_negative_activations_can_give_a_map_of_zeros_with_a_warning(images):
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(
        3, 3, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(-1)
    )(image)
    model = keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))
    explanation = mx.explain(model, images, method=LayerCAM())
    assert not explanation.maps.any()
    assert "zero everywhere" in explanation.warnings[0]
