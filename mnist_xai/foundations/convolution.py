"""Forward and backward passes of convolution, max-pooling and flattening: 000 §8.2.

Images are (n, height, width, channels), kernels (height, width, input channels, output channels),
as in Keras. The stride is 1 and there is no padding, as in the case study. Deep learning's
convolution is a correlation: the kernel is not flipped.
"""

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.checks import Array, array


def conv2d(x: ArrayLike, W: ArrayLike, b: ArrayLike) -> Array:
    """Convolve images with kernels: `z_nijd = Σ_u Σ_v Σ_c x_n,i+u,j+v,c W_uvcd + b_d`.

    The loop runs over the entries `u, v` of the kernel. For each entry, one matrix product handles
    all positions of the image.

    Args:
        x: Images (n, H, W, C).
        W: Kernels (h, w, C, D).
        b: Biases (D,).

    Returns:
        Weighted inputs `z` (n, H - h + 1, W - w + 1, D).

    Raises:
        ValueError: If the shapes do not fit or the kernel is larger than the image.
    """
    x, W = _image_and_kernel(x, W)
    b = array("b", b, shape=W.shape[3:])
    height, width = x.shape[1] - W.shape[0] + 1, x.shape[2] - W.shape[1] + 1
    z = np.zeros((len(x), height, width, W.shape[3])) + b
    for u, v in np.ndindex(W.shape[:2]):
        z += x[:, u : u + height, v : v + width] @ W[u, v]
    return z


def conv2d_backward(delta: ArrayLike, x: ArrayLike, W: ArrayLike) -> tuple[Array, Array, Array]:
    """Propagate the gradient `δ = ∂L/∂z` through a convolution.

    `∂L/∂x_npqc = Σ_uvd δ_n,p-u,q-v,d W_uvcd`: a sum over all positions whose window contains the
    pixel. `∂L/∂W_uvcd = Σ_nij x_n,i+u,j+v,c δ_nijd` and `∂L/∂b_d = Σ_nij δ_nijd`: a weight is
    used at every position, so its gradient is a sum over positions.

    Args:
        delta: `∂L/∂z` (n, H - h + 1, W - w + 1, D).
        x: Images of the forward pass (n, H, W, C).
        W: Kernels of the forward pass (h, w, C, D).

    Returns:
        Gradients of the loss by `x`, `W` and `b`, in the shapes of these arrays.

    Raises:
        ValueError: If the shapes do not fit.
    """
    x, W = _image_and_kernel(x, W)
    height, width = x.shape[1] - W.shape[0] + 1, x.shape[2] - W.shape[1] + 1
    delta = array("delta", delta, shape=(len(x), height, width, W.shape[3]))
    x_gradient, W_gradient = np.zeros_like(x), np.zeros_like(W)
    for u, v in np.ndindex(W.shape[:2]):
        here = np.s_[:, u : u + height, v : v + width]
        x_gradient[here] += delta @ W[u, v].T
        W_gradient[u, v] = np.tensordot(x[here], delta, axes=((0, 1, 2), (0, 1, 2)))
    return x_gradient, W_gradient, delta.sum(axis=(0, 1, 2))


def max_pool(x: ArrayLike, size: int = 2) -> Array:
    """Take the maximum of each window: `y_nijc = max over u, v < size of x_n,s·i+u,s·j+v,c`.

    Windows do not overlap. Remaining rows and columns that fill no window are dropped, as in Keras.

    Args:
        x: Images (n, H, W, C).
        size: Side `s` of a window, at least 1.

    Returns:
        Images (n, H // size, W // size, C).

    Raises:
        ValueError: If `x` is not a batch of images, or no window fits into an image.
    """
    return _windows(x, size).max(axis=3)


def max_pool_backward(delta: ArrayLike, x: ArrayLike, size: int = 2) -> Array:
    """Propagate a gradient through max-pooling: the largest entry of each window gets all of `δ`.

    If several entries are equally large, the first in reading order gets it, as in TensorFlow.

    Args:
        delta: `∂L/∂y` (n, H // size, W // size, C).
        x: Images of the forward pass (n, H, W, C).
        size: Side of a window.

    Returns:
        `∂L/∂x` (n, H, W, C); at most one entry of each window is not zero.

    Raises:
        ValueError: If the shapes do not fit.
    """
    windows = _windows(x, size)
    n, rows, columns, _, channels = windows.shape
    delta = array("delta", delta, shape=(n, rows, columns, channels))
    first = windows.argmax(axis=3, keepdims=True)
    chosen = np.zeros_like(windows)
    np.put_along_axis(chosen, first, delta[:, :, :, None], axis=3)
    chosen = chosen.reshape(n, rows, columns, size, size, channels).swapaxes(2, 3)
    gradient = np.zeros(np.shape(x))
    gradient[:, : rows * size, : columns * size] = chosen.reshape(
        n, rows * size, columns * size, channels
    )
    return gradient


def flatten(x: ArrayLike) -> Array:
    """Reshape each image to one row, (n, H, W, C) to (n, H·W·C); the channel varies fastest."""
    x = array("x", x, shape=(None, None, None, None))
    return x.reshape(len(x), x[0].size if len(x) else 0)


def flatten_backward(delta: ArrayLike, x: ArrayLike) -> Array:
    """Reshape a gradient (n, H·W·C) back to the shape of the images `x`."""
    shape = flatten(x).shape
    return array("delta", delta, shape=shape).reshape(np.shape(x))


def _image_and_kernel(x: ArrayLike, W: ArrayLike) -> tuple[Array, Array]:
    x = array("x", x, shape=(None, None, None, None))
    W = array("W", W, shape=(None, None, x.shape[3], None))
    if W.shape[0] > x.shape[1] or W.shape[1] > x.shape[2] or 0 in W.shape[:2]:
        raise ValueError(
            f"W: expected a kernel of 1 x 1 to {x.shape[1]} x {x.shape[2]}, the size of the "
            f"images; got {W.shape[0]} x {W.shape[1]}"
        )
    return x, W


def _windows(x: ArrayLike, size: int) -> Array:
    """Cut images into windows (n, rows, columns, size², channels)."""
    x = array("x", x, shape=(None, None, None, None))
    n, height, width, channels = x.shape
    if not 1 <= size <= min(height, width):
        raise ValueError(
            f"size: expected a whole number from 1 to {min(height, width)}, the shorter side of "
            f"the images; got {size}"
        )
    rows, columns = height // size, width // size
    cropped = x[:, : rows * size, : columns * size]
    windows = cropped.reshape(n, rows, size, columns, size, channels).swapaxes(2, 3)
    return windows.reshape(n, rows, columns, size * size, channels)
