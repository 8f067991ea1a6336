"""Loading data sets by name; a local server replaces the internet, or nothing does."""

import functools
import gzip
import hashlib
import http.server
import io
import socketserver
import tarfile
import threading

import keras
import numpy as np
import pytest

from mnist_xai import DataUnavailableError, load_data
from mnist_xai.io import datasets
from tests.io.test_readers import TEST, TEST_LABELS, TRAIN, TRAIN_LABELS, idx


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty Keras cache, and no path of MNIST in the environment."""
    monkeypatch.delenv(datasets.MNIST_VARIABLE, raising=False)
    monkeypatch.setattr(keras.src.utils.file_utils.config, "keras_home", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def server(tmp_path_factory):
    """Serve a folder; yield the folder and its address."""
    folder = tmp_path_factory.mktemp("served")
    handler = functools.partial(_Quiet, directory=str(folder))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{served.server_address[1]}/"
        served.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


FASHION = {
    "train-images-idx3-ubyte.gz": TRAIN,
    "train-labels-idx1-ubyte.gz": TRAIN_LABELS,
    "t10k-images-idx3-ubyte.gz": TEST,
    "t10k-labels-idx1-ubyte.gz": TEST_LABELS,
}


@pytest.fixture
def fashion(cache, server, monkeypatch):
    folder, address = server
    for name, array in FASHION.items():
        (folder / name).write_bytes(gzip.compress(idx(array)))
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in FASHION}
    monkeypatch.setattr(datasets, "_KERAS_URL", address)
    monkeypatch.setattr(datasets, "_FASHION_MD5", sums)
    return folder


def test_fashion_mnist_is_downloaded_once(fashion, capsys):
    dataset = load_data("fashion_mnist")
    assert "Downloading data" in capsys.readouterr().out  # Progress is shown.
    np.testing.assert_array_equal(dataset.train_images[..., 0], TRAIN)
    np.testing.assert_array_equal(dataset.test_labels, TEST_LABELS)
    assert dataset.name == "Fashion-MNIST"
    assert dataset.class_names[9] == "Ankle boot"
    for path in fashion.iterdir():
        path.unlink()
    assert load_data("fashion_mnist").sha256 == dataset.sha256


def test_a_download_with_a_wrong_hash_is_refused(fashion):
    (fashion / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(TRAIN + 1)))
    with pytest.raises(DataUnavailableError, match="Fashion-MNIST .*could not be downloaded"):
        load_data("fashion_mnist")


def test_a_file_missing_from_the_server_is_named(fashion):
    (fashion / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataUnavailableError, match="t10k-labels-idx1-ubyte.gz: 404"):
        load_data("fashion_mnist")


COLOUR = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)  # Two images a batch.
CIFAR10_LABELS = [9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1]


def text(content):
    return b"T" + len(content).to_bytes(4, "little") + content


def cifar10_batch(images, labels):
    """A batch as Python 2 pickled it: byte strings, and NumPy's names of that time."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    kind = b"cnumpy\ndtype\n" + text(b"u1") + b"K\0K\1\x87R"
    kind += b"(K\3" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b")
    array += b"\x87R(K\1" + bytes([*b"K", len(images), *b"M\0\x0c\x86"]) + kind + b"\x89"
    array += text(planes.tobytes()) + b"tb"
    numbers = b"](" + b"".join(bytes([*b"K", label]) for label in labels) + b"e"
    return b"\x80\2}(" + text(b"data") + array + text(b"labels") + numbers + b"u."


@pytest.fixture
def cifar10(cache, server, monkeypatch):
    """Serve an archive of small batches; yield the function that writes it, given replacements."""
    folder, address = server

    def pack(**replacements):
        names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
        with tarfile.open(folder / "cifar.tar.gz", "w:gz") as archive:
            for number, name in enumerate(names):
                rows = slice(2 * number, 2 * number + 2)
                content = replacements.get(name, cifar10_batch(COLOUR[rows], CIFAR10_LABELS[rows]))
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        digest = hashlib.sha256((folder / "cifar.tar.gz").read_bytes()).hexdigest()
        monkeypatch.setattr(datasets, "_CIFAR10_SHA256", digest)

    monkeypatch.setattr(datasets, "_CIFAR10_URL", address + "cifar.tar.gz")
    pack()
    return pack


