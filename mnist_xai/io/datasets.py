"""The data sets known by name: MNIST, Fashion-MNIST, CIFAR-10 and scikit-learn's digits."""

import contextlib
import hashlib
import io
import os
import pickle
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_xai.io.files import remove_leftovers, temporary_folder
from mnist_xai.io.readers import Arrays, read_idx, read_path
from mnist_xai.io.safe_text import first_line

MNIST_VARIABLE = "MNIST_XAI_DATA"
"""Environment variable with the path of MNIST: any path that `load_data` takes."""

Named = tuple[str, Arrays]

_TIMEOUT = 30.0  # Seconds that a server may be silent.

# The addresses that Keras downloads from, and the hashes that it checks.
_KERAS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
_CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
_CIFAR10_ARCHIVE = "cifar-10-batches-py-target_archive"  # Its name in Keras's cache.


class DataUnavailableError(RuntimeError):
    """A data set is not on this machine and cannot be downloaded."""


def _mnist() -> Named:
    if location := os.environ.get(MNIST_VARIABLE):
        path = Path(location)
        if not path.exists():
            raise DataUnavailableError(f"{MNIST_VARIABLE}: no such file or folder: {location}")
        return "MNIST", read_path(path)
    with _download_errors("MNIST"):
        _cached_download("mnist.npz", _KERAS_URL + "mnist.npz", _MNIST_SHA256)
        train, test = keras.datasets.mnist.load_data()
    return _from_keras("MNIST", train, test, tuple("0123456789"))


# Keras does not check its download of Fashion-MNIST. These are the MD5 sums of its authors.
_FASHION_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def _fashion_mnist() -> Named:
    with _download_errors("Fashion-MNIST"):
        train_images, train_labels, test_images, test_labels = (
            read_idx(
                _cached_download(f"fashion-mnist/{name}", _KERAS_URL + name, md5),
                dimensions=3 if "images" in name else 1,
            )
            for name, md5 in _FASHION_MD5.items()
        )
    return _from_keras(
        "Fashion-MNIST", (train_images, train_labels), (test_images, test_labels), _FASHION_CLASSES
    )


_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def _cifar10() -> Named:
    with _download_errors("CIFAR-10"):
        content = _cached_download(_CIFAR10_ARCHIVE, _CIFAR10_URL, _CIFAR10_SHA256).read_bytes()
        # Check again the bytes that were read: others may write to a cache in /tmp.
        if hashlib.sha256(content).hexdigest() != _CIFAR10_SHA256:
            raise DataUnavailableError("the archive was changed while it was read")
        images, labels = zip(*_cifar10_batches(content), strict=True)
    train = np.concatenate(images[:-1]), np.concatenate(labels[:-1])
    return _from_keras("CIFAR-10", train, (images[-1], labels[-1]), _CIFAR10_CLASSES)


def _cifar10_batches(archive: bytes) -> list[tuple[NDArray[np.uint8], NDArray[np.integer]]]:
    """Return images `(N, 32, 32, 3)` and labels of the five training batches and the test batch.

    Keras unpacks the archive to a folder and reads the files that it finds there. This reads only
    the bytes whose hash was checked.
    """
    batches = []
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as members:
        for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
            stream = members.extractfile(f"cifar-10-batches-py/{name}")
            if stream is None:
                raise DataUnavailableError(f"{name} is not a file in the archive")
            batch = _ArrayUnpickler(stream, encoding="bytes").load()
            planes = batch[b"data"].reshape(-1, 3, 32, 32)
            images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
            batches.append((images, np.array(batch[b"labels"])))
    return batches


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays of numbers in lists and dictionaries, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return _ARRAY_PARTS[(module, name)]


# Under the names that NumPy used when the batches were written; today it warns about them.
_ARRAY_PARTS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): lambda kind, align, copy: np.dtype(kind, bool(align), bool(copy)),
}


def _from_keras(
    name: str,
    train: tuple[NDArray[np.uint8], NDArray[np.integer]],
    test: tuple[NDArray[np.uint8], NDArray[np.integer]],
    class_names: tuple[str, ...],
) -> Named:
    (train_images, test_images) = (x if x.ndim == 4 else x[..., None] for x, _ in (train, test))
    (train_labels, test_labels) = (y.reshape(-1).astype(np.int64) for _, y in (train, test))
    return name, Arrays(train_images, train_labels, test_images, test_labels, class_names)


def _cached_download(name: str, url: str, digest: str) -> Path:
    """Return a file of Keras's cache; download it when it is missing or has another hash.

    Keras downloads into the final file, so a kill would leave a part of it there. Here it
    downloads into a temporary folder, and the file is moved into place once its hash is checked.
    """
    path = _cache_folder() / name
    remove_leftovers(path)
    if path.is_file() and _has_digest(path, digest):
        return path
    with temporary_folder(path) as folder:
        downloaded = keras.utils.get_file(
            path.name, url, file_hash=digest, cache_dir=str(folder), cache_subdir=""
        )
        Path(downloaded).replace(path)
    return path


def _cache_folder() -> Path:
    """Return Keras's folder of data sets, or the one that it uses when that is not writable."""
    from keras.src.utils.file_utils import config

    home = Path(config.keras_home()).expanduser()
    if not os.access(home, os.W_OK):
        home = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir(), ".keras")  # noqa: S108
    return home / "datasets"


def _has_digest(path: Path, digest: str) -> bool:
    with path.open("rb") as stream:
        kind = "sha256" if len(digest) == 64 else "md5"
        return hashlib.file_digest(stream, kind).hexdigest() == digest


@contextlib.contextmanager
def _download_errors(name: str) -> Iterator[None]:
    """Turn errors in the block into one line that names the data set; limit waiting for servers."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    except Exception as error:  # Keras raises a bare Exception when a download fails.
        raise DataUnavailableError(
            f"{name} is not on this machine and could not be downloaded: {first_line(error)}"
        ) from error
    finally:
        socket.setdefaulttimeout(previous)


def _digits() -> Named:
    """Return scikit-learn's 1,797 digits of 8 x 8, converted to 28 x 28 as MNIST was made."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    mnist_like = np.stack([_like_mnist(image) for image in images.reshape(-1, 8, 8)])
    train_images, test_images, train_labels, test_labels = train_test_split(
        mnist_like[..., np.newaxis], labels, test_size=0.2, stratify=labels, random_state=0
    )
    parts = Arrays(train_images, train_labels, test_images, test_labels, tuple("0123456789"))
    return "scikit-learn digits", parts


def _like_mnist(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Scale an 8 x 8 digit (0 to 16) into a 20 x 20 box, centred by mass in 28 x 28.

    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits": size
    normalised with its aspect ratio kept, then translated by the centre of mass.
    """
    rows, columns = np.nonzero(image)
    ink = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    zoom = 20 / max(ink.shape)
    height, width = (max(1, round(side * zoom)) for side in ink.shape)
    pixels = Image.fromarray(np.uint8(np.round(ink * (255 / 16))))
    box = np.asarray(pixels.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    mass = box / box.sum()
    centre_y, centre_x = mass.sum(1) @ np.arange(height), mass.sum(0) @ np.arange(width)
    top = int(np.clip(round(13.5 - centre_y), 0, 28 - height))
    left = int(np.clip(round(13.5 - centre_x), 0, 28 - width))
    canvas = np.zeros((28, 28), np.uint8)
    canvas[top : top + height, left : left + width] = box
    return canvas


LOADERS: dict[str, Callable[[], Named]] = {
    "mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "digits": _digits,
}
"""For each name, the function that returns the data set's title and arrays."""
