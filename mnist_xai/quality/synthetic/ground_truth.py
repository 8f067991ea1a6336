"""Images, made from any data set, in which it is known where the evidence lies.

Localisation metrics need the masks. The masks are correct for the data, but for a network only as
far as it has learned the task: check its accuracy first.

Images are uint8 and labels are integers, as in a `Dataset`. All random choices depend on the seed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnist_xai.data import Dataset, normalise
from mnist_xai.interpret.core.inputs import Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.parameters import check_counts, check_seed
from mnist_xai.interpret.methods.base import Method
from mnist_xai.quality.base import ExplainedBatch

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Masks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Known:
    """Images with masks that mark the evidence for a class.

    Attributes:
        images: uint8 `(N, H, W, C)`.
        labels: The class whose evidence is marked, `(N,)`.
        masks: True where the evidence lies, `(N, H, W)`.
        distractors: True where an object lies that is no evidence for the class, `(N, H, W)`; None
            without such objects.
    """

    images: Images
    labels: Labels
    masks: Masks
    distractors: Masks | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: NDArray[np.integer] | slice) -> "Known":
        """Return the images in these rows only."""
        distractors = None if self.distractors is None else self.distractors[rows]
        return Known(self.images[rows], self.labels[rows], self.masks[rows], distractors)

    def explained_by(
        self, network: Network, method: Method, *, score: Score = "logit"
    ) -> ExplainedBatch:
        """Explain the marked classes by a method; return the batch with the masks."""
        images = normalise(self.images)
        return ExplainedBatch.of(
            network, images, method, self.labels, masks=self.masks, score=score
        )


def digit_grid(
    dataset: Dataset, count: int = 100, *, size: Literal["same", "double"] = "same", seed: int = 0
) -> Known:
    """Return 2 x 2 grids of images of four classes, each grid once for each of its classes.

    `RelevanceMass` of these images is the grid pointing game: the share of positive relevance
    inside the cell of the explained class. A random map scores 1/4 on average.

    Args:
        dataset: The data set whose test images are used.
        count: Number of grids.
        size: `"same"`: images are halved by the mean of 2 x 2 pixels, so that the grid has the size
            of an image; `"double"`: images keep their size, for networks that take any size.
        seed: Seed of the choice of images.

    Returns:
        `4 count` images: each grid four times in a row, with its cells marked row by row.

    Raises:
        ValueError: For fewer than four classes, sides that cannot be halved, or an argument out of
            range.

    Source: Böhle et al. 2021, section 4, the localisation metric; Rao et al. 2022, section 3.1.
    """
    check_counts(count=count)
    check_seed(seed)
    if size not in ("same", "double"):
        raise ValueError(f"size: expected same or double; got {size!r}")
    images = dataset.test_images if size == "double" else _halved(dataset)
    rng = np.random.default_rng(seed)
    chosen = _draw_grids(dataset.test_labels, count, rng)
    rows = [
        np.concatenate([images[a], images[b]], axis=2)
        for a, b in (chosen[:, :2].T, chosen[:, 2:].T)
    ]
    grids = np.concatenate(rows, axis=1)
    cell = np.kron(np.arange(4).reshape(2, 2), np.ones(images.shape[1:3], np.intp))
    masks = np.tile([cell == k for k in range(4)], (count, 1, 1))
    labels = dataset.test_labels[chosen].ravel().astype(np.int64)
    return Known(np.repeat(grids, 4, axis=0), labels, masks)


def planted_rule(
    dataset: Dataset,
    *,
    classes: int = 4,
    side: int = 6,
    corner: tuple[int, int] = (1, 1),
    seed: int = 0,
) -> tuple[Dataset, Known]:
    """Return a data set whose labels depend on one patch of the image only.

    Labels are drawn at random. Each label has a pattern, half of its pixels white and half black,
    which replaces one square of the image. All evidence lies in this square: the rest of the image
    is independent of the label.

    Args:
        dataset: The data set whose images are used.
        classes: Number of labels.
        side: Side of the square in pixels.
        corner: Upper left pixel of the square, row and column.
        seed: Seed of patterns and labels.

    Returns:
        The data set, to train networks with, and its test images with the square marked.

    Raises:
        ValueError: For a square outside the image, or one too small for all patterns.
    """
    check_seed(seed)
    height, width, _ = dataset.image_shape
    square = _square(corner, side, height, width)
    rng = np.random.default_rng(seed)
    patterns = _patterns(classes, side, rng)
    parts: list[tuple[Images, Labels]] = []
    for original in (dataset.train_images, dataset.test_images):
        labels = rng.integers(classes, size=len(original))
        images = original.copy()
        images[:, *square] = patterns[labels][..., np.newaxis]
        parts.append((images, labels))
    (train, train_labels), (test, test_labels) = parts
    names = tuple(f"pattern {k}" for k in range(classes))
    planted = Dataset(
        f"{dataset.name}, planted rule", train, train_labels, test, test_labels, names
    )
    mask = np.zeros((height, width), np.bool_)
    mask[square] = True
    return planted, Known(test, test_labels, np.tile(mask, (len(test), 1, 1)))


def distractor(
    dataset: Dataset, *, side: int = 6, shortcut: bool = False, seed: int = 0
) -> tuple[Dataset, Known]:
    """Return a data set with a second object, in a corner, that is no evidence for the class.

    The object is one of as many patterns as there are classes; its corner is random. By default
    the pattern is independent of the class, so that a network learns to ignore it. With
    `shortcut`, the pattern in the training images is that of the class, and a network may learn
    the pattern instead of the class. In the test images it is always independent: a network that
    learned the shortcut is wrong there, and its maps should mark the object.

    Args:
        dataset: The data set whose images are used.
        side: Side of the object in pixels; it covers its corner of the image.
        shortcut: Whether the pattern reveals the class in the training images.
        seed: Seed of patterns and corners.

    Returns:
        The data set, and its test images: `masks` are the pixels outside the object that are not
        black, `distractors` are the pixels of the object.

    Raises:
        ValueError: For an object larger than the image, or one too small for all patterns.
    """
    check_seed(seed)
    height, width, _ = dataset.image_shape
    corners = [(top, left) for top in (0, height - side) for left in (0, width - side)]
    squares = [_square(corner, side, height, width) for corner in corners]
    classes = len(dataset.class_names)
    rng = np.random.default_rng(seed)
    patterns = _patterns(classes, side, rng)
    made: list[tuple[Images, Masks]] = []
    for part in ("train", "test"):
        images = getattr(dataset, f"{part}_images").copy()
        kinds = rng.integers(classes, size=len(images))
        if shortcut and part == "train":
            kinds = dataset.train_labels.astype(np.int64)
        objects = np.zeros(images.shape[:3], np.bool_)
        for row, square in enumerate(rng.integers(4, size=len(images))):
            images[row, *squares[square]] = patterns[kinds[row], ..., np.newaxis]
            objects[row, *squares[square]] = True
        made.append((images, objects))
    (train, _), (test, objects) = made
    labels = dataset.train_labels, dataset.test_labels
    named = f"{dataset.name}, with {'a shortcut' if shortcut else 'distractors'}"
    changed = Dataset(named, train, labels[0], test, labels[1], dataset.class_names)
    masks = test.any(axis=-1) & ~objects
    return changed, Known(test, labels[1].astype(np.int64), masks, objects)


def _halved(dataset: Dataset) -> Images:
    """Return the test images at half their size: rounded means of 2 x 2 pixels."""
    height, width, channels = dataset.image_shape
    if height % 2 or width % 2:
        raise ValueError(f"size: expected images of even sides to halve; got {height} x {width}")
    blocks = dataset.test_images.reshape(-1, height // 2, 2, width // 2, 2, channels)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)


def _draw_grids(
    labels: NDArray[np.integer], count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return the indices of four images of four different classes for each grid, `(count, 4)`."""
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    if len(members) < 4:
        raise ValueError(f"dataset: expected images of at least 4 classes; got {len(members)}")
    grids = [rng.choice(len(members), 4, replace=False) for _ in range(count)]
    return np.array([[rng.choice(members[c]) for c in grid] for grid in grids])


def _patterns(count: int, side: int, rng: np.random.Generator) -> Images:
    """Return different patterns with half of their pixels white, `(count, side, side)`."""
    check_counts(2, classes=count)
    pixels = side**2
    half = np.arange(pixels) < pixels // 2
    patterns: dict[bytes, NDArray[np.bool_]] = {}
    for _ in range(100 * count):
        pattern = rng.permutation(half)
        patterns.setdefault(pattern.tobytes(), pattern)
        if len(patterns) == count:
            drawn = list(patterns.values())
            return np.where(drawn, 255, 0).astype(np.uint8).reshape(-1, side, side)
    raise ValueError(f"side: expected room for {count} patterns; got {side} x {side} pixels")


def _square(corner: tuple[int, int], side: int, height: int, width: int) -> tuple[slice, slice]:
    top, left = corner
    check_counts(side=side)
    if min(corner) < 0 or top + side > height or left + side > width:
        raise ValueError(
            f"side: expected a square inside images of {height} x {width} pixels; "
            f"got {side} pixels from {corner}"
        )
    return slice(top, top + side), slice(left, left + side)
