import numpy as np
import pytest
from keras import Input, Sequential, layers

from mnist_xai import Network
from mnist_xai.interpret.methods.perturbation import masking
from mnist_xai.interpret.methods.perturbation.features import Grid, Patches
from mnist_xai.interpret.methods.perturbation.masking import scores_of_masks


@pytest.fixture(scope="module")
def sparse():
    """Images in which many features are black, different ones in different images."""
    rng = np.random.default_rng(0)
    images = rng.random((5, 28, 28, 1), np.float32)
    images[:, :, :8] = images[:, 20:] = 0
    images[1:3, :12] = images[4, :, 12:] = 0
    return images


def one_by_one(network, images, targets, masks, labels, baseline, score):
    """Score every image under every mask, masked in NumPy: a slow replica."""
    full = np.asarray(masks, np.float32)[:, labels][..., np.newaxis]
    columns = [network.scores(images * m + baseline * (1 - m), targets, score=score) for m in full]
    return np.stack(columns, axis=1)


@pytest.fixture(scope="module")
def in_sevens(network):
    """The same model, with passes for batches of seven images."""
    return Network(network.model, batch_size=7)


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("baseline", [0.0, 0.4])
@pytest.mark.parametrize("dtype", [np.bool_, np.float32])
def test_scores_equal_those_of_masking_in_numpy_though_equal_masked_images_are_left_out(
    in_sevens, sparse, dtype, baseline, score
):
    labels = Patches(5).labels(28, 28)
    masks = np.random.default_rng(1).random((40, 36), np.float32)
    masks = masks < 0.5 if dtype == np.bool_ else masks
    network, targets = in_sevens, np.array([3, 1, 4, 1, 5], np.int32)
    found = scores_of_masks(network, sparse, targets, masks, labels, baseline=baseline, score=score)
    expected = one_by_one(network, sparse, targets, masks, labels, baseline, score)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["convolution", "no stem", "colour"])
def test_networks_with_and_without_a_linear_stem_give_the_same_scores_as_masking_in_numpy(kind):
    channels = 3 if kind == "colour" else 1
    first = [] if kind == "no stem" else [layers.Conv2D(4, 3, activation="relu")]
    model = Sequential([Input((8, 9, channels)), *first, layers.Flatten(), layers.Dense(3)])
    images = np.random.default_rng(0).random((4, 8, 9, channels), np.float32)
    labels, targets = Grid(3).labels(8, 9), np.array([0, 1, 2, 0], np.int32)
    masks = np.random.default_rng(1).random((11, 9)) < 0.5
    network = Network(model)
    found = scores_of_masks(network, images, targets, masks, labels, baseline=0.2)
    expected = one_by_one(network, images, targets, masks, labels, 0.2, "logit")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_each_masked_image_is_scored_once(network, monkeypatch):
    images = np.zeros((2, 28, 28, 1), np.float32)
    images[0, :4, :8] = (
        0.5  # Two features of the grid differ from black; in the second image none does.
    )
    rows_seen = []
    plain = masking.masked_scores

    def counted(network, images, targets, masks, labels, rows, columns, **options):
        rows_seen.extend(rows.tolist())
        return plain(network, images, targets, masks, labels, rows, columns, **options)

    monkeypatch.setattr(masking, "masked_scores", counted)
    masks = np.random.default_rng(0).random((300, 49)) < 0.5
    labels = Grid(7).labels(28, 28)
    scores = scores_of_masks(network, images, np.zeros(2, np.int32), masks, labels)
    assert [rows_seen.count(i) for i in (0, 1)] == [4, 1]
    assert len(np.unique(scores[0])) == 4
    assert len(np.unique(scores[1])) == 1


def test_scores_do_not_depend_on_how_images_are_split_into_blocks(network, sparse, monkeypatch):
    masks = np.random.default_rng(1).random((20, 49)) < 0.5
    labels, targets = Grid(7).labels(28, 28), np.arange(5, dtype=np.int32)
    whole = scores_of_masks(network, sparse, targets, masks, labels)
    monkeypatch.setattr(masking, "PAIRS", 41)  # Two images at a time.
    split = scores_of_masks(network, sparse, targets, masks, labels)
    np.testing.assert_allclose(split, whole, atol=1e-5)
