"""What plots show, read back from the figures."""

import io

import numpy as np
import pytest
from matplotlib.image import AxesImage

from mnist_xai import plots
from mnist_xai.report import png

RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 8, 8, 1))
TITLES = ["a", "b", "c"]


def shown(figure):
    """Return every array that a figure shows, except those of colour bars."""
    return [
        child
        for axes in figure.findobj(lambda a: hasattr(a, "get_images"))
        if axes.get_label() != "<colorbar>"
        for child in axes.get_images()
        if isinstance(child, AxesImage)
    ]


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]


def test_signed_maps_share_one_symmetric_scale():
    maps = RNG.normal(size=(3, 8, 8, 1)) * np.array([1, 5, 0.1])[:, None, None, None]
    figure = plots.signed_maps(IMAGES, maps, TITLES, "maps", unit="logit")
    below = [image for image in shown(figure) if image.get_cmap().name == "RdBu_r"]
    assert len(below) == 3
    limit = np.quantile(np.abs(maps), 0.995)
    assert {image.get_clim() for image in below} == {(-limit, limit)}
    for image, expected in zip(below, maps, strict=True):
        np.testing.assert_allclose(image.get_array(), expected[..., 0])
    assert "logit" in texts(figure)


def test_the_channels_of_a_map_are_summed_with_their_signs():
    maps = np.stack([np.full((1, 4, 4), -1.0), np.full((1, 4, 4), 0.5)], axis=-1)
    figure = plots.signed_maps(np.zeros((1, 4, 4, 3)), maps, ["x"], "maps")
    assert shown(figure)[-1].get_array()[0, 0] == -0.5


def test_a_map_of_zeros_can_be_plotted():
    figure = plots.signed_maps(IMAGES, np.zeros((3, 8, 8, 1)), TITLES, "maps")
    assert shown(figure)[-1].get_clim() == (-1, 1)
    one = np.zeros((3, 20, 20, 1))
    one[0, 0, 0] = -3  # One pixel, outside the 99.5 % quantile.
    figure = plots.signed_maps(IMAGES, one, TITLES, "maps")
    assert shown(figure)[-1].get_clim() == (-3, 3)
    assert png(figure)


def test_attention_maps_are_scaled_from_zero_to_their_own_maximum():
    maps = RNG.random((3, 4, 4, 1)) * np.array([1, 100, 0])[:, None, None, None]
    figure = plots.attention_maps(IMAGES, maps, TITLES, "attention")
    below = [image.get_array() for image in shown(figure) if image.get_cmap().name == "viridis"]
    assert [float(np.max(m)) for m in below] == [1, 1, 0]


def test_each_compared_map_has_its_own_symmetric_scale():
    maps = [RNG.normal(size=(8, 8, 3)), -100 * RNG.random((7, 7, 1)), np.zeros((8, 8, 1))]
    figure = plots.compared_maps(IMAGES[0], maps, TITLES, "methods", columns=3, stamp="MNIST")
    image, *tiles = shown(figure)
    np.testing.assert_array_equal(image.get_array(), IMAGES[0][..., 0])
    assert {tile.get_clim() for tile in tiles} == {(-1, 1)}
    for tile, expected in zip(tiles, maps, strict=True):
        flat = expected.sum(axis=-1)
        np.testing.assert_allclose(tile.get_array(), flat / (np.abs(flat).max() or 1))
    assert [np.abs(tile.get_array()).max() for tile in tiles] == [1, 1, 0]
    assert {"image", "a", "b", "c", "MNIST"} <= set(texts(figure))
    assert any("own largest magnitude" in text for text in texts(figure))


@pytest.mark.parametrize(("low", "cmap"), [(0, "viridis"), (-1, "RdBu_r")])
def test_feature_maps_show_every_channel_on_one_scale(low, cmap):
    activations = RNG.uniform(low, 1, (6, 6, 35))
    figure = plots.feature_maps(IMAGES[0], activations, "conv1", stamp="MNIST")
    tiles = [image for image in shown(figure) if image.get_cmap().name == cmap]
    assert len(tiles) == 35
    assert len({image.get_clim() for image in tiles}) == 1
    np.testing.assert_allclose(tiles[34].get_array(), activations[..., 34])
    assert {"MNIST", "input", "34"} <= set(texts(figure))


