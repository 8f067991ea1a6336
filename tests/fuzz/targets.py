"""Fuzz targets: each reader as a function of bytes, with inputs to start from.

A target returns when the reader gave a valid result or its own error in one line; any other error
is raised. Nothing here needs a fuzzer, so the ordinary tests run the inputs that once broke a
reader.
"""

import functools
import gzip
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from PIL import Image

GREY = np.arange(20, dtype=np.uint8).reshape(4, 5)
LABELS = np.uint8([0, 1, 2])


class Target(NamedTuple):
    """One reader: the function to fuzz, given bytes and a folder, and the inputs to start from."""

    run: Callable[[bytes, Path], None]
    seeds: Callable[[], list[bytes]]
    modules: tuple[str, ...]  # Modules to instrument for branch coverage.
    words: tuple[bytes, ...] = ()  # Byte strings that are hard to guess.


def _read(read, error_type):
    """Return a reader's result, or None when it raises its own error with a one-line message."""
    try:
        return read()
    except error_type as error:
        message = str(error)
    assert len(message.splitlines()) == 1, f"not one line: {message!r}"
    return None


# --- IDX ---------------------------------------------------------------------------------


def _idx(data, folder):
    """The first byte chooses the number of dimensions, and whether the rest is gzipped first."""
    from mnist_xai.io.readers import DataError, read_idx

    if not data:
        return
    control, content = data[0], data[1:]
    dimensions = 3 if control & 1 else 1
    path = folder / "images"
    path.write_bytes(gzip.compress(content, 1, mtime=0) if control & 2 else content)
    found = _read(lambda: read_idx(path, dimensions), DataError)
    if found is not None:
        assert found.dtype == np.uint8
        assert found.ndim == dimensions
        header = bytes([0, 0, 8, dimensions]) + struct.pack(f">{dimensions}I", *found.shape)
        if content[:2] != b"\x1f\x8b":
            assert header + found.tobytes() == content


def _idx_seeds():
    images = b"\0\0\x08\x03" + struct.pack(">3I", 3, 4, 5) + bytes(60)
    labels = b"\0\0\x08\x01" + struct.pack(">I", 3) + LABELS.tobytes()
    packed = gzip.compress(images, mtime=0), gzip.compress(labels, mtime=0)
    pairs = [(1, images), (0, labels), (3, images), (2, labels), (1, packed[0]), (0, packed[1])]
    return [bytes([control]) + content for control, content in pairs]


# --- folders of pictures -----------------------------------------------------------------

_PLACES = ("train/0/a.png", "train/1/b.jpg", "test/0/b.bmp", "test/1/b.PNG", "train/1/notes.txt")


def _picture(kind, array=GREY):
    content = io.BytesIO()
    Image.fromarray(array).save(content, kind)
    return content.getvalue()


def _lay_out(root):
    for part in ("train", "test"):
        for label in "01":
            (root / part / label).mkdir(parents=True, exist_ok=True)
            (root / part / label / "a.png").write_bytes(_picture("PNG"))


def _pictures(data, folder):
    """The first byte chooses the file in a good folder that the rest replaces, or a new name."""
    from mnist_xai.io.readers import DataError, read_path

    if not data:
        return
    root = folder / "pictures"
    if not root.exists():
        _lay_out(root)
    place = data[0] % (len(_PLACES) + 2)
    path = root / _PLACES[place] if place < len(_PLACES) else _named(data[1:], root, place)
    if path is None:
        return
    before = path.read_bytes() if path.is_file() else None
    try:
        if place == len(_PLACES):
            path.mkdir()
        else:
            path.write_bytes(data[1:])
    except OSError:
        return  # The file system refuses the name.
    try:
        found = _read(lambda: read_path(root), DataError)
    finally:
        _restore(path, before)
    if found is not None:
        assert found.train_images.dtype == found.test_images.dtype == np.uint8
        assert found.train_images.shape[1:] == found.test_images.shape[1:]
        assert len(found.train_images) == len(found.train_labels)


def _named(name, root, place):
    """Return a path in the folder whose last part is the given name."""
    text = name.decode("utf-8", "surrogateescape")
    if not text or "/" in text or "\0" in text or text in {".", "..", "0", "1"}:
        return None
    parent = root / "train" if place == len(_PLACES) else root / "train" / "0"
    try:
        return None if (parent / text).exists() else parent / text
    except OSError:
        return None  # Longer than the file system allows.


def _restore(path, before):
    if path.is_dir():
        path.rmdir()
    elif before is None:
        path.unlink()
    else:
        path.write_bytes(before)


def _picture_seeds():
    colour = np.stack([GREY] * 3, axis=-1)
    pictures = [_picture(kind, a) for kind in ("PNG", "JPEG", "BMP") for a in (GREY, colour)]
    seeds = [bytes([place]) + p for place in range(5) for p in pictures]
    return [*seeds, b"\x052", b"\x05cat", b"\x06c.png", b"\x06Thumbs.db"]


