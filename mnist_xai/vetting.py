"""What is asked of a model file before Keras may see it.

Keras's own `safe_mode` looks for serialised Python functions. Here the file has to keep to what
a classifier of images needs: three members of believable size, only parts of Keras that neither
run code nor open files, weights that lie in the file itself, and no more of them than it holds.
"""

import io
import json
import math
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
from keras.src.backend.common import global_state

from mnist_xai.printable import OneLineError, first_line, printable
from mnist_xai.unpacking import UnpackingError, allowance, check_unpacked, read_member

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

_TEXT_BYTES = 8 << 20  # The largest architectures that Keras ships have configurations of 1 MiB.
_DEEPEST = 200
_LAYERS = 2_000
_OBJECTS = 20_000
_STEPS = 50_000
_VALUES = 1 << 27  # What one layer may make of one image: half a gibibyte of float32.


class ModelFileError(OneLineError):
    """A model file is damaged, of another kind, or asks for code to be run."""


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
        zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, EOFError, RuntimeError
    ) as error:  # fmt: skip
        reason = first_line(error)
        raise ModelFileError(f"{path}: damaged, or not a .keras model ({reason})") from error
    vet_config(config, path)
    _vet_size(config, _vet_weights(members[WEIGHTS], path), path)
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


# --- What the configuration names --------------------------------------------------------

_CLASSES = frozenset(
    {
        "keras",
        "keras.constraints",
        "keras.dtype_policies",
        "keras.initializers",
        "keras.layers",
        "keras.losses",
        "keras.metrics",
        "keras.models",
        "keras.optimizers",
        "keras.optimizers.schedules",
        "keras.quantizers",
        "keras.random",
        "keras.regularizers",
        "keras.src.models.functional",
        "keras.src.models.model",
        "keras.src.models.sequential",
    }
)
_FUNCTIONS = frozenset(
    {
        "builtins",  # What Keras writes for functions that it finds by name among its own.
        "keras.activations",
        "keras.constraints",
        "keras.initializers",
        "keras.losses",
        "keras.metrics",
        "keras.regularizers",
    }
)
# Layers of the networks that Keras ships, each by its whole name.
_OF_APPLICATIONS = frozenset(
    {
        ("keras.src.applications.convnext", "LayerScale"),
        ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer"),
    }
)
_MODELS = frozenset({"Functional", "Model", "Sequential"})
_VALUES_BY_NAME = frozenset({"__keras_tensor__", "__tensor__", "__numpy__"})
_VALUES_BY_NAME |= {"__ellipsis__", "__slice__"}
_RUN_CODE = frozenset(
    {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
)
_OPEN_FILES = frozenset({"StringLookup", "IntegerLookup", "TextVectorization"})
_MAKE_OBJECTS = frozenset({"get", "deserialize", "serialize"})


def vet_config(config: Any, path: Path) -> None:
    """Refuse a configuration that names anything but parts of Keras made for networks.

    Args:
        config: What was read from `config.json`.
        path: The file, for the message.

    Raises:
        ModelFileError: For code from elsewhere, layers that open files, and the like.
    """
    if not isinstance(config, dict) or str(config.get("class_name")) not in _MODELS:
        raise ModelFileError(f"{path}: {CONFIG} describes no model")
    layers = 0
    for objects, part in enumerate(_parts(config, path), 1):
        layers += "inbound_nodes" in part or part.get("module") == "keras.layers"
        if layers > _LAYERS:
            raise ModelFileError(f"{path}: the model has more than {_LAYERS:,} layers")
        if objects > _OBJECTS:
            raise ModelFileError(f"{path}: {CONFIG} holds more than {_OBJECTS:,} objects")
        if part.keys() & {"class_name", "module", "registered_name"}:
            _vet_name(part, path)
        _vet_calls(part, path)
        _vet_order(part, path)
        name = part.get("name")
        if isinstance(name, str) and printable(name) != name:
            raise ModelFileError(f"{path}: a name in the model holds control characters: {name}")


def _parts(config: Any, path: Path) -> Iterator[dict[str, Any]]:
    """Every dictionary in the configuration, without recursion, which a file could exhaust."""
    rest = [(config, 0)]
    while rest:
        value, depth = rest.pop()
        if depth > _DEEPEST:
            raise ModelFileError(f"{path}: {CONFIG} is nested more than {_DEEPEST} deep")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ModelFileError(f"{path}: {CONFIG} holds a number of more than 64 bits")
        if isinstance(value, dict):
            yield value
            rest += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            rest += [(inner, depth + 1) for inner in value]


def _vet_name(part: dict[str, Any], path: Path) -> None:
    module, name = part.get("module"), part.get("class_name")
    function = name == "function"
    called = part.get("config") if function else name
    named = ".".join(str(word) for word in (module, called) if word is not None)
    registered = part.get("registered_name")
    if str(name) in _OPEN_FILES:
        raise ModelFileError(
            f"{path}: the model names {named[:200]}, which reads files; it is not loaded"
        )
    own = isinstance(called, str) and called not in _RUN_CODE | _MAKE_OBJECTS
    if function:
        own = own and str(module) in _FUNCTIONS
    elif module is None:
        own = own and called in _VALUES_BY_NAME
    else:
        own = own and (
            str(module) in _CLASSES
            or str(module).startswith("keras.src.ops.")
            or (module, called) in _OF_APPLICATIONS
        )
    if not own or registered not in (None, name, called):
        named = named if registered in (None, name, called) else f"{named} ({registered})"
        raise ModelFileError(
            f"{path}: the model names {named[:200]}, which is code from outside Keras or no part "
            "of a network; it is not loaded (whoever trusts it loads it with Keras, and passes "
            "the model)"
        )


def _vet_calls(part: dict[str, Any], path: Path) -> None:
    """Refuse a call that is given no tensor of the model: Keras would compute it at once."""
    calls = part.get("inbound_nodes")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and not any(
            inner.get("class_name") == "__keras_tensor__" for inner in _parts(call, path)
        ):
            raise ModelFileError(
                f"{path}: {part.get('name', 'a layer')} is called on nothing that comes from the "
                "input"
            )


def _vet_order(part: dict[str, Any], path: Path) -> None:
    """Refuse layers listed the wrong way round: Keras would go over them once for each."""
    layers = part.get("layers")
    if not isinstance(layers, list):
        return
    layers = [layer for layer in layers if isinstance(layer, dict)]
    places = {str(layer.get("name")): place for place, layer in enumerate(layers)}
    later = sum(
        places.get(word, -1) > place
        for place, layer in enumerate(layers)
        for word in _words(layer.get("inbound_nodes"))
    )
    if later * len(layers) > _STEPS:
        raise ModelFileError(
            f"{path}: {later:,} calls of {len(layers):,} layers come before what they are called on"
        )


def _words(value: Any) -> Iterator[str]:
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            rest += value.values() if isinstance(value, dict) else value


# --- What the weights hold ---------------------------------------------------------------


def _vet_weights(content: bytes, path: Path) -> int:
    """How many numbers the weights hold; all of them have to lie in the file itself."""
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            numbers = size = 0
            for array in _arrays(file, path):
                size += _vet_array(array, path)
                numbers += array.size
                # Together: each of thousands may be small, and claim what is not there.
                check_unpacked(WEIGHTS, size, allowance(path))
            return numbers
    except UnpackingError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path}: damaged weights ({first_line(error)})") from error


