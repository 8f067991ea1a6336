"""Downloads from servers that fail in many ways, with the real loader and Keras's download."""

import contextlib
import http.server
import threading
import time

import numpy as np
import pytest

from mnist_xai import DataUnavailableError, load_data
from mnist_xai.io import datasets
from tests.io.test_datasets import FASHION, cache, fashion, server  # noqa: F401  Fixtures.
from tests.io.test_readers import TEST_LABELS, TRAIN

VICTIM = "t10k-images-idx3-ubyte.gz"  # The third of four.


class _Faulty(http.server.BaseHTTPRequestHandler):
    """Serves a folder; one file of it with a fault."""

    folder = None
    fault = None
    requested = ()

    def do_GET(self):
        name = self.path.strip("/")
        self.requested.append(name)
        content = (self.folder / name).read_bytes()
        length, sent = len(content), content
        if name == VICTIM and self.fault:
            length, sent = self.fault(content)
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            if sent is HANGS:
                self.wfile.write(content[:50])
                self.wfile.flush()
                time.sleep(3)
            else:
                self.wfile.write(sent)

    def log_message(self, *_):
        pass


HANGS = object()
FAULTS = {
    "stops in the middle": lambda content: (len(content), content[: len(content) // 2]),
    "stops before the first byte": lambda content: (len(content), b""),
    "stops without a Content-Length": lambda content: (None, content[:-1]),
    "claims more than there is": lambda content: (10**12, content),
    "claims less than there is": lambda content: (len(content) - 7, content),
    "claims no bytes": lambda content: (0, content),
    "other bytes of the same length": lambda content: (len(content), bytes(len(content))),
    "an HTML page instead": lambda _: (None, b"<html>Please log in to this network</html>"),
    "falls silent": lambda content: (len(content), HANGS),
}


@pytest.fixture
def faulty(fashion, monkeypatch):  # noqa: F811
    """A server; setting its `fault` makes one file fail."""
    requested = []
    handler = type("Faulty", (_Faulty,), {"folder": fashion, "requested": requested, "fault": None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{served.server_address[1]}/"
        monkeypatch.setattr(datasets, "_KERAS_URL", address)
        monkeypatch.setattr(datasets, "_TIMEOUT", 1.0)
        yield handler
        served.shutdown()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_download_gives_one_line_and_can_be_repeated(faulty, cache, fault):  # noqa: F811
    faulty.fault = staticmethod(FAULTS[fault])
    start = time.monotonic()
    with pytest.raises(DataUnavailableError, match="Fashion-MNIST .*could not be down") as caught:
        load_data("fashion_mnist")
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)
    folder = cache / "datasets" / "fashion-mnist"
    assert {path.name for path in folder.iterdir()} == set(list(FASHION)[:2])

    faulty.fault = None
    faulty.requested.clear()
    dataset = load_data("fashion_mnist")
    np.testing.assert_array_equal(dataset.train_images[..., 0], TRAIN)
    np.testing.assert_array_equal(dataset.test_labels, TEST_LABELS)
    assert faulty.requested == list(FASHION)[2:]  # Complete files are not requested again.
    assert {path.name for path in folder.iterdir()} == set(FASHION)


def test_a_damaged_file_in_the_cache_is_replaced(faulty, cache):  # noqa: F811
    expected = load_data("fashion_mnist").sha256
    damaged = cache / "datasets" / "fashion-mnist" / VICTIM
    damaged.write_bytes(damaged.read_bytes()[:40])
    faulty.requested.clear()
    assert load_data("fashion_mnist").sha256 == expected
    assert faulty.requested == [VICTIM]


def test_simultaneous_downloads_do_not_disturb_each_other(faulty, cache):  # noqa: F811
    found = []
    threads = [threading.Thread(target=lambda: found.append(load_data("fashion_mnist").sha256))
               for _ in range(4)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert len(set(found)) == 1
    folder = cache / "datasets" / "fashion-mnist"
    assert {path.name for path in folder.iterdir()} == set(FASHION)
