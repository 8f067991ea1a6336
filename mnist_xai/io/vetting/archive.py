"""The archive that a model comes in: read once, and only what it may hold."""

import json
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from mnist_xai.io.limits import UnpackingError, allowance, read_member
from mnist_xai.io.printable import first_line
from mnist_xai.io.vetting.building import vet_size
from mnist_xai.io.vetting.configuration import makes_constants, parts, vet_config
from mnist_xai.io.vetting.refusal import CONFIG, METADATA, WEIGHTS, ModelFileError
from mnist_xai.io.vetting.weights import vet_weights

_TEXT_BYTES = 8 << 20  # The largest architectures that Keras ships have configurations of 1 MiB.


def vetted_members(path: Path) -> dict[str, bytes]:
    """Read a `.keras` archive once, and refuse what could do anything but become a network.

    Args:
        path: The archive.

    Returns:
        Its configuration and its weights, by their names in the archive. What is made of the
        model has to be made of these: the file may change, and zip archives can be read in more
        than one way.

    Raises:
        ModelFileError: In one line, with the file and what is wrong with it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _vet_members(archive, path)
            members = {
                CONFIG: read_member(archive, CONFIG, _TEXT_BYTES),
                WEIGHTS: read_member(archive, WEIGHTS, allowance(path)),
            }
            config = json.loads(members[CONFIG])
    except ModelFileError:
        raise
    except UnpackingError as error:
        raise ModelFileError(f"{path}: {error}") from error
    # RuntimeError: encrypted; RecursionError, which is one: nested; zlib.error: a bare Exception.
    except (
        zipfile.BadZipFile, zlib.error, struct.error, KeyError, ValueError, OSError, EOFError,
        RuntimeError,
    ) as error:  # fmt: skip
        reason = first_line(error)
        raise ModelFileError(f"{path}: damaged, or not a .keras model ({reason})") from error
    # Losses and optimisers are never built, so that it does not matter whose they are.
    for part in parts(config, path):
        if "class_name" in part:
            part.pop("compile_config", None)
    vet_config(config, path)
    vet_weights(members[WEIGHTS], path)
    members[CONFIG] = json.dumps(config).encode()  # Now: what is built from is spoilt by it.
    vet_size(config, makes_constants(config, path), path)
    return members


def _vet_members(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            raise ModelFileError(f"{path}: damaged, or not a .keras model (it has no {name})")
    for member in members:
        if names.count(member.filename) > 1:
            raise ModelFileError(f"{path}: the archive holds {member.filename} more than once")
        if member.filename not in {CONFIG, METADATA, WEIGHTS}:
            raise ModelFileError(
                f"{path}: the archive holds {member.filename}; expected {CONFIG}, {METADATA} and "
                f"{WEIGHTS} alone"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ModelFileError(f"{path}: {member.filename} is a link in the archive")
