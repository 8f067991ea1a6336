"""Every reader with good files and with every kind of bad file."""

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mnist_xai import DataError, load_data, train
from mnist_xai.io.readers import Fitting, read_idx
from mnist_xai.io.readers.fitting import resized

TRAIN = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
TEST = TRAIN[:3] + 7
TRAIN_LABELS, TEST_LABELS = np.uint8([0, 1, 2, 0, 1, 2]), np.uint8([2, 1, 0])


def idx(array, magic=None):
    header = magic or bytes([0, 0, 8, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path):
    for name, array in (
        ("train-images-idx3-ubyte", TRAIN),
        ("train-labels-idx1-ubyte", TRAIN_LABELS),
        ("t10k-images-idx3-ubyte", TEST),
        ("t10k-labels-idx1-ubyte", TEST_LABELS),
    ):
        (tmp_path / name).write_bytes(idx(array))
    return tmp_path


def check_content(dataset):
    np.testing.assert_array_equal(dataset.train_images[..., 0], TRAIN)
    np.testing.assert_array_equal(dataset.test_images[..., 0], TEST)
    np.testing.assert_array_equal(dataset.train_labels, TRAIN_LABELS)
    np.testing.assert_array_equal(dataset.test_labels, TEST_LABELS)
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.image_shape == (4, 5, 1)


# --- IDX ---------------------------------------------------------------------------------


def test_idx_is_read(idx_folder):
    check_content(load_data(idx_folder))


def test_gzipped_idx_is_read_with_and_without_gz_in_its_name(idx_folder):
    for path in list(idx_folder.iterdir())[:2]:
        path.write_bytes(gzip.compress(path.read_bytes()))
    for path in list(idx_folder.iterdir())[2:]:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    check_content(load_data(idx_folder))


def damage_missing(path):
    path.unlink()


def damage_empty(path):
    path.write_bytes(b"")


def damage_magic(path):
    path.write_bytes(b"\x89PNG" + path.read_bytes()[4:])


def damage_dimensions(path):
    path.write_bytes(bytes([0, 0, 8, 2]) + path.read_bytes()[4:])


def damage_type(path):
    path.write_bytes(bytes([0, 0, 0x0D, 3]) + path.read_bytes()[4:])


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_header(path):
    path.write_bytes(path.read_bytes()[:7])


def damage_trailing(path):
    path.write_bytes(path.read_bytes() + b"x")


def damage_length(path):
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", *3 * (2**32 - 1,)) + b"x" * 100)


def damage_gzip(path):
    path.write_bytes(gzip.compress(path.read_bytes())[:-9])


def damage_gzip_length(path):
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", *3 * (2**32 - 1,))
    path.write_bytes(gzip.compress(header + b"x" * 100))


def damage_gzip_checksum(path):
    content = bytearray(gzip.compress(path.read_bytes()))
    content[-5] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing, "expected train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
        (damage_empty, "train-images.*magic number 0x00000803; got 0x$"),
        (damage_magic, "train-images.*magic number 0x00000803; got 0x89504e47"),
        (damage_dimensions, "got 0x00000802"),
        (damage_type, "got 0x00000d03"),
        (damage_truncated, r"expected 120 bytes for shape \(6, 4, 5\); the file holds fewer: 119"),
        (damage_header, "damaged or truncated"),
        (damage_trailing, "expected 120 bytes .*; more follow"),
        (damage_length, "the file holds fewer"),
        (damage_gzip, "damaged or truncated"),
        (damage_gzip_length, "would unpack to"),
        (damage_gzip_checksum, "damaged or truncated"),
    ],
)
def test_bad_idx_is_refused(idx_folder, damage, message):
    damage(idx_folder / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match=message):
        load_data(idx_folder)


def test_a_label_file_under_the_name_of_images_is_refused(idx_folder):
    labels = (idx_folder / "train-labels-idx1-ubyte").read_bytes()
    (idx_folder / "train-images-idx3-ubyte").write_bytes(labels)
    with pytest.raises(DataError, match="magic number 0x00000803; got 0x00000801"):
        read_idx(idx_folder / "train-images-idx3-ubyte", 3)


def test_different_numbers_of_images_and_labels_are_refused(idx_folder):
    (idx_folder / "train-labels-idx1-ubyte").write_bytes(idx(TRAIN_LABELS[:5]))
    with pytest.raises(DataError, match=r"expected 6 labels.*train-images-idx3-ubyte; got 5"):
        load_data(idx_folder)


def test_training_and_test_images_of_different_shapes_are_refused(idx_folder):
    (idx_folder / "t10k-images-idx3-ubyte").write_bytes(idx(TEST[:, :2]))
    with pytest.raises(DataError, match=r"one shape; got \(4, 5, 1\) and \(2, 5, 1\)"):
        load_data(idx_folder)


