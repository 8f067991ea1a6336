"""Vectors, matrices, and the derivative of their product: 000 §2.1, §2.2, §2.3, §5.1.

Capital letters are matrices and the same small letters their entries: `a_ik` is in row `i` and
column `k` of `A`. The shapes are the article's: `A` (m, n), `B` (n, p), `C = A B` (m, p).
"""

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.checks import Array, array, same_shape


def add(u: ArrayLike, v: ArrayLike) -> Array:
    """Add vectors or matrices entry by entry: `(u + v)_i = u_i + v_i`.

    Raises:
        ValueError: If the shapes differ. NumPy would broadcast the smaller array.
    """
    u, v = array("u", u), array("v", v)
    same_shape(("u", "v"), u, v)
    return u + v


def scale(k: float, v: ArrayLike) -> Array:
    """Multiply every entry by a number: `(k v)_i = k v_i`."""
    return array("k", k, shape=()) * array("v", v)


def matrix_product(A: ArrayLike, B: ArrayLike) -> Array:
    """Multiply matrices: `c_ij = Σ_k a_ik b_kj`. The order matters: in general `A B ≠ B A`.

    Args:
        A: Matrix (m, n).
        B: Matrix (n, p).

    Returns:
        `C = A B`, (m, p).

    Raises:
        ValueError: If the number of rows of `B` differs from the number of columns of `A`.
    """
    A = array("A", A, shape=(None, None))
    B = array("B", B, shape=(A.shape[1], None))
    C = np.zeros((A.shape[0], B.shape[1]))
    for k in range(A.shape[1]):
        C += A[:, k, None] * B[k]  # An outer product: all i down, all j across.
    return C


def transpose(A: ArrayLike) -> Array:
    """Swap rows and columns: `(Aᵀ)_ji = a_ij`, and so `(A B)ᵀ = Bᵀ Aᵀ`."""
    return array("A", A, shape=(None, None)).T


def inverse(A: ArrayLike) -> Array:
    """Invert a matrix by Gauss-Jordan elimination: `A A⁻¹ = A⁻¹ A = I`.

    Row operations that turn `A` into `I` turn `I` into `A⁻¹`. In every column the pivot is the
    largest remaining entry, because a small pivot would amplify rounding errors.

    Args:
        A: Square matrix (n, n).

    Returns:
        `A⁻¹`, (n, n).

    Raises:
        ValueError: If `A` is not square or, up to rounding, singular.
    """
    A = array("A", A, shape=(None, None))
    n = len(A)
    A = array("A", A, shape=(n, n))
    # Scaling the rows to a common size makes rounding errors distinguishable from small numbers.
    size = np.abs(A).max(axis=1, keepdims=True, initial=0)
    M = np.hstack([A, np.eye(n)]) / np.where(size == 0, 1, size)
    rounding = n * np.finfo(np.float64).eps * np.abs(M[:, :n]).max(axis=0, initial=0)
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(M[k:, k])))
        if abs(M[pivot, k]) <= rounding[k]:
            raise ValueError(f"A: expected an invertible matrix; got no pivot in column {k + 1}")
        M[[k, pivot]] = M[[pivot, k]]
        M[k] /= M[k, k]
        others = np.arange(n) != k
        M[others] -= M[others, k, None] * M[k]
    return M[:, n:]


def vector_matrix(v: ArrayLike, A: ArrayLike) -> Array:
    """Multiply a row vector by a matrix: `(vᵀ A)_j = Σ_k v_k a_kj`, a sum down column `j`.

    The article sums along the rows, which gives `A v`. Here (m,) times (m, n) gives (n,).
    """
    v = array("v", v, shape=(None,))
    A = array("A", A, shape=(len(v), None))
    return matrix_product(v[None, :], A)[0]