def _arrays(file: h5py.File, path: Path) -> Iterator[h5py.Dataset]:
    rest, seen = [file["/"]], set()
    while rest:
        group = rest.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelFileError(
                    f"{path}: {WEIGHTS} links to somewhere else ({type(link).__name__} {name})"
                )
            found = group[name]
            where = h5py.h5o.get_info(found.id).addr
            if where in seen:
                continue  # A group may hold itself.
            seen.add(where)
            if len(seen) > _OBJECTS:
                raise ModelFileError(f"{path}: {WEIGHTS} holds more than {_OBJECTS:,} objects")
            if isinstance(found, h5py.Group):
                rest.append(found)
            elif isinstance(found, h5py.Dataset):
                yield found


def _vet_array(array: h5py.Dataset, path: Path) -> int:
    """How many bytes an array says it has."""
    where = f"{path}: {WEIGHTS}: {array.name}"
    if array.external or array.is_virtual:
        raise ModelFileError(f"{where} lies in another file")
    # HDF5 has no bfloat16: Keras writes two bytes without a meaning, and what they mean beside.
    bfloat16 = array.dtype == "V2" and array.attrs.get("dtype") == "bfloat16"
    if array.dtype.kind not in "fiub" and not bfloat16:
        raise ModelFileError(f"{where}: expected numbers; got {array.dtype}")
    if array.shape is None:
        raise ModelFileError(f"{where}: expected an array; there is none")
    return math.prod(array.shape) * array.dtype.itemsize


# --- What would be built -----------------------------------------------------------------


def _vet_size(config: dict[str, Any], held: int, path: Path) -> None:
    """Build the model without its numbers, and refuse one that the file cannot fill."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            bare = {**config, "compile_config": None}
            model = keras.saving.deserialize_keras_object(bare, safe_mode=True)
            wanted = sum(math.prod(weight.shape) for weight in model.weights)
            largest = max(_outputs(model), default=0)
    except Exception as error:
        raise ModelFileError(f"{path}: Keras cannot load it ({first_line(error)})") from error
    finally:
        # Keras would fill them the next time that it fills any.
        global_state.set_global_attribute("uninitialized_variables", [])
    # Somewhat more is honest: low-rank adapters are not in the file once they are merged.
    if wanted > held and wanted * 4 > allowance(path):
        raise ModelFileError(
            f"{path}: {CONFIG} asks for {wanted:,} numbers; {WEIGHTS} holds {held:,}"
        )
    if largest > _VALUES:
        raise ModelFileError(f"{path}: a layer would make {largest:,} numbers of one image")


def _outputs(model: keras.Model) -> Iterator[int]:
    """How many numbers each layer, also of nested models, makes of one image."""
    rest = [model]
    while rest:
        for layer in rest.pop().layers:
            if isinstance(layer, keras.Model):
                rest.append(layer)
            for node in layer._inbound_nodes:
                for tensor in node.output_tensors:
                    yield math.prod(size or 1 for size in tensor.shape[1:])