def test_cifar10_is_read_from_its_archive(cifar10):
    dataset = load_data("cifar10")
    np.testing.assert_array_equal(dataset.train_images, COLOUR[:10])
    np.testing.assert_array_equal(dataset.test_images, COLOUR[10:])
    assert dataset.train_labels.tolist() == CIFAR10_LABELS[:10]
    assert dataset.test_labels.tolist() == CIFAR10_LABELS[10:]
    assert dataset.class_names[9] == "truck"


def test_cifar10_is_read_only_from_the_bytes_whose_hash_was_checked(cifar10, cache, monkeypatch):
    unpacked = cache / "datasets" / "cifar-10-batches-py-target" / "cifar-10-batches-py"
    unpacked.mkdir(parents=True)
    for number in range(1, 6):
        (unpacked / f"data_batch_{number}").write_bytes(b"other content")
    np.testing.assert_array_equal(load_data("cifar10").train_images, COLOUR[:10])

    download = datasets._cached_download

    def changed(*given):
        path = download(*given)
        path.write_bytes(b"other content")  # Just after its hash was checked.
        return path

    monkeypatch.setattr(datasets, "_cached_download", changed)
    with pytest.raises(DataUnavailableError, match="CIFAR-10 .*changed while it was read"):
        load_data("cifar10")


def test_a_pickled_call_in_a_cifar10_batch_is_not_executed(cifar10, tmp_path):
    cifar10(data_batch_3=b"cos\nmkdir\n(" + text(bytes(tmp_path / "called")) + b"tR.")
    with pytest.raises(DataUnavailableError, match=r"CIFAR-10 .*os\.mkdir is not part of an array"):
        load_data("cifar10")
    assert not (tmp_path / "called").exists()


def test_mnist_is_loaded_from_the_cache(cache, monkeypatch):
    monkeypatch.setattr(datasets, "_cached_download", lambda *_: None)
    monkeypatch.setattr(
        keras.datasets.mnist, "load_data", lambda: ((TRAIN, TRAIN_LABELS), (TEST, TEST_LABELS))
    )
    dataset = load_data("mnist")
    assert dataset.name == "MNIST"
    np.testing.assert_array_equal(dataset.test_images[..., 0], TEST)


def test_mnist_is_loaded_from_the_path_in_the_environment_variable(tmp_path, monkeypatch):
    np.savez(
        tmp_path / "m.npz", x_train=TRAIN, y_train=TRAIN_LABELS, x_test=TEST, y_test=TEST_LABELS
    )
    monkeypatch.setenv(datasets.MNIST_VARIABLE, str(tmp_path / "m.npz"))
    dataset = load_data("mnist")
    assert dataset.name == "MNIST"
    np.testing.assert_array_equal(dataset.train_images[..., 0], TRAIN)


def test_a_missing_path_in_the_environment_variable_is_named_in_the_error(monkeypatch):
    monkeypatch.setenv(datasets.MNIST_VARIABLE, "/no/such/folder")
    with pytest.raises(DataUnavailableError, match="MNIST_XAI_DATA: .*/no/such/folder"):
        load_data("mnist")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "fashion_mnist"])
def test_without_internet_the_error_is_one_line(cache, monkeypatch, name):
    def no_network(*_, **__):
        raise OSError("Name or service not known\n")

    monkeypatch.setattr(keras.src.utils.file_utils, "urlretrieve", no_network)
    with pytest.raises(DataUnavailableError) as caught:
        load_data(name)
    assert "is not on this machine and could not be downloaded" in str(caught.value)
    assert "Name or service not known" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_digits_have_the_format_of_mnist(digits):
    assert len(digits.train_images) + len(digits.test_images) == 1797
    assert digits.image_shape == (28, 28, 1)
    assert np.bincount(digits.test_labels).min() >= 35
    y, x = np.mgrid[:28, :28]
    for image in digits.train_images[:200, ..., 0].astype(float):
        rows, columns = np.nonzero(image)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 19 <= max(height, width) <= 20
        # The centre of mass is in the middle, unless the box would then leave the image.
        for centre, low, high in (
            ((image * y).sum() / image.sum(), rows.min(), rows.max()),
            ((image * x).sum() / image.sum(), columns.min(), columns.max()),
        ):
            assert abs(centre - 13.5) <= 0.6 or low == 0 or high == 27