def matrix_vector(A: ArrayLike, v: ArrayLike) -> Array:
    """Multiply a matrix by a column vector: `(A v)_i = Σ_k a_ik v_k`, (m, n) by (n,) to (m,)."""
    A = array("A", A, shape=(None, None))
    return matrix_product(A, array("v", v, shape=(A.shape[1],))[:, None])[:, 0]


def product_differential(A: ArrayLike, dA: ArrayLike, B: ArrayLike, dB: ArrayLike) -> Array:
    """Compute the first-order change of a product: `d(A B) = dA B + A dB`.

    The factors keep their order. The exact change has one more term `dA dB`, of second order.
    """
    A, dA, B, dB = array("A", A), array("dA", dA), array("B", B), array("dB", dB)
    same_shape(("A", "dA"), A, dA)
    same_shape(("B", "dB"), B, dB)
    return matrix_product(dA, B) + matrix_product(A, dB)


def product_element_derivatives(A: ArrayLike, B: ArrayLike, i: int, j: int) -> tuple[Array, Array]:
    """Differentiate one entry of `C = A B`: `∂c_ij/∂a_ik = b_kj` and `∂c_ij/∂b_kj = a_ik`.

    Args:
        A: Matrix (m, n).
        B: Matrix (n, p).
        i: Row of `C`, from 0.
        j: Column of `C`, from 0.

    Returns:
        `∂c_ij/∂A` (m, n), zero except in row `i`, and `∂c_ij/∂B` (n, p), zero except in column
        `j`.

    Raises:
        ValueError: If the shapes do not fit, or `C` has no entry `i, j`.
    """
    A = array("A", A, shape=(None, None))
    B = array("B", B, shape=(A.shape[1], None))
    if not (0 <= i < A.shape[0] and 0 <= j < B.shape[1]):
        raise ValueError(f"i, j: expected an entry of C, {len(A)} x {B.shape[1]}; got {i}, {j}")
    by_A, by_B = np.zeros_like(A), np.zeros_like(B)
    by_A[i, :] = B[:, j]
    by_B[:, j] = A[i, :]
    return by_A, by_B


def product_gradients(gradient_C: ArrayLike, A: ArrayLike, B: ArrayLike) -> tuple[Array, Array]:
    """Propagate a loss gradient through `C = A B`: `∇_A = ∇_C Bᵀ` and `∇_B = Aᵀ ∇_C`.

    This is all that backpropagation does in the product of a dense layer.

    Args:
        gradient_C: `∂L/∂C`, (m, p).
        A: Matrix (m, n).
        B: Matrix (n, p).

    Returns:
        `∂L/∂A` (m, n) and `∂L/∂B` (n, p).

    Raises:
        ValueError: If the shapes do not fit.
    """
    A = array("A", A, shape=(None, None))
    B = array("B", B, shape=(A.shape[1], None))
    gradient_C = array("gradient_C", gradient_C, shape=(len(A), B.shape[1]))
    return matrix_product(gradient_C, B.T), matrix_product(A.T, gradient_C)


def chain_jacobians(outer: ArrayLike, inner: ArrayLike) -> Array:
    """Compute the Jacobian of `f(g(x))`: `J_f(g(x)) J_g(x)`, the outer one on the left.

    Args:
        outer: `J_f` at `g(x)`, (outputs of f, outputs of g).
        inner: `J_g` at `x`, (outputs of g, inputs).

    Returns:
        The Jacobian (outputs of f, inputs).
    """
    outer = array("outer", outer, shape=(None, None))
    return matrix_product(outer, array("inner", inner, shape=(outer.shape[1], None)))


def chain_gradient(gradient: ArrayLike, jacobian: ArrayLike) -> Array:
    """Propagate a loss gradient through `y = g(x)`: `∇_x L = J_gᵀ ∇_y L`.

    Gradients have the shape of their vectors. So in a chain of gradients the Jacobians are
    transposed and their order is reversed.
    """
    jacobian = array("jacobian", jacobian, shape=(None, None))
    return matrix_vector(jacobian.T, array("gradient", gradient, shape=(len(jacobian),)))
