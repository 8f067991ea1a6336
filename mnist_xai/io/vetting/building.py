"""The cost of building a model, found by building it once without allocating its weights."""

import contextlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.saving.serialization_lib import ObjectSharingScope

from mnist_xai.io.limits import format_bytes, unpacked_limit
from mnist_xai.io.safe_text import first_line
from mnist_xai.io.vetting.configuration import dictionaries
from mnist_xai.io.vetting.model_file import CONFIG, ModelFileError

_MAX_VALUES = 1 << 27  # Values that one layer may compute for one image: 512 MiB of float32.
_MAX_CONSTANTS = 1 << 26  # The same, when a layer makes constants as large as its input.
_MAX_AXES = 16
_MAX_TENSORS = 20_000  # The largest networks that Keras ships make some thousands.
_MAX_ORTHOGONAL = 1 << 35  # Multiplications to make orthogonal matrices: some seconds.

_patch_lock = threading.RLock()


def check_size(config: dict[str, Any], constants: bool, path: Path) -> None:
    """Build a model as Keras will, but without weights, and refuse it when it costs too much.

    Args:
        config: A checked configuration; this changes it.
        constants: Whether a layer in it makes constants as large as its input.
        path: The model file, for its size and for messages.

    Raises:
        ModelFileError: For more weights than the file's size makes likely, for layers that
            compute too much from one image, and for models that Keras cannot build.
    """
    reasons: list[str] = []
    # The caller's own uninitialised variables may be in Keras's list; keep them out of ours.
    callers = global_state.get_global_attribute("uninitialized_variables")
    global_state.set_global_attribute("uninitialized_variables", [])
    _disable_state(config, path)
    try:
        with (
            keras.StatelessScope(initialize_variables=False),
            ObjectSharingScope(),
            _limited_tensors(_MAX_CONSTANTS if constants else _MAX_VALUES, reasons),
        ):
            keras.saving.deserialize_keras_object(config, safe_mode=True)
        reasons += _costly_variables(unpacked_limit(path))
    except Exception as error:
        reason = reasons[0] if reasons else f"Keras cannot load it ({first_line(error)})"
        raise ModelFileError(f"{path}: {reason}") from error
    finally:
        # Remove our variables: Keras would allocate them the next time that it initialises any.
        global_state.set_global_attribute("uninitialized_variables", callers or [])
    # Keras may catch our error, and take it for a layer that cannot infer its output shape.
    if reasons:
        raise ModelFileError(f"{path}: {reasons[0]}")


def _disable_state(config: dict[str, Any], path: Path) -> None:
    """Make stateful layers stateless: Keras cannot create their state without weights."""
    for part in dictionaries(config, path):
        if part.get("stateful") is True:
            part["stateful"] = False


def _costly_variables(limit: int) -> list[str]:
    """Return what is wrong with the size, in bytes, and the initialisers of all variables."""
    size = multiplications = 0
    for variable in global_state.get_global_attribute("uninitialized_variables") or ():
        values = math.prod(variable.shape)
        size += values * tf.as_dtype(variable.dtype).size
        if isinstance(variable._initializer, keras.initializers.Orthogonal) and values:
            multiplications += values * min(variable.shape[-1], values // variable.shape[-1])
    reasons = []
    if size > limit:
        reasons.append(
            f"{CONFIG} asks for weights of {format_bytes(size)}; expected at most "
            f"{format_bytes(limit)}"
        )
    if multiplications > _MAX_ORTHOGONAL:
        reasons.append(
            f"{CONFIG} asks for orthogonal matrices of {multiplications:,} multiplications; "
            f"expected at most {_MAX_ORTHOGONAL:,}"
        )
    return reasons


@contextlib.contextmanager
def _limited_tensors(limit: int, reasons: list[str]) -> Iterator[None]:
    """Stop this thread from making symbolic tensors that are too large, or too many.

    Keras offers no hook between two layers, and the next layer may make constants as large as its
    input. So `KerasTensor.__init__` is replaced meanwhile, and every tensor is checked.

    Args:
        limit: Largest number of values in a tensor, for one image.
        reasons: Receives the reason when a tensor is refused.
    """
    made, thread = 0, threading.get_ident()

    def check(shape: Any) -> None:
        nonlocal made
        made += 1
        sizes = [size or 1 for size in shape]
        if len(sizes) > _MAX_AXES:
            reasons.append(
                f"a layer makes tensors of {len(sizes):,} axes; expected at most {_MAX_AXES}"
            )
        elif math.prod(sizes) > limit:
            reasons.append(
                f"a layer would make {math.prod(sizes):,} numbers from one image; "
                f"expected at most {limit:,}"
            )
        elif made > _MAX_TENSORS:
            reasons.append(f"its layers make more than {_MAX_TENSORS:,} tensors")
        if reasons:
            raise ValueError(reasons[0])

    def checked_init(self: keras.KerasTensor, shape: Any, *args: Any, **kwargs: Any) -> None:
        if threading.get_ident() == thread:
            check(tuple(shape))
        original(self, shape, *args, **kwargs)

    with _patch_lock:
        original = keras.KerasTensor.__init__  # Inside the lock: outside it may be another's.
        keras.KerasTensor.__init__ = checked_init
        try:
            yield
        finally:
            keras.KerasTensor.__init__ = original
