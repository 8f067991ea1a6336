"""Data sets: loading, normalising, augmenting, and batches for training."""

import hashlib
import os
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.io.datasets import LOADERS
from mnist_xai.io.readers import DataError, ImageShape, read_path
from mnist_xai.io.safe_text import escape_controls

SOURCES = tuple(LOADERS)
"""Names of the data sets that `load_data` knows."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images in two separate parts, for training and for testing.

    Attributes:
        name: The name that outputs made from this data set show.
        train_images: uint8 `(N, H, W, C)`, 0 to 255.
        train_labels: Integers `(N,)`, indices into `class_names`.
        test_images: uint8 `(M, H, W, C)`, 0 to 255.
        test_labels: Integers `(M,)`, indices into `class_names`.
        class_names: The name of each class.
        notes: What was changed in pictures to bring them to one shape.

    There may be no training images; there is at least one test image.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.integer]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.integer]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.dtype != np.uint8 or images.ndim != 4:
                raise DataError(
                    f"{self.name}: expected {part} images as uint8 (N, H, W, C); "
                    f"got {images.dtype} {images.shape}"
                )
            if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
                raise DataError(
                    f"{self.name}: expected {len(images)} integer {part} labels; "
                    f"got {labels.dtype} {labels.shape}"
                )
            if part == "test" and not images.size:
                raise DataError(f"{self.name}: expected test images; got none")
            if len(labels) and (labels.min() < 0 or labels.max() >= len(self.class_names)):
                raise DataError(
                    f"{self.name}: expected {part} labels from 0 to {len(self.class_names) - 1}; "
                    f"got {labels.min()} to {labels.max()}"
                )
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: expected training and test images of one shape; "
                f"got {self.train_images.shape[1:]} and {self.test_images.shape[1:]}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return height, width and channels of an image."""
        height, width, channels = self.test_images.shape[1:]
        return height, width, channels

    @cached_property
    def sha256(self) -> str:
        """Return the SHA-256 of all images and labels; it does not depend on the file format."""
        digest = hashlib.sha256()
        for images in (self.train_images, self.test_images):
            digest.update(repr(images.shape).encode())
            digest.update(np.ascontiguousarray(images).data)
        for labels in (self.train_labels, self.test_labels):
            digest.update(np.ascontiguousarray(labels, "<i8").data)
        return digest.hexdigest()


def load_data(
    source: str | os.PathLike[str] = "mnist", *, image_shape: ImageShape | None = None
) -> Dataset:
    """Load a data set by name or from a path.

    MNIST is loaded from the path in the environment variable `MNIST_XAI_DATA` when it is set.
    Otherwise the named data sets are loaded from Keras's cache, or downloaded into it. Downloads
    are checked against published hashes.

    Args:
        source: One of `SOURCES`, or the path of a folder of IDX files (plain or gzip), of an
            `.npz` file like Keras's `mnist.npz`, of a folder with `train/<label>/*.png` and
            `test/<label>/*.png`, or of a folder with `<label>/*.png`, which are all test images.
        image_shape: Height, width and channels of a model. Pictures in folders are resized, and
            grey ones repeated in three channels or colours turned to grey; `Dataset.notes` says
            which. None for a side of any length. Without it, all pictures must have one shape.

    Returns:
        The data set, its images as uint8.

    Raises:
        DataError: When the path is not a data set, or a file in it is damaged.
        DataUnavailableError: When a named data set is not on this machine and cannot be
            downloaded.
        ValueError: When the source is neither a known name nor an existing path.
    """
    if source in LOADERS:
        name, arrays = LOADERS[str(source)]()
        return Dataset(name, *arrays)
    path = Path(source)
    if not path.exists():
        raise ValueError(
            f"data: expected one of {', '.join(SOURCES)} or an existing path; got {str(source)!r}"
        )
    return Dataset(escape_controls(path.resolve().stem), *read_path(path, image_shape))


