"""The model, the data and the one image that a command is given, made to fit each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_xai.cli.terminal import say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnist_xai.data import Dataset
    from mnist_xai.interpret import Network


@dataclass(frozen=True, eq=False)
class OneImage:
    """The image that a command is about.

    Attributes:
        values: As the model takes it, `(1, H, W, C)`.
        picture: The same to be shown, `(H, W, C)` in [0, 1].
        stamp: What its picture says about where it is from.
        class_names: Names of the classes, where the data set has them.
    """

    values: "NDArray[np.float32]"
    picture: "NDArray[np.float32]"
    stamp: str
    class_names: Sequence[str] = ()

    def class_name(self, index: int) -> str:
        """Return a class's index, and its name where that says more."""
        name = self.class_names[index] if index < len(self.class_names) else ""
        return f"{index}" if name in ("", f"{index}") else f"{index} ({name})"


def load_network(
    model_path: Path, pixels: str | None, preprocess: str | None, output: str | None
) -> "Network":
    """Load a model as the options, or else its card, say that it takes pictures."""
    import mnist_xai as mx
    from mnist_xai.io.saving import said_of_images

    said = said_of_images(model_path)
    if pixels or preprocess:
        said = {"pixels": pixels and parse_pixels(pixels), "preprocess": preprocess}
    return mx.Network(
        mx.load_model(model_path),
        pixels=said.get("pixels"),
        preprocess=said.get("preprocess"),
        output=int(output) if output and output.isdecimal() else output,
    )


def parse_pixels(text: str) -> str | tuple[Sequence[float], Sequence[float]]:
    """Return the range that `--pixels` gives: a name, `LOW,HIGH`, or all lows, then all highs.

    Raises:
        click.UsageError: For numbers that cannot be read, or an odd number of them.
    """
    if "," not in text:
        return text
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    half, odd = divmod(len(numbers), 2)
    if odd or not half:
        raise click.UsageError(
            f"--pixels: expected a name, LOW,HIGH, or one LOW for each channel and then one HIGH "
            f"for each; got {text}"
        )
    return numbers[:half], numbers[half:]


def load_data_for(network: "Network", data: str) -> "Dataset":
    """Load a data set; bring pictures in folders to the model's shape, and say so."""
    import mnist_xai as mx

    dataset = mx.load_data(data, image_shape=network.image_shape)
    for note in dataset.notes:
        say(f"{dataset.name}: {note}", err=True)
    return dataset


def check_classes(network: "Network", dataset: "Dataset") -> None:
    """Raise ValueError unless the data set has as many classes as the model."""
    names = dataset.class_names
    if len(names) != network.classes:
        shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        raise ValueError(
            f"data: expected {network.classes} classes, as many as the model has; "
            f"{dataset.name} has {len(names)}: {shown}"
        )


def one_image(
    network: "Network", data: str | None, index: int | None, image: Path | None
) -> OneImage:
    """Return the image that `--image` or `--data` and `--index` choose.

    With both `--image` and `--data`, the data set gives the names of the classes.

    Raises:
        click.UsageError: When not exactly one of the two is given, or for an index out of range.
    """
    if (index is None) == (image is None):
        raise click.UsageError("expected either --index N or --image FILE")
    if image is not None:
        names = () if data is None else load_data_for(network, data).class_names
        return _shown(network, _fitted_picture(network, image), image.name, names)
    dataset = load_data_for(network, data or "mnist")
    count = len(dataset.test_images)
    if not 0 <= (index or 0) < count:
        raise click.UsageError(f"--index: expected 0 to {count - 1}; got {index}")
    chosen = dataset.test_images[index : index + 1]  # type: ignore[operator]
    return _shown(network, chosen, f"{dataset.name}, test image {index}", dataset.class_names)


def _shown(
    network: "Network", pictures: "NDArray[np.uint8]", stamp: str, class_names: Sequence[str]
) -> OneImage:
    import mnist_xai as mx

    return OneImage(network.images_of(pictures), mx.normalise(pictures)[0], stamp, class_names)


def _fitted_picture(network: "Network", path: Path) -> "NDArray[np.uint8]":
    from mnist_xai.io.readers import Fitting, read_picture

    fitting = Fitting(network.image_shape)
    picture = fitting(path, read_picture(path))
    for note in fitting.notes:
        say(f"{path.name}: {note}", err=True)
    return picture[None]
