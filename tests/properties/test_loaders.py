"""For any bytes, the readers return consistent data or raise DataError with one line."""

import gzip
import io
import struct
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mnist_xai import DataError, load_data
from mnist_xai.io.readers import read_idx, read_picture
from tests.io.test_readers import TEST, TEST_LABELS, TRAIN, TRAIN_LABELS, idx
from tests.properties.budget import examples
from tests.properties.terminal import is_harmless_line

sides = st.integers(1, 9)


def npz(**arrays):
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def picture(kind):
    content = io.BytesIO()
    Image.fromarray(TRAIN[0]).save(content, kind)
    return content.getvalue()


GOOD_IDX = idx(TRAIN)
GOOD_NPZ = npz(x_train=TRAIN, y_train=TRAIN_LABELS, x_test=TEST, y_test=TEST_LABELS)
PICTURES = {kind: picture(kind) for kind in ("PNG", "JPEG", "BMP")}


@st.composite
def damaged(draw, content):
    """Draw changes of good bytes: some removed, repeated or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(content) - 1)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        change = draw(st.sampled_from(["cut", "drop", "double", "replace"]))
        if change == "cut":
            content = content[:start]
        elif change == "replace":
            content = content[:start] + draw(st.binary(max_size=8)) + content[end:]
        else:
            content = (
                content[:start] + content[start:end] * (change == "double") * 2 + content[end:]
            )
    return content


def data_or_one_line(read):
    """Return what is read, or None when it is refused with a one-line message."""
    try:
        return read()
    except DataError as error:
        message = str(error)
    assert is_harmless_line(message), message
    return None


@given(shape=st.tuples(st.integers(0, 4), sides, sides), packed=st.booleans(), data=st.data())
@examples(100)
def test_a_valid_idx_file_is_read(shape, packed, data):
    array = np.frombuffer(
        data.draw(st.binary(min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))), np.uint8
    ).reshape(shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images")
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
        found = data_or_one_line(lambda: read_idx(path, 3))
        if found is not None or array.size:  # An empty array may be refused.
            np.testing.assert_array_equal(found, array)


@given(content=damaged(GOOD_IDX) | damaged(gzip.compress(GOOD_IDX)) | st.binary(max_size=80))
@examples(200)
def test_damaged_idx_is_refused_or_read_as_its_header_says(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images")
        path.write_bytes(content)
        found = data_or_one_line(lambda: read_idx(path, 3))
    if found is not None and content[:2] != b"\x1f\x8b":
        assert content == b"\0\0\x08\x03" + struct.pack(">3I", *found.shape) + found.tobytes()


@given(content=damaged(GOOD_NPZ) | st.binary(max_size=200).map(lambda b: b"PK\x03\x04" + b))
@examples(150)
def test_a_damaged_npz_is_refused_or_read_as_consistent_data(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.npz")
        path.write_bytes(content)
        found = data_or_one_line(lambda: load_data(path))
    if found is not None:
        assert len(found.train_images) == len(found.train_labels)
        assert found.train_images.shape[1:] == found.test_images.shape[1:]


dtypes = st.sampled_from(["u1", "i1", "i8", "u8", "f4", "f8", "c8", "?", "S3", "U2", "M8[s]", "V4"])


@given(data=st.data())
@examples(100)
def test_an_npz_of_other_arrays_is_refused_or_read_as_consistent_data(data):
    arrays = {"x_train": TRAIN, "y_train": TRAIN_LABELS, "x_test": TEST, "y_test": TEST_LABELS}
    key = data.draw(st.sampled_from([*arrays]))
    shape = data.draw(st.lists(st.integers(0, 6), max_size=5))
    arrays[key] = np.zeros(shape, data.draw(dtypes))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.npz")
        path.write_bytes(npz(**arrays))
        found = data_or_one_line(lambda: load_data(path))
    if found is not None:
        assert found.train_labels.shape == (len(found.train_images),)
        assert found.train_images.dtype == np.uint8


@given(kind=st.sampled_from([*PICTURES]), data=st.data())
@examples(150)
def test_a_damaged_picture_is_refused_or_read_as_bytes(kind, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, data.draw(st.sampled_from(["a.png", "a.jpg", "a\n\x1b[2J.bmp"])))
        path.write_bytes(data.draw(damaged(PICTURES[kind])))
        found = data_or_one_line(lambda: read_picture(path))
    if found is not None:
        assert found.dtype == np.uint8
        assert found.shape[2] in (1, 3)


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)


@given(labels=st.lists(names, min_size=2, max_size=4, unique=True), stray=names | st.none())
@examples(60)
def test_folders_of_any_name_become_labels_or_are_refused(labels, stray):
    with tempfile.TemporaryDirectory() as folder:
        for part in ("train", "test"):
            for label in labels:
                path = Path(folder, part, label, "a.png")
                if not _made(path):
                    return
                path.write_bytes(PICTURES["PNG"])
        if stray and not Path(folder, "train", labels[0], stray).exists():
            Path(folder, "train", labels[0], stray).write_bytes(PICTURES["PNG"])
        found = data_or_one_line(lambda: load_data(folder))
    if found is not None and len(found.class_names) == len(labels):
        assert set(found.train_labels.tolist()) == set(range(len(labels)))


def _made(path):
    """Create a file's folder; return False when the file system refuses the name."""
    try:
        path.parent.mkdir(parents=True)
    except (OSError, UnicodeEncodeError):
        return False
    return True
