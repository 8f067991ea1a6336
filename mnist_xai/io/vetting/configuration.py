"""Checks of a model's configuration: it may name only parts of Keras that networks are made of."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnist_xai.io.safe_text import escape_controls
from mnist_xai.io.vetting.model_file import CONFIG, ModelFileError

_MAX_DEPTH = 200
_MAX_LAYERS = 2_000
_MAX_OBJECTS = 20_000
_MAX_CONTAINERS = 200_000
_MAX_UNORDERED_STEPS = 50_000
_MAX_BUILD_VALUES = 1 << 26  # Values of one image.
_MAX_LAYER_CALLS = 100_000  # In one pass over one image.

_CLASS_MODULES = frozenset(
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
_FUNCTION_MODULES = frozenset(
    {
        "builtins",  # Keras writes it for functions that it looks up among its own by name.
        "keras.activations",
        "keras.constraints",
        "keras.initializers",
        "keras.regularizers",
    }
)
# Layers that only some networks in keras.applications use.
_APPLICATION_LAYERS = frozenset(
    {
        ("keras.src.applications.convnext", "LayerScale"),
        ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer"),
    }
)
_MODELS = frozenset({"Functional", "Model", "Sequential"})
_VALUE_CLASSES = frozenset({"__keras_tensor__", "__tensor__", "__numpy__"})
_VALUE_CLASSES |= {"__ellipsis__", "__slice__"}
_NUMERIC_DTYPE = re.compile("bool|u?int[0-9]+|float[0-9]+|bfloat16")
_WRAPPED_LAYER_KEYS = ("layer", "backward_layer", "cell", "model")
_RUN_CODE = frozenset(
    {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
)
_OPEN_FILES = frozenset({"StringLookup", "IntegerLookup", "TextVectorization"})
_MAKE_OBJECTS = frozenset({"get", "deserialize", "serialize"})


def check_config(config: Any, path: Path) -> None:
    """Refuse a configuration that names anything but parts of Keras that networks are made of.

    Args:
        config: The content of `config.json`.
        path: The model file, for messages.

    Raises:
        ModelFileError: For code from outside Keras, layers that open files, and models that
            would take too long to build.
    """
    if not isinstance(config, dict) or str(config.get("class_name")) not in _MODELS:
        raise ModelFileError(f"{path}: {CONFIG} describes no model")
    layers = 0
    for objects, part in enumerate(dictionaries(config, path), 1):
        layers += "inbound_nodes" in part or part.get("module") == "keras.layers"
        if layers > _MAX_LAYERS:
            raise ModelFileError(f"{path}: the model has more than {_MAX_LAYERS:,} layers")
        if objects > _MAX_OBJECTS:
            raise ModelFileError(f"{path}: {CONFIG} holds more than {_MAX_OBJECTS:,} objects")
        if part.keys() & {"class_name", "module", "registered_name"}:
            _check_class(part, path)
        _check_dtype(part, path)
        _check_arrays(part, path)
        _check_calls(part, path)
        _check_order(part, path)
        name = part.get("name")
        if isinstance(name, str) and escape_controls(name) != name:
            raise ModelFileError(f"{path}: a name in the model holds control characters: {name}")
    _check_sharing(config, path)
    if (calls := _count_calls(config)) > _MAX_LAYER_CALLS:
        raise ModelFileError(
            f"{path}: one image would call {calls:,} layers; expected at most {_MAX_LAYER_CALLS:,}"
        )


def dictionaries(config: Any, path: Path) -> Iterator[dict[str, Any]]:
    """Yield every dictionary in a configuration.

    Without recursion: a file could exhaust Python's stack.

    Raises:
        ModelFileError: When the configuration is too deep or too large.
    """
    rest, containers = [(config, 0)], 0
    while rest:
        value, depth = rest.pop()
        if depth > _MAX_DEPTH:
            raise ModelFileError(f"{path}: {CONFIG} is nested more than {_MAX_DEPTH} deep")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ModelFileError(f"{path}: {CONFIG} holds a number of more than 64 bits")
        if isinstance(value, dict | list):
            containers += 1
            if containers > _MAX_CONTAINERS:
                raise ModelFileError(f"{path}: {CONFIG} holds more than {_MAX_CONTAINERS:,} lists")
        if isinstance(value, dict):
            yield value
            rest += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            rest += [(inner, depth + 1) for inner in value]


def makes_constants(config: Any, path: Path) -> bool:
    """Return whether building a layer of the model makes constants as large as its input."""
    return any(part.get("class_name") == "Normalization" for part in dictionaries(config, path))


def _check_class(part: dict[str, Any], path: Path) -> None:
    """Refuse a class or function that is not a part of Keras for networks."""
    module, name = part.get("module"), part.get("class_name")
    function = name == "function"
    called = part.get("config") if function else name
    full_name = ".".join(str(word) for word in (module, called) if word is not None)
    registered = part.get("registered_name")
    if str(name) in _OPEN_FILES:
        raise ModelFileError(
            f"{path}: the model names {full_name[:200]}, which reads files; it is not loaded"
        )
    if not isinstance(called, str) or called in _RUN_CODE | _MAKE_OBJECTS:
        allowed = False
    elif function:
        allowed = str(module) in _FUNCTION_MODULES
    elif module is None:
        allowed = called in _VALUE_CLASSES
    else:
        allowed = called[:1].isupper() and _is_network_class(str(module), called)
    if registered not in (None, name, called):
        allowed, full_name = False, f"{full_name} ({registered})"
    if not allowed:
        raise ModelFileError(
            f"{path}: the model names {full_name[:200]}, which is code from outside Keras or not a "
            "part of a network; it is not loaded (if you trust the file, load it with Keras and "
            "pass the model)"
        )


def _is_network_class(module: str, name: str) -> bool:
    """Return whether networks are made of a class."""
    if module == "keras.models":
        return name in _MODELS
    known = module in _CLASS_MODULES or module.startswith("keras.src.ops.")
    return known or (module, name) in _APPLICATION_LAYERS


def _check_dtype(part: dict[str, Any], path: Path) -> None:
    """Refuse a constant that is not numeric: one value of a custom type may have gigabytes."""
    config = part.get("config")
    if str(part.get("class_name")) in _VALUE_CLASSES and isinstance(config, dict):
        dtype = config.get("dtype")
        if dtype is not None and not _NUMERIC_DTYPE.fullmatch(str(dtype)):
            raise ModelFileError(f"{path}: expected a constant of numbers; got {str(dtype)[:100]}")


def _count_calls(part: Any) -> int:
    """Count the layers called in one pass over one image; nested models count for each call."""
    config = part.get("config") if isinstance(part, dict) else None
    if not isinstance(config, dict):
        return 1
    layers = config.get("layers")
    if not isinstance(layers, list):
        layers = list(map(config.get, _WRAPPED_LAYER_KEYS))
    return sum(_call_count(layer) * _count_calls(layer) for layer in layers if layer) or 1


def _call_count(layer: Any) -> int:
    nodes = layer.get("inbound_nodes") if isinstance(layer, dict) else None
    return max(1, len(nodes)) if isinstance(nodes, list) else 1


def _check_calls(part: dict[str, Any], path: Path) -> None:
    """Refuse a call without a tensor of the model: Keras would compute its result at once."""
    calls = part.get("inbound_nodes")
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        keywords = call.get("kwargs")
        values = [
            value
            for name, value in (keywords.items() if isinstance(keywords, dict) else ())
            if name not in {"training", "mask"}  # Keras may drop these before the call.
        ]
        if not _has_tensor([call.get("args"), values]):
            raise ModelFileError(
                f"{path}: {part.get('name', 'a layer')} is called on constants only; expected a "
                "tensor that comes from the input"
            )


def _has_tensor(arguments: list[Any]) -> bool:
    """Return whether a tensor of the model is among the arguments, outside of constants."""
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


def _check_arrays(part: dict[str, Any], path: Path) -> None:
    """Refuse initial arrays that Keras would broadcast, and build shapes that are too large."""
    config = part.get("config")
    initial = config if part.get("module") == "keras.initializers" else None
    if isinstance(initial, dict) and any(isinstance(v, list | dict) for v in initial.values()):
        raise ModelFileError(f"{path}: expected an initialiser with plain numbers; got an array")
    for sizes in _nested_values(part.get("build_config")):
        numbers = [n for n in sizes if isinstance(n, int)] if isinstance(sizes, list) else []
        if math.prod(numbers) > _MAX_BUILD_VALUES:
            raise ModelFileError(
                f"{path}: a layer is built for the shape {sizes}; expected at most "
                f"{_MAX_BUILD_VALUES:,} values"
            )


def _check_sharing(config: Any, path: Path) -> None:
    """Refuse a nested model that is shared: its second place holds no layers to check."""
    numbers, models = Counter[int](), set[int]()
    for part in dictionaries(config, path):
        number, inner = part.get("shared_object_id"), part.get("config")
        if isinstance(number, int):
            numbers[number] += 1
            if isinstance(inner, dict) and "layers" in inner:
                models.add(number)
    for number in models:
        if numbers[number] > 1:
            raise ModelFileError(
                f"{path}: a nested model is used in several places (shared_object_id {number}); "
                "expected each nested model once"
            )


def _check_order(part: dict[str, Any], path: Path) -> None:
    """Refuse layers listed in reverse order: Keras would go through the list once for each."""
    layers = part.get("layers")
    if not isinstance(layers, list):
        return
    layers = [layer for layer in layers if isinstance(layer, dict)]
    places = {str(layer.get("name")): place for place, layer in enumerate(layers)}
    later = sum(
        isinstance(word, str) and places.get(word, -1) > place
        for place, layer in enumerate(layers)
        for word in _nested_values(layer.get("inbound_nodes"))
    )
    if later * len(layers) > _MAX_UNORDERED_STEPS:
        raise ModelFileError(
            f"{path}: {later:,} calls of {len(layers):,} layers are listed before the layers that "
            "they use"
        )


def _nested_values(value: Any) -> Iterator[Any]:
    """Yield a value and everything inside it, without recursion."""
    rest = [value]
    while rest:
        value = rest.pop()
        yield value
        if isinstance(value, dict | list):
            rest += value.values() if isinstance(value, dict) else value
