"""A callable on a batch of images as a Keras model."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mnist_xai.interpret.core.tracing import CannotTraceError


class OwnFunction(keras.Model):
    """Calls a function on a batch of images; it has no weights and no layers to be seen.

    A function that TensorFlow can trace has a gradient as far as TensorFlow finds one. Any other
    one gets NumPy arrays, and has none.

    Args:
        function: Images `(N, …)` to scores `(N, classes)`.
        takes_tensors: Whether the function is one of TensorFlow's tensors.
        classes: Number of scores for each image.
        name: Name of the model.

    Attributes:
        function: The function.
        takes_tensors: As above.
        error: The last error that the function raised inside a compiled pass.
    """

    def __init__(self, function: Any, takes_tensors: bool, classes: int, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        self._hidden = (lambda: function,)  # Keras would take a function that is a layer for its.
        self.takes_tensors = takes_tensors
        self.classes = classes
        self.error: Exception | None = None
        self.built = True

    @classmethod
    def of(
        cls, function: Callable[..., Any], shape: tuple[int | None, ...] | None, classes: int | None
    ) -> "OwnFunction":
        """Return the model of a function, after a trial on noise.

        Raises:
            ValueError: For a missing shape, and outputs other than one row of finite scores for
                each image.
        """
        name = _name_of(function)
        if shape is None:
            raise ValueError(
                f"image_shape: expected the shape of one image for the callable {name}; got none. "
                "Pass Network(f, image_shape=(height, width, channels))"
            )
        takes_tensors, found = _takes_tensors(function, shape), 0
        for count in (3, 1):
            noise = np.random.default_rng(0).random((count, *(side or 32 for side in shape)))
            batch = noise.astype(np.float32)
            scores = function(tf.constant(batch) if takes_tensors else batch)
            found = _checked(scores, count, None, name).shape[1]
        if classes not in (None, found):
            raise ValueError(
                f"classes: expected {found}, the number of scores that {name} returns for an "
                f"image; got {classes}"
            )
        return cls(function, takes_tensors, found, name)

    @property
    def function(self) -> Any:
        """The function."""
        return self._hidden[0]()

    def call(self, x: Any) -> Any:
        """Return the scores of a batch of images."""
        if self.takes_tensors:
            return self.function(x)
        if keras.utils.is_keras_tensor(x):
            raise CannotTraceError("it is a function of NumPy arrays")
        scores = tf.numpy_function(self._on_arrays, [x], tf.float32)
        scores.set_shape([x.shape[0], self.classes])
        return scores

    def with_own_errors(self, compiled: Callable[..., Any]) -> Callable[..., Any]:
        """Return a compiled pass that raises the function's errors, not TensorFlow's about them."""

        def call(*args: Any) -> Any:
            try:
                return compiled(*args)
            except tf.errors.OpError:
                error, self.error = self.error, None
                if error is None:
                    raise
                raise error from None

        return call

    def get_config(self) -> dict[str, Any]:
        """Raise ValueError: the weights that a function uses are not known."""
        raise ValueError("it is a function, and the weights that it uses are not known")

    def _on_arrays(self, images: Any) -> Any:
        try:
            # A copy, because the function may work in place.
            return _checked(self.function(np.array(images)), len(images), self.classes, self.name)
        except Exception as error:
            self.error = error
            raise


def _name_of(function: Any) -> str:
    name = getattr(function, "__name__", None) or getattr(function, "name", None)
    name = name or type(function).__name__
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name).strip("_") or "function"


def _takes_tensors(function: Any, shape: tuple[int | None, ...]) -> bool:
    """Return whether TensorFlow can trace a function."""
    spec = tf.TensorSpec([None, *shape], tf.float32)
    try:
        traced = tf.function(lambda x: function(x), autograph=False).get_concrete_function(spec)
    except Exception:  # noqa: BLE001  # It may do anything with a symbolic tensor.
        return False
    return len(traced.outputs) == 1


def _checked(scores: Any, count: int, classes: int | None, name: str) -> Any:
    """Return scores as float32 `(count, classes)`.

    Raises:
        ValueError: For another shape or type, and for scores that are not finite.
    """
    array = np.asarray(scores)
    fits = array.ndim == 2 and len(array) == count and array.shape[1] == (classes or array.shape[1])
    if not fits or array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name}: expected numbers ({count}, {classes or 'classes'}), a row of scores for each "
            f"of {count} images; got {array.dtype} {array.shape}"
        )
    if not np.isfinite(array.astype(np.float32)).all():
        raise ValueError(f"{name}: expected finite scores; some are NaN or infinite")
    return array.astype(np.float32)