def test_the_confusion_matrix_shows_every_count_and_colours_only_the_mistakes():
    confusion = np.array([[50, 2], [3, 45]])
    figure = plots.confusion_matrix(confusion, ["a", "b"], stamp="digits")
    assert {"50", "2", "3", "45", "digits", "predicted class", "label"} <= set(texts(figure))
    np.testing.assert_array_equal(shown(figure)[0].get_array(), [[0, 2], [3, 0]])


def test_learning_curves_show_the_values_of_the_history():
    history = {"loss": [3, 2], "val_loss": [4, 3], "accuracy": [0.1, 0.2], "val_accuracy": [0, 1]}
    figure = plots.learning_curves(history)
    lines = [line.get_ydata().tolist() for axes in figure.axes for line in axes.get_lines()]
    assert lines == [[3, 2], [4, 3], [0.1, 0.2], [0, 1]]


@pytest.mark.parametrize("count", [1, 8, 9])
def test_image_grids_show_any_number_of_images(count):
    images = RNG.normal(size=(count, 5, 5, 1))
    figure = plots.image_grid(images, [str(i) for i in range(count)], "kernels", signed=True)
    assert len(shown(figure)) == count


def test_the_same_figure_gives_the_same_bytes():
    first, second = (
        png(plots.attention_maps(IMAGES, IMAGES, TITLES, "x", stamp="s")) for _ in range(2)
    )
    assert first == second
    assert io.BytesIO(first).read(8) == b"\x89PNG\r\n\x1a\n"


def test_each_map_in_a_row_of_methods_has_its_own_scale():
    images = np.zeros((2, 4, 4, 1))
    maps = {"one": np.full((2, 4, 4, 3), 2.0), "two": np.zeros((2, 4, 4, 1))}
    maps["one"][1] = -7e-9
    figure = plots.method_rows(images, maps, ["a", "b"], "Some methods")
    shown = [axes.images[0].get_array() for axes in figure.axes[2:6]]
    assert [float(one.max()) for one in shown] == [1, -1, 0, 0]
    assert [axes.get_ylabel() for axes in figure.axes[2:6]] == ["one", "", "two", ""]
    assert {axes.images[0].get_clim() for axes in figure.axes[2:6]} == {(-1, 1)}


def test_panels_share_one_scale_and_curves_differ_in_more_than_colour():
    panels = {
        "few": {f"curve_{i}": np.arange(3) * i for i in range(12)},
        "one": {"alone": np.array([1, np.nan, 2])},
        "two": {"alone": np.zeros(3)},
    }
    figure = plots.curve_panels(panels, ["a", "b", "c"], "Curves", xlabel="x", ylabel="y")
    first, second, _, empty = figure.axes
    lines = first.get_lines()[:12]
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 12
    assert first.get_ylim() == second.get_ylim()
    assert not empty.get_visible()
    np.testing.assert_array_equal(lines[3].get_ydata(), [0, 3, 6])


def test_panels_with_the_same_curves_share_a_legend():
    def drawn(**panels):
        return plots.curve_panels(panels, ["a", "b"], "Curves", xlabel="x", ylabel="y")

    one, two = {"one": np.array([0, 1])}, {"two": np.array([0, 1])}
    same, other = drawn(first=one, second=one), drawn(first=one, second=two)
    assert [t.get_text() for t in same.legends[0].get_texts()] == ["one"]
    assert not any(axes.get_legend() for axes in same.axes)
    assert not other.legends
    assert [axes.get_legend().get_texts()[0].get_text() for axes in other.axes] == ["one", "two"]


def test_a_reliability_diagram_shows_accuracy_by_confidence():
    confidence = np.array([0.55, 0.6, 0.95, 1.0])
    right = np.array([True, False, True, True])
    accuracy, counts = plots.reliability_diagram(confidence, right, bins=10).axes
    np.testing.assert_allclose(accuracy.get_lines()[1].get_xydata(), [[0.575, 0.5], [0.975, 1]])
    assert [bar.get_height() for bar in counts.patches] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 2]
