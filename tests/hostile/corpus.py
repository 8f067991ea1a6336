"""Cases: a function that writes a hostile file, how it is opened, and the expected result."""

import io
import json
import secrets
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers
from PIL import Image

CANARY = """
import pathlib
pathlib.Path({mark!r}).touch()
def run(*arguments, **options):
    pathlib.Path({mark!r}).touch()
    return arguments[0] if arguments else None
class Layer:
    def __init__(self, *arguments, **options):
        run()
    @classmethod
    def from_config(cls, config):
        return cls()
"""


class Evil:
    """An object that creates the file `mark` when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@cache
def good_model():
    """Return the members of a small classifier's archive."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 5, 1), name="image")
    x = layers.Conv2D(2, 3, activation="relu", name="conv")(image)
    x = layers.Dense(3, activation="softmax", name="out")(layers.Flatten(name="flat")(x))
    with tempfile.TemporaryDirectory() as folder:
        keras.Model(image, x, name="model").save(Path(folder, "good.keras"))
        with zipfile.ZipFile(Path(folder, "good.keras")) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


@dataclass
class Box:
    """The folders of one case: the hostile file in one, canaries in others."""

    root: Path
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    def __post_init__(self):
        for folder in (self.inside, self.outside, self.out, self.temporary):
            folder.mkdir()
        self.secret.write_text(self.token * 100)
        (self.inside / "canary_module.py").write_text(CANARY.format(mark=str(self.mark)))

    inside = property(lambda self: self.root / "inside")
    outside = property(lambda self: self.root / "outside")
    out = property(lambda self: self.root / "out")
    temporary = property(lambda self: self.root / "tmp")
    secret = property(lambda self: self.outside / "secret.txt")
    mark = property(lambda self: self.root / "it-ran")

    def config(self):
        """Return the configuration of the good model, for changes."""
        return json.loads(good_model()["config.json"])

    def layer(self, config, name="out"):
        """Return the part of a configuration that describes one layer."""
        return next(part for part in config["config"]["layers"] if part["config"]["name"] == name)

    def weights(self, change):
        """Return the weights of the good model after a change of the HDF5 file."""
        buffer = io.BytesIO(good_model()["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            change(file)
        return buffer.getvalue()

    def archive(self, name="model.keras", *, compression=zipfile.ZIP_STORED, **members):
        """Write the good model with members replaced; `config` may be a dictionary."""
        content = dict(good_model())
        if "config" in members:
            config = members["config"]
            content["config.json"] = config if isinstance(config, bytes) else json.dumps(config)
        if "weights" in members:
            content["model.weights.h5"] = members["weights"]
        content |= members.get("more", {})
        with zipfile.ZipFile(self.inside / name, "w", compression) as archive:
            for member, data in content.items():
                archive.writestr(member, data)
        return self.inside / name

    def idx(self, **replaced):
        """Write a good folder of IDX files; `images` and `labels` replace the bytes of a file."""
        images, labels = np.zeros((6, 4, 5), np.uint8), np.arange(6, dtype=np.uint8) % 3
        for name, array in (
            ("train-images-idx3-ubyte", images),
            ("train-labels-idx1-ubyte", labels),
            ("t10k-images-idx3-ubyte", images),
            ("t10k-labels-idx1-ubyte", labels),
        ):
            (self.inside / name).write_bytes(idx(array.shape, array.tobytes()))
        for name, content in replaced.items():
            full = {"images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte"}[name]
            (self.inside / full).write_bytes(content)
        return self.inside

    def pictures(self):
        """Write a good folder of pictures; return the path for one more picture."""
        for part in ("train", "test"):
            for label in ("cat", "dog"):
                folder = self.inside / part / label
                folder.mkdir(parents=True)
                Image.fromarray(np.full((4, 5), 99, np.uint8)).save(folder / "a.png")
        return self.inside / "train" / "cat" / "b.png"


def idx(shape, content):
    """Return an IDX file of bytes with this shape in its header."""
    sizes = b"".join(int(size).to_bytes(4, "big") for size in shape)
    return bytes([0, 0, 8, len(shape)]) + sizes + content


@dataclass(frozen=True)
class Case:
    """A hostile file, and the expected result of opening it.

    Attributes:
        name: Name of the case.
        write: Writes the file; returns the path to open, or the arguments of a command.
        call: `load_model`, `load_data` or `cli`.
        message: Regular expression for the error message; None when the file is read without harm.
        source: The published attack that it follows, or a note.
    """

    name: str
    write: Callable[[Box], object]
    call: str
    message: str | None
    source: str = ""


CASES: list[Case] = []


def case(call, message, source=""):
    """Register a function that writes a file as a case."""

    def register(write):
        CASES.append(Case(write.__name__, write, call, message, source))
        return write

    return register


def continue_stream(path, name, *, claimed=None, right_checksum=True):
    """Append 1.5 GiB to the compressed stream of a member, beyond its size in the archive.

    Args:
        path: The archive, rewritten in place.
        name: The member.
        claimed: Its size according to the archive; by default its size before.
        right_checksum: Whether the checksum fits the claimed bytes.
    """
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    good = members[name] if claimed is None else bytes(claimed)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packer.compress(good) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(64 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    members[name] = stream + zeros * 24 + packer.flush()
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        start = archive.getinfo(name).header_offset
    content = bytearray(path.read_bytes())
    entry = content.rindex(name.encode()) - 46  # Its entry in the directory at the end.
    total = zlib.crc32(good) if right_checksum else 1
    for method, sums in ((start + 8, start + 14), (entry + 10, entry + 16)):
        struct.pack_into("<H", content, method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<L", content, sums, total)
        struct.pack_into("<L", content, sums + 8, len(good))
    path.write_bytes(content)
    return path