def test_an_empty_part_is_refused(idx_folder):
    (idx_folder / "t10k-images-idx3-ubyte").write_bytes(idx(TEST[:0]))
    (idx_folder / "t10k-labels-idx1-ubyte").write_bytes(idx(TEST_LABELS[:0]))
    with pytest.raises(
        DataError, match=r"t10k-images.*: expected at least one value; the shape is \(0, 4, 5\)"
    ):
        load_data(idx_folder)


# --- npz ---------------------------------------------------------------------------------

GOOD_NPZ = {
    "x_train": TRAIN, "y_train": TRAIN_LABELS, "x_test": TEST, "y_test": TEST_LABELS,
}  # fmt: skip


def test_npz_is_read(tmp_path):
    np.savez(tmp_path / "mnist.npz", **GOOD_NPZ)
    check_content(load_data(tmp_path / "mnist.npz"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, "missing x_test"),
        ({"x_train": TRAIN[:4]}, "expected 4 integer train labels"),
        ({"x_train": TRAIN / 255}, "expected train images as uint8"),
        ({"x_train": TRAIN[0]}, r"as uint8 \(N, H, W, C\); got uint8 \(4, 5, 1\)|got uint8"),
        ({"y_train": TRAIN_LABELS * 0.5}, "expected integer labels in y_train; got float64"),
        ({"y_train": TRAIN_LABELS.astype(int) - 1}, "labels from 0 to 2; got -1 to 1"),
        ({"y_train": np.array([{}] * 6, object)}, "expected an .npz archive of plain arrays"),
    ],
)
def test_bad_npz_is_refused(tmp_path, changes, message):
    arrays = {k: v for k, v in (GOOD_NPZ | changes).items() if v is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "bad.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text", idx(TRAIN)])
def test_a_file_that_is_not_npz_is_refused(tmp_path, content):
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError, match="mnist.npz: expected an .npz archive"):
        load_data(tmp_path / "mnist.npz")


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "images.npy", TRAIN)
    with pytest.raises(DataError, match="expected an .npz archive"):
        load_data(tmp_path / "images.npy")


# --- folders of pictures -----------------------------------------------------------------


@pytest.fixture
def picture_folder(tmp_path):
    for part, images, labels in (
        ("train", TRAIN, TRAIN_LABELS),
        ("test", TEST, TEST_LABELS),
    ):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = tmp_path / part / f"{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:03}.png")
    return tmp_path


def test_pictures_are_read_in_the_order_of_their_labels(picture_folder):
    dataset = load_data(picture_folder)
    order = np.argsort(TRAIN_LABELS, kind="stable")
    np.testing.assert_array_equal(dataset.train_images[..., 0], TRAIN[order])
    np.testing.assert_array_equal(dataset.train_labels, TRAIN_LABELS[order])
    np.testing.assert_array_equal(dataset.test_images[..., 0], TEST[::-1])


def test_numeric_labels_are_in_numerical_order(picture_folder):
    for part in ("train", "test"):
        (picture_folder / part / "2").rename(picture_folder / part / "10")
        (picture_folder / part / "1").rename(picture_folder / part / "9")
    assert load_data(picture_folder).class_names == ("0", "9", "10")


def test_colour_pictures_are_read_as_colour(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / part / label).mkdir(parents=True)
            Image.fromarray(colour).save(tmp_path / part / label / "a.png")
    dataset = load_data(tmp_path)
    assert dataset.image_shape == (4, 5, 3)
    assert dataset.class_names == ("cat", "dog")
    np.testing.assert_array_equal(dataset.test_images[1], colour)


def test_files_of_desktops_are_ignored(picture_folder):
    (picture_folder / "train" / "0" / ".DS_Store").write_bytes(b"x")
    (picture_folder / "train" / "0" / "Thumbs.db").write_bytes(b"x")
    (picture_folder / "train" / ".cache").mkdir()
    assert len(load_data(picture_folder).train_images) == 6


def empty_class(root):
    for path in (root / "train" / "1").iterdir():
        path.unlink()


def missing_part(root):
    (root / "test").rename(root / "validation")


def missing_class(root):
    (root / "test" / "2").rename(root / "test" / "3")


def colour_in_grey(root):
    path = root / "train" / "1" / "001.png"
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path)


def other_size(root):
    Image.fromarray(np.zeros((8, 5), np.uint8)).save(root / "test" / "1" / "001.png")


def truncated_picture(root):
    path = root / "train" / "0" / "000.png"
    path.write_bytes(path.read_bytes()[:40])


def text_as_picture(root):
    (root / "train" / "0" / "000.png").write_text("no picture")


def other_format_under_the_name(root):
    with Image.open(root / "train" / "0" / "000.png") as picture:
        picture.save(root / "train" / "0" / "000.png", format="TIFF")


def sixteen_bits(root):
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(root / "train" / "0" / "000.png")