# --- npz ---------------------------------------------------------------------------------

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def _npz(data, folder):
    """The first byte chooses the member of a good archive that the rest replaces, or all of it."""
    from mnist_xai import DataError, load_data

    if not data:
        return
    path = folder / "data.npz"
    which = data[0] % (len(_KEYS) + 1)
    path.write_bytes(_archive(which, data[1:]) if which < len(_KEYS) else data[1:])
    dataset = _read(lambda: load_data(path), DataError)
    if dataset is not None:
        assert len(dataset.train_images) == len(dataset.train_labels)
        assert dataset.train_labels.max() < len(dataset.class_names)


def _npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _archive(which, content):
    images = np.stack([GREY] * 3)
    members = dict(zip(_KEYS, map(_npy, (images, LABELS, images, LABELS)), strict=True))
    members[_KEYS[which]] = content
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, member in members.items():
            archive.writestr(f"{key}.npy", member)
    return packed.getvalue()


def _npz_seeds():
    images = np.stack([GREY] * 3)
    good = [bytes([i]) + _npy(a) for i, a in enumerate((images, LABELS, images, LABELS))]
    return [*good, b"\x01" + _npy(LABELS.astype(np.int64)), b"\x04" + _archive(0, _npy(images))]


# --- model cards -------------------------------------------------------------------------


def _card(data, folder):
    from mnist_xai.io.saving import ModelFileError, read_card

    path = folder / "model.json"
    path.write_bytes(data)
    found = _read(lambda: read_card(path), ModelFileError)
    if found is not None:
        assert isinstance(found["file_sha256"], str)


def _card_seeds():
    card = {"model": "cnn", "seed": 0, "recipe": {"rotation": 7.5}, "commit": None}
    return [json.dumps(card | {"file_sha256": "0" * 64}).encode(), b"[1, true, null]", b"{}"]


# --- models ------------------------------------------------------------------------------


def _keras(data, folder):
    """The rest is an archive, or the configuration of a good one; Keras does not load it."""
    import keras
    from keras.src.saving import saving_lib

    from mnist_xai.io.saving import ModelFileError, load_model

    if not data:
        return
    path = folder / "model.keras"
    path.write_bytes(_model_archive(data[1:]) if data[0] & 1 else data[1:])
    with mock.patch.object(saving_lib, "load_model", return_value=keras.Model()) as load:
        _read(lambda: load_model(path), ModelFileError)
    if load.called:
        with zipfile.ZipFile(path) as archive:
            named = _class_names(json.loads(archive.read("config.json")))
        assert not named & {"Lambda", "__lambda__", "TFSMLayer"}, named


def _class_names(config):
    parts = config.values() if isinstance(config, dict) else config
    own = {str(config["class_name"])} if isinstance(config, dict) and "class_name" in config else ()
    inner = [_class_names(part) for part in parts if isinstance(part, dict | list)]
    return set().union(own, *inner)


@functools.cache
def _good_model():
    """Return the configuration and the weights of a small classifier."""
    import keras

    model = keras.Sequential([keras.Input((2, 3, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(3, activation="softmax"))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "good.keras"))
        with zipfile.ZipFile(Path(folder, "good.keras")) as archive:
            return archive.read("config.json"), archive.read("model.weights.h5")


def _model_archive(config):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", b"{}")
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", _good_model()[1])
    return packed.getvalue()


def _keras_seeds():
    good = _good_model()[0]
    code = {"module": "builtins", "class_name": "Lambda", "config": {"function": "x"}}
    damaged = json.loads(good)
    damaged["config"]["layers"][1] = code
    short = {"class_name": "Sequential", "config": {"layers": [code]}, "module": "keras"}
    configs = [good, *(json.dumps(c).encode() for c in (damaged, short, [code, None, 1.5]))]
    return [*(b"\x01" + c for c in configs), b"\x00" + _model_archive(good)]


TARGETS = {
    "idx": Target(_idx, _idx_seeds, ("mnist_xai.io.readers.idx", "gzip", "_compression")),
    "pictures": Target(
        _pictures,
        _picture_seeds,
        (
            "mnist_xai.io.readers.pictures",
            "PIL.Image",
            "PIL.ImageFile",
            "PIL.PngImagePlugin",
            "PIL.JpegImagePlugin",
            "PIL.BmpImagePlugin",
        ),
        (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"\xff\xc0", b"\xff\xda"),
    ),
    "card": Target(_card, _card_seeds, ("mnist_xai.io.saving", "json"), (b'"file_sha256": ""',)),
    "npz": Target(
        _npz,
        _npz_seeds,
        ("mnist_xai.io.readers.npz", "mnist_xai.data", "zipfile", "numpy.lib"),
        (b"PK\x01\x02", b"PK\x05\x06", b"'descr': '|O'", b"'shape': (99999999999,)", b"\x93NUMPY"),
    ),
    "keras": Target(
        _keras,
        _keras_seeds,
        ("mnist_xai.io.saving", "mnist_xai.io.vetting", "json", "zipfile"),
        (b'"class_name": "Lambda"', b'"module": "os"', b'"config": {}', b"PK\x01\x02"),
    ),
}