def normalise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale pixels from 0 … 255 to [0, 1]: `x = pixel / 255`.

    Args:
        images: uint8 of any shape, 0 to 255.

    Returns:
        float32 of the same shape, in [0, 1].

    Raises:
        TypeError: When the images are not uint8; they may be normalised already.
    """
    if images.dtype != np.uint8:
        raise TypeError(f"images: expected uint8 from 0 to 255; got {images.dtype}")
    return images.astype(np.float32) / np.float32(255)


# --- Augmentation ------------------------------------------------------------------------


@dataclass(frozen=True)
class Augmentation:
    """Random rotation, scaling, shear and translation, as one bilinear warp of each image.

    An output pixel `p` is read at `c + A (p - c) + t`, `c` the centre of the image, with

        A = R(phi) [[1, k], [0, 1]] diag(s_x, s_y)

    Each parameter is drawn uniformly between minus and plus its field. The parameters of image
    `i` in epoch `e` with seed `s` are a function of `(s, e, i)` only. Pixels read outside the
    image are 0.

    Attributes:
        rotation: Largest angle `phi`, in degrees.
        scale: Largest relative change of size; `s = 1 + u` in both directions.
        aspect: Largest additional relative change of the width.
        shear: Largest shear `k`.
        translation: Largest shift `t` in each direction, in pixels: the article's crop.
    """

    rotation: float = 0.0
    scale: float = 0.0
    aspect: float = 0.0
    shear: float = 0.0
    translation: float = 0.0

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0 or self.scale >= 1 or self.aspect >= 1:
            raise ValueError(
                f"augmentation: expected every range >= 0, scale and aspect < 1; got {self}"
            )

    def transforms(
        self, seed: int, epoch: int, count: int, image_shape: tuple[int, int, int]
    ) -> NDArray[np.float32]:
        """Draw the warps of images 0 … count - 1 in one epoch.

        Args:
            seed: Seed of the training, at least 0.
            epoch: Pass over the images, from 0.
            count: Number of images. The warp of an image does not depend on it.
            image_shape: Height, width and channels.

        Returns:
            `(count, 8)`: a0, a1, a2, b0, b1, b2, 0, 0; output pixel (x, y) is read at
            (a0 x + a1 y + a2, b0 x + b1 y + b2).
        """
        draws = np.random.default_rng([seed, epoch, _WARP_STREAM]).uniform(-1, 1, (count, 6))
        ranges = (self.rotation, self.scale, self.aspect, self.shear, *2 * (self.translation,))
        angle, scale, aspect, shear, shift_x, shift_y = (draws * ranges).T
        cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        scale_x, scale_y = (1 + scale) * (1 + aspect), 1 + scale
        a0, a1 = scale_x * cosine, scale_y * (shear * cosine - sine)
        b0, b1 = scale_x * sine, scale_y * (shear * sine + cosine)
        centre_x, centre_y = (image_shape[1] - 1) / 2, (image_shape[0] - 1) / 2
        a2 = centre_x - a0 * centre_x - a1 * centre_y + shift_x
        b2 = centre_y - b0 * centre_x - b1 * centre_y + shift_y
        zero = np.zeros(count)
        return np.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1).astype(np.float32)


# Different stream numbers, so that warps and order of one seed and epoch are independent.
_WARP_STREAM, _ORDER_STREAM = 1, 2


def warp(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Warp each image by its own transform, with bilinear interpolation and 0 outside.

    Args:
        images: `(N, H, W, C)`.
        transforms: `(N, 8)`, as `Augmentation.transforms` draws them.

    Returns:
        `(N, H, W, C)`.
    """
    return keras.ops.image.affine_transform(
        images, transforms, interpolation="bilinear", fill_mode="constant", fill_value=0.0
    )


def training_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return 0 … count - 1 in random order for one pass: a function of (seed, epoch, count)."""
    return np.random.default_rng([seed, epoch, _ORDER_STREAM]).permutation(count)


def training_batches(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    batch_size: int,
    classes: int,
    seed: int,
    augmentation: Augmentation | None = None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Return an endless stream of shuffled batches, normalised and augmented.

    Batch `t` belongs to pass `t // (N // batch_size)` over the images, and is a function of
    (images, labels, seed, t). So a training that resumes at `first_step` gets the batches of an
    uninterrupted one. Each pass omits the `N % batch_size` images that do not fill a batch; they
    differ from pass to pass.

    Args:
        images: uint8 `(N, H, W, C)`, 0 to 255.
        labels: Integers `(N,)`.
        batch_size: Images in a batch, at most N.
        classes: Number of classes.
        seed: Seed of order and warps.
        augmentation: How images are warped; None for no warps.
        first_step: Index of the first batch.

    Returns:
        A dataset of float32 images `(batch_size, H, W, C)` in [0, 1] and float32 one-hot
        labels `(batch_size, classes)`.
    """
    count = len(images)
    steps = count // batch_size
    first_pass, skipped = divmod(first_step, steps)

    def draw(epoch: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        order = training_order(seed, int(epoch), count)[: steps * batch_size]
        if augmentation:
            warps = augmentation.transforms(seed, int(epoch), count, images.shape[1:])[order]
        else:
            warps = np.zeros((len(order), 8), np.float32)
        return order.reshape(steps, batch_size), warps.reshape(steps, batch_size, 8)

    def one_pass(epoch: tf.Tensor) -> tf.data.Dataset:
        order, warps = tf.numpy_function(draw, [epoch], [tf.int64, tf.float32], stateful=False)
        order = tf.ensure_shape(order, [steps, batch_size])
        warps = tf.ensure_shape(warps, [steps, batch_size, 8])
        return tf.data.Dataset.from_tensor_slices((order, warps))

    pixels, targets = tf.constant(images), tf.constant(labels, tf.int32)

    def batch(order: tf.Tensor, warps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.cast(tf.gather(pixels, order), tf.float32) / 255.0
        y = tf.one_hot(tf.gather(targets, order), classes)
        return (warp(x, warps) if augmentation else x), y

    passes = tf.data.Dataset.range(first_pass, np.iinfo(np.int64).max)
    return passes.flat_map(one_pass).skip(skipped).map(batch, 1, deterministic=True).prefetch(4)
