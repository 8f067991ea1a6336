import numpy as np
import pytest

from mnist_xai.quality import Baseline, Blur, NoisyImputation, Uniform

SHAPE = (6, 7, 2)


@pytest.fixture
def image():
    return np.random.default_rng(0).random(SHAPE, np.float32)


def imputed_slowly(image, removed):
    """Solve the equations of Rong et al. as a dense system over all pixels."""
    height, width, channels = image.shape
    size = height * width
    system, right = np.eye(size), image.reshape(size, channels).astype(np.float64)
    for row, column in zip(*np.nonzero(removed), strict=True):
        i = row * width + column
        right[i] = 0
        near = [
            ((row + down) * width + column + across, 1 / 6 if 0 in (down, across) else 1 / 12)
            for down in (-1, 0, 1)
            for across in (-1, 0, 1)
            if (down, across) != (0, 0)
            and 0 <= row + down < height
            and 0 <= column + across < width
        ]
        for j, weight in near:
            system[i, j] = -weight / sum(w for _, w in near)
    return np.linalg.solve(system, right).reshape(image.shape)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.97])
def test_imputed_pixels_solve_the_papers_equations(image, share):
    removed = np.zeros(SHAPE[:2], np.bool_)
    removed.flat[np.random.default_rng(1).permutation(42)[: max(1, int(share * 42))]] = True
    found = NoisyImputation(noise=0).impute(image, removed[None])
    assert found.shape == (1, *SHAPE)
    np.testing.assert_allclose(found[0], imputed_slowly(image, removed), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found[0][~removed], image[~removed])


def test_a_slope_is_imputed_exactly_inside_the_image():
    slope = np.add.outer(np.arange(9), 2 * np.arange(9)).astype(np.float32)[..., None] / 24
    removed = np.zeros((9, 9), np.bool_)
    removed[2:7, 3:6] = True
    found = NoisyImputation(noise=0).impute(slope, removed[None])[0]
    np.testing.assert_allclose(found, slope, atol=1e-6)


def test_a_pixel_has_the_same_noise_whatever_else_is_removed(image):
    removed = np.zeros((2, *SHAPE[:2]), np.bool_)
    removed[0, 1, :5] = removed[1, 1, 2:] = True
    quiet, loud = (NoisyImputation(noise, seed=3).impute(image, removed) for noise in (0, 0.1))
    noise = loud - quiet
    assert not noise[~removed].any()
    np.testing.assert_allclose(noise[0, 1, 2:5], noise[1, 1, 2:5], atol=1e-6)
    assert 0.03 < noise[removed].std() < 0.2
    other = NoisyImputation(0.1, seed=4).impute(image, removed)
    assert np.abs(other - loud)[removed].min() > 1e-5


def test_fills_are_constant_random_or_blurred_images(image):
    images = np.stack([image, np.full(SHAPE, 0.25, np.float32)])
    (black,) = Baseline(0.5).fills(images)
    assert black.shape == (1, *SHAPE)
    assert (black == 0.5).all()
    first, second = Uniform(draws=2).fills(images)
    assert first.shape == (1, *SHAPE)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.4
    np.testing.assert_array_equal(first, next(Uniform(draws=1).fills(images[:1])))
    (blurred,) = Blur(2).fills(images)
    np.testing.assert_allclose(blurred[1], 0.25, rtol=1e-6)
    assert blurred[0].std() < image.std() / 2
    np.testing.assert_array_equal(next(Blur(2).fills(images[:1]))[0], blurred[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Baseline(-1), r"value: expected a pixel in \[0, 1\]; got -1"),
        (lambda: Uniform(draws=0), "draws: expected at least 1; got 0"),
        (lambda: Blur(0), "sigma: expected above 0; got 0"),
        (lambda: NoisyImputation(-0.1), "noise: expected at least 0; got -0.1"),
    ],
)
def test_errors_name_the_hyper_parameter_that_is_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
