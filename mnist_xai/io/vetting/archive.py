"""The zip archive of a model: read once, with every member checked."""

import json
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from mnist_xai.io.limits import UnpackingError, read_member, unpacked_limit
from mnist_xai.io.safe_text import first_line
from mnist_xai.io.vetting.building import check_size
from mnist_xai.io.vetting.configuration import check_config, dictionaries, makes_constants
from mnist_xai.io.vetting.model_file import CONFIG, METADATA, WEIGHTS, ModelFileError
from mnist_xai.io.vetting.weights import check_weights

_MAX_CONFIG_BYTES = 8 << 20  # The largest configurations of Keras's own networks have 1 MiB.


def vetted_members(path: Path) -> dict[str, bytes]:
    """Read a `.keras` archive once, and refuse it when it may do more than build a network.

    Args:
        path: The archive.

    Returns:
        Its configuration and its weights, by their names in the archive. Build the model from
        these bytes, not from the file: the file may change, and zip archives can be read in more
        than one way.

    Raises:
        ModelFileError: When a check fails; the message is one line that names the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            members = {
                CONFIG: read_member(archive, CONFIG, _MAX_CONFIG_BYTES),
                WEIGHTS: read_member(archive, WEIGHTS, unpacked_limit(path)),
            }
            config = json.loads(members[CONFIG])
    except ModelFileError:
        raise
    except UnpackingError as error:
        raise ModelFileError(f"{path}: {error}") from error
    # RuntimeError: an encrypted archive, or deep nesting (RecursionError is a RuntimeError).
    # zlib.error is a bare Exception.
    except (
        zipfile.BadZipFile, zlib.error, struct.error, KeyError, ValueError, OSError, EOFError,
        RuntimeError,
    ) as error:  # fmt: skip
        reason = first_line(error)
        raise ModelFileError(f"{path}: damaged, or not a .keras model ({reason})") from error
    # Losses and optimisers are dropped: they are never built, so their classes do not matter.
    for part in dictionaries(config, path):
        if "class_name" in part:
            part.pop("compile_config", None)
    check_config(config, path)
    check_weights(members[WEIGHTS], path)
    # Serialise first: building changes the configuration.
    members[CONFIG] = json.dumps(config).encode()
    check_size(config, makes_constants(config, path), path)
    return members


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
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
                f"{path}: the archive holds {member.filename}; expected only {CONFIG}, {METADATA} "
                f"and {WEIGHTS}"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ModelFileError(f"{path}: {member.filename} is a link in the archive")
