"""What building a model would cost: it is built once without its numbers."""

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

from mnist_xai.io.limits import allowance, in_words
from mnist_xai.io.printable import first_line
from mnist_xai.io.vetting.configuration import parts
from mnist_xai.io.vetting.refusal import CONFIG, ModelFileError

_VALUES = 1 << 27  # What one layer may make of one image: half a gibibyte of float32.
_CONSTANTS = 1 << 26  # The same, where a layer makes constants as large as what it is given.
_AXES = 16
_TENSORS = 20_000  # The largest networks that Keras ships make some thousands.
_ORTHOGONAL = 1 << 35  # Multiplications to make orthogonal matrices: some seconds.

_one_at_a_time = threading.RLock()


def vet_size(config: dict[str, Any], constants: bool, path: Path) -> None:
    """Build a model as Keras will, but without numbers, and refuse one that would cost too much.

    Args:
        config: A vetted configuration.
        constants: Whether a layer in it makes constants as large as what it is given.
        path: The file, for its size and the message.

    Raises:
        ModelFileError: For more weights than the file's size makes likely, layers that make too
            much of one image, and whatever Keras refuses.
    """
    refused: list[str] = []
    # A caller's own may be waiting there.
    waiting = global_state.get_global_attribute("uninitialized_variables")
    global_state.set_global_attribute("uninitialized_variables", [])
    _forget_states(config, path)
    try:
        with (
            keras.StatelessScope(initialize_variables=False),
            ObjectSharingScope(),
            _bounded(_CONSTANTS if constants else _VALUES, refused),
        ):
            keras.saving.deserialize_keras_object(config, safe_mode=True)
        refused += _too_costly(allowance(path))
    except Exception as error:
        reason = refused[0] if refused else f"Keras cannot load it ({first_line(error)})"
        raise ModelFileError(f"{path}: {reason}") from error
    finally:
        # Keras would fill them the next time that it fills any.
        global_state.set_global_attribute("uninitialized_variables", waiting or [])
    if refused:  # Keras takes some errors for a layer's inability to tell its shape.
        raise ModelFileError(f"{path}: {refused[0]}")


def _forget_states(config: dict[str, Any], path: Path) -> None:
    """Have no layer keep a state between calls: Keras cannot make one without numbers."""
    for part in parts(config, path):
        if part.get("stateful") is True:
            part["stateful"] = False


def _too_costly(most: int) -> list[str]:
    """What is wrong with all the variables that were made, of whatever layer."""
    size = work = 0
    for variable in global_state.get_global_attribute("uninitialized_variables") or ():
        values = math.prod(variable.shape)
        size += values * tf.as_dtype(variable.dtype).size
        if isinstance(variable._initializer, keras.initializers.Orthogonal) and values:
            work += values * min(variable.shape[-1], values // variable.shape[-1])
    refused = []
    if size > most:
        refused.append(
            f"{CONFIG} asks for weights of {in_words(size)}; expected at most {in_words(most)}"
        )
    if work > _ORTHOGONAL:
        refused.append(f"{CONFIG} asks for orthogonal matrices of {work:,} multiplications")
    return refused


@contextlib.contextmanager
def _bounded(most: int, refused: list[str]) -> Iterator[None]:
    """Stop this thread from making symbolic tensors that are too large, or too many.

    Keras has no place to ask in between, and the next layer may make constants as large as what
    it is given. So each tensor is looked at when it is made.
    """
    made, thread = 0, threading.get_ident()

    def check(shape: Any) -> None:
        nonlocal made
        made += 1
        sizes = [size or 1 for size in shape]
        if len(sizes) > _AXES:
            refused.append(f"a layer makes tensors of {len(sizes):,} axes")
        elif math.prod(sizes) > most:
            refused.append(f"a layer would make {math.prod(sizes):,} numbers of one image")
        elif made > _TENSORS:
            refused.append(f"its layers make more than {_TENSORS:,} tensors")
        if refused:
            raise ValueError(refused[0])

    def checked(self: keras.KerasTensor, shape: Any, *args: Any, **kwargs: Any) -> None:
        if threading.get_ident() == thread:
            check(tuple(shape))
        plain(self, shape, *args, **kwargs)

    with _one_at_a_time:
        plain = keras.KerasTensor.__init__  # Here: outside of the lock it may be another's.
        keras.KerasTensor.__init__ = checked
        try:
            yield
        finally:
            keras.KerasTensor.__init__ = plain