def stray_file(root):
    (root / "train" / "0" / "notes.txt").write_text("x")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty_class, "train/1: expected pictures of this label; the folder is empty"),
        (missing_part, "test: no such folder"),
        (missing_class, "only one of the two has 2, 3"),
        (colour_in_grey, r"train/1/001.png: .*4 x 5 pixels in grey, like .*000.png; got .* colour"),
        (other_size, "test/1/001.png: .*got 8 x 5 pixels in grey"),
        (truncated_picture, "000.png: cannot be read as a picture"),
        (text_as_picture, "000.png: cannot be read as a picture"),
        (other_format_under_the_name, "000.png: cannot be read as a picture"),
        (sixteen_bits, "000.png: expected 8 bits a channel; got mode I;16"),
        (stray_file, r"notes.txt: expected a picture \(.bmp, .jpeg, .jpg, .png\)"),
    ],
)
def test_bad_picture_folders_are_refused(picture_folder, damage, message):
    damage(picture_folder)
    with pytest.raises(DataError, match=message):
        load_data(picture_folder)


def test_a_folder_with_one_label_is_refused(tmp_path):
    (tmp_path / "train" / "0").mkdir(parents=True)
    with pytest.raises(DataError, match="at least two labels; got \\['0'\\]"):
        load_data(tmp_path)


# --- pictures of other sizes -------------------------------------------------------------


@pytest.fixture
def class_folders(tmp_path):
    """Cats in colour, dogs in grey, of several sizes."""
    draw = np.random.default_rng(0)
    for label, shapes in (("cat", [(8, 10, 3), (16, 12, 3)]), ("dog", [(9, 9), (5, 7), (8, 10)])):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i, shape in enumerate(shapes):
            pixels = draw.integers(0, 256, shape, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{i}.png")
    return tmp_path / "pets"


@pytest.mark.parametrize("size", [(4, 5), (16, 16), (7, 31), (1, 1)])
def test_pictures_are_resized_as_tensorflow_does(size):
    picture = np.random.default_rng(1).integers(0, 256, (11, 17, 3), np.uint8)
    expected = tf.image.resize(picture, size, method="bilinear")
    np.testing.assert_allclose(resized(picture, *size), expected, atol=0.501)


def test_a_folder_of_class_folders_is_read_as_test_images(class_folders):
    dataset = load_data(class_folders, image_shape=(6, 7, 3))
    assert dataset.name == "pets"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.test_labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.train_images.shape == (0, 6, 7, 3)
    assert dataset.image_shape == (6, 7, 3)
    with Image.open(class_folders / "dog" / "0.png") as picture:
        expected = resized(np.asarray(picture)[..., None].repeat(3, axis=2), 6, 7)
    np.testing.assert_array_equal(dataset.test_images[2], expected)


def test_what_was_changed_in_pictures_is_said(class_folders):
    assert load_data(class_folders, image_shape=(8, 10, 3)).notes == (
        "3 of 5 pictures resized to 8 x 10 (first: 1.png, 16 x 12)",
        "3 of 5 pictures grey, given three channels (first: 0.png, 9 x 9)",
    )


def test_sides_of_any_length_are_the_first_pictures(class_folders):
    dataset = load_data(class_folders, image_shape=(None, None, 1))
    assert dataset.image_shape == (8, 10, 1)
    assert any("2 of 5 pictures shown in grey" in note for note in dataset.notes)


def test_colours_turn_to_the_grey_of_pillow():
    picture = np.random.default_rng(2).integers(0, 256, (6, 7, 3), np.uint8)
    grey = Fitting((6, 7))(Path("a.png"), picture)
    expected = np.asarray(Image.fromarray(picture).convert("L"))[..., None]
    np.testing.assert_allclose(grey.astype(int), expected.astype(int), atol=1)


def test_pictures_of_several_sizes_are_refused_without_a_shape(class_folders):
    with pytest.raises(DataError, match=r"1.png: expected .*pass image_shape=\(height, width"):
        load_data(class_folders)


def test_a_shape_with_other_channels_than_grey_or_colour_is_refused(class_folders):
    with pytest.raises(DataError, match="1 or 3 channels, and the model takes 4; pass an .npz"):
        load_data(class_folders, image_shape=(8, 8, 4))


def test_train_and_test_folders_are_resized_to_one_shape(class_folders, tmp_path):
    for part in ("train", "test"):
        shutil.copytree(class_folders, tmp_path / "split" / part)
    dataset = load_data(tmp_path / "split", image_shape=(6, 6, 3))
    np.testing.assert_array_equal(dataset.train_images, dataset.test_images)
    assert dataset.train_images.shape == (5, 6, 6, 3)


def test_an_order_of_classes_other_than_keras_is_said(picture_folder):
    assert load_data(picture_folder).notes == ()
    for part in ("train", "test"):
        (picture_folder / part / "2").rename(picture_folder / part / "10")
        (picture_folder / part / "1").rename(picture_folder / part / "9")
    assert "numerical order, 9 before 10" in load_data(picture_folder).notes[0]


def test_a_training_without_training_images_is_refused(class_folders):
    dataset = load_data(class_folders, image_shape=(28, 28, 1))
    with pytest.raises(DataError, match="pets: expected training images, in train/; got none"):
        train("cnn", data=dataset, recipe="small")
