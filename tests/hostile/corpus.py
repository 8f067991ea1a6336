"""What a case is: a script that writes a hostile file, how it is opened, and how that must end."""

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
    """What leaves the mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@cache
def good_model():
    """A small classifier, as its architecture and the bytes of its weights."""
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
    """A folder for one case: the hostile file inside, the canaries around it."""

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
        """The architecture of the good model, to be spoilt."""
        return json.loads(good_model()["config.json"])

    def layer(self, config, name="out"):
        """One layer's part of an architecture."""
        return next(part for part in config["config"]["layers"] if part["config"]["name"] == name)

    def weights(self, change):
        """The weights of the good model, after a change to the HDF5 file."""
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
        """Write a good folder of IDX files; parts are `(shape, bytes)` or the bytes of a file."""
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
        """Write a good folder of pictures, and say where one of them lies."""
        for part in ("train", "test"):
            for label in ("cat", "dog"):
                folder = self.inside / part / label
                folder.mkdir(parents=True)
                Image.fromarray(np.full((4, 5), 99, np.uint8)).save(folder / "a.png")
        return self.inside / "train" / "cat" / "b.png"


def idx(shape, content):
    """An IDX file of bytes that claims a shape."""
    sizes = b"".join(int(size).to_bytes(4, "big") for size in shape)
    return bytes([0, 0, 8, len(shape)]) + sizes + content


@dataclass(frozen=True)
class Case:
    """A hostile file and how opening it must end.

    Attributes:
        name: What it is called.
        write: Writes it, and returns the path to open, or the arguments of a command.
        call: `load_model`, `load_data` or `cli`.
        says: What its one line must say; None where the file does no harm and is read.
        after: What was published of which it is modelled.
    """

    name: str
    write: Callable[[Box], object]
    call: str
    says: str | None
    after: str = ""


CASES: list[Case] = []


def case(call, says, after=""):
    """Make a case of a function that writes a file."""

    def register(write):
        CASES.append(Case(write.__name__, write, call, says, after))
        return write

    return register


def goes_on(path, name, *, claimed=None, honest_sum=True):
    """Make a member's stream go on for 1.5 GiB behind what the archive says of it.

    Args:
        path: The archive, rewritten in place.
        name: The member.
        claimed: How many bytes of it the archive tells of; by default as many as it had.
        honest_sum: Whether the check sum is that of the bytes it tells of.
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
    entry = content.rindex(name.encode()) - 46  # Its place in the directory at the end.
    total = zlib.crc32(good) if honest_sum else 1
    for method, sums in ((start + 8, start + 14), (entry + 10, entry + 16)):
        struct.pack_into("<H", content, method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<L", content, sums, total)
        struct.pack_into("<L", content, sums + 8, len(good))
    path.write_bytes(content)
    return path
