"""Images in which it is known where the evidence lies, made of anybody's data set.

The masks are what metrics of the family localisation ask for. They are true of the data; a network
is held to them only as far as it has learnt them, so its accuracy comes first.

Images are uint8 and labels integers as in a `Dataset`; everything random is a function of the seed.
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
    """Images, and where the evidence for a class lies in each.

    Attributes:
        images: uint8 `(N, H, W, C)`.
        labels: The class whose evidence is marked, `(N,)`.
        masks: True where it lies, `(N, H, W)`.
        distractors: True where something lies that says nothing of the class; None without one.
    """

    images: Images
    labels: Labels
    masks: Masks
    distractors: Masks | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: NDArray[np.integer] | slice) -> "Known":
        """Some of the images."""
        others = None if self.distractors is None else self.distractors[rows]
        return Known(self.images[rows], self.labels[rows], self.masks[rows], others)

    def batch(self, network: Network, method: Method, *, score: Score = "logit") -> ExplainedBatch:
        """Put a method on batch: it explains the marked classes."""
        images = normalise(self.images)
        return ExplainedBatch.of(
            network, images, method, self.labels, masks=self.masks, score=score
        )


def digit_grid(
    dataset: Dataset, count: int = 100, *, size: Literal["same", "double"] = "same", seed: int = 0
) -> Known:
    """Four images of different classes in a 2 x 2 grid, each of which is explained in turn.

    `RelevanceMass` of these is the grid pointing game: the share of positive relevance inside the
    cell of the class that is explained, 1/4 for a map that knows nothing.

    Args:
        dataset: Its test images are used.
        count: Number of grids; each is there four times, once for each of its cells.
        size: `"same"`, images shrunk to half by the mean of 2 x 2 pixels, for any network;
            `"double"`, images as they are, for networks that take any size.
        seed: Seed of what comes into which cell.

    Returns:
        `4 count` images, the four of a grid one after the other, cells row by row.

    Raises:
        ValueError: For fewer than four classes, an odd side to be halved, or a wrong argument.

    Source: Böhle et al. 2021, section 4, the localisation metric; Rao et al. 2022, section 3.1.
    """
    check_counts(count=count)
    check_seed(seed)
    if size not in ("same", "double"):
        raise ValueError(f"size: expected same or double; got {size!r}")
    images = dataset.test_images if size == "double" else _halved(dataset)
    rng = np.random.default_rng(seed)
    chosen = _of_different_classes(dataset.test_labels, count, rng)
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
    """A data set whose labels depend on a patch alone, whatever else the image shows.

    The label is drawn at random, and its pattern, half of the pixels white and half black, is put
    over one square of the image. All evidence lies in it: outside, the image says nothing of the
    label. A network that knows the label has it from there.

    Args:
        dataset: What the images are made of.
        classes: Number of labels, each with a pattern of its own.
        side: Side of the square in pixels.
        corner: Its upper left pixel, row and column.
        seed: Seed of patterns and labels.

    Returns:
        The data set, for whatever trains networks, and its test images with the square marked.

    Raises:
        ValueError: For a square outside the image, or too small for so many patterns.
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
    """Images with a second object in a corner that says nothing of the class.

    The object is a pattern, of as many as there are classes, in a corner chosen at random. In the
    training images the pattern is independent of the class, so that a network learns to ignore it;
    or, with `shortcut`, it is that of the class, and a network may learn that instead. In the test
    images it is independent always: a network that took the shortcut is wrong there, and its maps
    should say so by lying on the object.

    Args:
        dataset: What the images are made of.
        side: Side of the object in pixels; it covers what is in its corner.
        shortcut: Whether the object gives the class away in the training images.
        seed: Seed of patterns and corners.

    Returns:
        The data set, and its test images; masks are what is not black outside the object,
        `distractors` is the object.

    Raises:
        ValueError: For an object larger than the image, or too small for so many patterns.
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
        for place, square in enumerate(rng.integers(4, size=len(images))):
            images[place, *squares[square]] = patterns[kinds[place], ..., np.newaxis]
            objects[place, *squares[square]] = True
        made.append((images, objects))
    (train, _), (test, objects) = made
    labels = dataset.train_labels, dataset.test_labels
    named = f"{dataset.name}, with {'a shortcut' if shortcut else 'distractors'}"
    changed = Dataset(named, train, labels[0], test, labels[1], dataset.class_names)
    masks = test.any(axis=-1) & ~objects
    return changed, Known(test, labels[1].astype(np.int64), masks, objects)


def _halved(dataset: Dataset) -> Images:
    """The test images, each pixel the mean of 2 x 2, rounded."""
    height, width, channels = dataset.image_shape
    if height % 2 or width % 2:
        raise ValueError(f"size: expected images of even sides to halve; got {height} x {width}")
    blocks = dataset.test_images.reshape(-1, height // 2, 2, width // 2, 2, channels)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)


def _of_different_classes(
    labels: NDArray[np.integer], count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Four images of four classes, so many times: their numbers, `(count, 4)`."""
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    if len(members) < 4:
        raise ValueError(f"dataset: expected images of at least 4 classes; got {len(members)}")
    grids = [rng.choice(len(members), 4, replace=False) for _ in range(count)]
    return np.array([[rng.choice(members[c]) for c in grid] for grid in grids])


def _patterns(count: int, side: int, rng: np.random.Generator) -> Images:
    """Different patterns, half of their pixels white, `(count, side, side)`."""
    check_counts(2, classes=count)
    pixels = side**2
    half = np.arange(pixels) < pixels // 2
    found: dict[bytes, NDArray[np.bool_]] = {}
    for _ in range(100 * count):
        pattern = rng.permutation(half)
        found.setdefault(pattern.tobytes(), pattern)
        if len(found) == count:
            return np.where(list(found.values()), 255, 0).astype(np.uint8).reshape(-1, side, side)
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
