"""What the configuration of a model may name: parts of Keras, made for networks, and no others."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnist_xai.io.printable import printable
from mnist_xai.io.vetting.refusal import CONFIG, ModelFileError

_DEEPEST = 200
_LAYERS = 2_000
_OBJECTS = 20_000
_CONTAINERS = 200_000
_STEPS = 50_000
_BUILT_FOR = 1 << 26  # Numbers of one image.
_CALLS = 100_000  # Of layers, in one pass over one image.

_CLASSES = frozenset(
    {
        "keras",
        "keras.constraints",
        "keras.dtype_policies",
        "keras.initializers",
        "keras.layers",
        "keras.models",
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
_NUMBERS = re.compile("bool|u?int[0-9]+|float[0-9]+|bfloat16")
_WRAPPED = ("layer", "backward_layer", "cell", "model")
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
    for objects, part in enumerate(parts(config, path), 1):
        layers += "inbound_nodes" in part or part.get("module") == "keras.layers"
        if layers > _LAYERS:
            raise ModelFileError(f"{path}: the model has more than {_LAYERS:,} layers")
        if objects > _OBJECTS:
            raise ModelFileError(f"{path}: {CONFIG} holds more than {_OBJECTS:,} objects")
        if part.keys() & {"class_name", "module", "registered_name"}:
            _vet_name(part, path)
        _vet_dtype(part, path)
        _vet_arrays(part, path)
        _vet_calls(part, path)
        _vet_order(part, path)
        name = part.get("name")
        if isinstance(name, str) and printable(name) != name:
            raise ModelFileError(f"{path}: a name in the model holds control characters: {name}")
    _vet_sharing(config, path)
    if (calls := _count_calls(config)) > _CALLS:
        raise ModelFileError(f"{path}: one image would call {calls:,} layers")


def parts(config: Any, path: Path) -> Iterator[dict[str, Any]]:
    """Every dictionary in the configuration, without recursion, which a file could exhaust."""
    rest, containers = [(config, 0)], 0
    while rest:
        value, depth = rest.pop()
        if depth > _DEEPEST:
            raise ModelFileError(f"{path}: {CONFIG} is nested more than {_DEEPEST} deep")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ModelFileError(f"{path}: {CONFIG} holds a number of more than 64 bits")
        if isinstance(value, dict | list):
            containers += 1
            if containers > _CONTAINERS:
                raise ModelFileError(f"{path}: {CONFIG} holds more than {_CONTAINERS:,} lists")
        if isinstance(value, dict):
            yield value
            rest += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            rest += [(inner, depth + 1) for inner in value]


def makes_constants(config: Any, path: Path) -> bool:
    """Whether a layer makes constants as large as what it is given, when it is built."""
    return any(part.get("class_name") == "Normalization" for part in parts(config, path))


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
    if not isinstance(called, str) or called in _RUN_CODE | _MAKE_OBJECTS:
        own = False
    elif function:
        own = str(module) in _FUNCTIONS
    elif module is None:
        own = called in _VALUES_BY_NAME
    else:
        own = called[:1].isupper() and _is_of_networks(str(module), called)
    if not own or registered not in (None, name, called):
        named = named if registered in (None, name, called) else f"{named} ({registered})"
        raise ModelFileError(
            f"{path}: the model names {named[:200]}, which is code from outside Keras or no part "
            "of a network; it is not loaded (whoever trusts it loads it with Keras, and passes "
            "the model)"
        )


def _is_of_networks(module: str, name: str) -> bool:
    """Whether a class is of those that networks are made of."""
    if module == "keras.models":
        return name in _MODELS
    known = module in _CLASSES or module.startswith("keras.src.ops.")
    return known or (module, name) in _OF_APPLICATIONS


def _vet_dtype(part: dict[str, Any], path: Path) -> None:
    """Refuse a constant of a type of its own, of which one value may have gigabytes."""
    config = part.get("config")
    if str(part.get("class_name")) in _VALUES_BY_NAME and isinstance(config, dict):
        dtype = config.get("dtype")
        if dtype is not None and not _NUMBERS.fullmatch(str(dtype)):
            raise ModelFileError(f"{path}: expected a constant of numbers; got {str(dtype)[:100]}")


def _count_calls(part: Any) -> int:
    """How many layers are called in one pass over one image, in nested models each time."""
    config = part.get("config") if isinstance(part, dict) else None
    if not isinstance(config, dict):
        return 1
    layers = config.get("layers")
    inner: list[Any] = layers if isinstance(layers, list) else list(map(config.get, _WRAPPED))
    return sum(_times(layer) * _count_calls(layer) for layer in inner if layer) or 1


def _times(layer: Any) -> int:
    nodes = layer.get("inbound_nodes") if isinstance(layer, dict) else None
    return max(1, len(nodes)) if isinstance(nodes, list) else 1


def _vet_calls(part: dict[str, Any], path: Path) -> None:
    """Refuse a call that is given no tensor of the model: Keras would compute it at once."""
    calls = part.get("inbound_nodes")
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        named = call.get("kwargs")
        others = [
            value
            for name, value in (named.items() if isinstance(named, dict) else ())
            if name not in {"training", "mask"}  # Which Keras may drop before it looks.
        ]
        if not _given_tensors([call.get("args"), others]):
            raise ModelFileError(
                f"{path}: {part.get('name', 'a layer')} is called on nothing that comes from the "
                "input"
            )


def _given_tensors(arguments: list[Any]) -> bool:
    """Whether a tensor of the model is among the arguments, and not inside of a constant."""
    rest = list(arguments)
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += value
        elif isinstance(value, dict):
            if value.get("class_name") == "__keras_tensor__":
                return True
            rest += () if "class_name" in value else value.values()
    return False


def _vet_arrays(part: dict[str, Any], path: Path) -> None:
    """Refuse numbers that Keras would spread over more places than there are weights."""
    config = part.get("config")
    initial = config if part.get("module") == "keras.initializers" else None
    if isinstance(initial, dict) and any(isinstance(v, list | dict) for v in initial.values()):
        raise ModelFileError(f"{path}: expected initial weights by numbers; got an array")
    for sizes in _within(part.get("build_config")):
        numbers = [n for n in sizes if isinstance(n, int)] if isinstance(sizes, list) else []
        if math.prod(numbers) > _BUILT_FOR:
            raise ModelFileError(f"{path}: a layer is built for the shape {sizes}")


def _vet_sharing(config: Any, path: Path) -> None:
    """Refuse a model in the model that stands there twice: once it can be a name alone."""
    numbers, models = Counter[int](), set[int]()
    for part in parts(config, path):
        number, inner = part.get("shared_object_id"), part.get("config")
        if isinstance(number, int):
            numbers[number] += 1
            if isinstance(inner, dict) and "layers" in inner:
                models.add(number)
    for number in models:
        if numbers[number] > 1:
            raise ModelFileError(f"{path}: a model in the model is shared by number {number}")


def _vet_order(part: dict[str, Any], path: Path) -> None:
    """Refuse layers listed the wrong way round: Keras would go over them once for each."""
    layers = part.get("layers")
    if not isinstance(layers, list):
        return
    layers = [layer for layer in layers if isinstance(layer, dict)]
    places = {str(layer.get("name")): place for place, layer in enumerate(layers)}
    later = sum(
        isinstance(word, str) and places.get(word, -1) > place
        for place, layer in enumerate(layers)
        for word in _within(layer.get("inbound_nodes"))
    )
    if later * len(layers) > _STEPS:
        raise ModelFileError(
            f"{path}: {later:,} calls of {len(layers):,} layers come before what they are called on"
        )


def _within(value: Any) -> Iterator[Any]:
    """A value and all that is in it, without recursion."""
    rest = [value]
    while rest:
        value = rest.pop()
        yield value
        if isinstance(value, dict | list):
            rest += value.values() if isinstance(value, dict) else value
