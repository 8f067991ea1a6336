"""Derivatives, integrals and Taylor's expansion, by their definitions: 000 §3.1, §3.2, §5.1.

These functions take Python functions and differentiate them numerically, with quotients of small
differences. The results have about eight correct digits. The other modules use formulas; their
tests compare the two.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from mnist_xai.foundations.checks import Array, array, same_shape

Function = Callable[[Array], ArrayLike]

# A smaller step reduces the error of the formula and increases that of rounding. These steps
# balance the two errors.
_STEP = float(np.finfo(np.float64).eps ** (1 / 3))
_SECOND_STEP = float(np.finfo(np.float64).eps ** (1 / 4))


def derivative(f: Function, x: ArrayLike, h: float = _STEP, *, central: bool = True) -> Array:
    """Approximate the derivative `f'(x) = lim_(h→0) (f(x + h) - f(x)) / h` by a quotient.

    The central quotient `(f(x + h) - f(x - h)) / 2h` has the same limit. Its error is of order
    `h²`; the error of the article's quotient is of order `h`.

    Args:
        f: Function of a number, applied entry by entry.
        x: Points, any shape.
        h: Step, not 0; below 0 for the quotient from the left.
        central: Whether to take the central quotient.

    Returns:
        The quotients, shape of `x`.

    Raises:
        ValueError: If `h` is 0.
    """
    x, h = array("x", x), _validated_step(h)
    if central:
        return (_evaluate(f, x + h) - _evaluate(f, x - h)) / (2 * h)
    return (_evaluate(f, x + h) - _evaluate(f, x)) / h


def partition_sum(f: Function, edges: ArrayLike) -> float:
    """Compute the Riemann sum over any partition: `Σ_i f(x_i*) Δx_i`, `x_i*` the midpoints.

    The sum tends to the integral when the *widest* interval shrinks to 0. The article only
    requires that the number of intervals grows, which is not enough.

    Args:
        f: Function of a number, applied entry by entry.
        edges: Ends of the intervals in order, at least two.

    Returns:
        The sum.

    Raises:
        ValueError: If there are fewer than two edges.
    """
    edges = array("edges", edges, shape=(None,))
    if len(edges) < 2:
        raise ValueError(f"edges: expected at least 2 ends of intervals; got {len(edges)}")
    return float(np.sum(_evaluate(f, (edges[1:] + edges[:-1]) / 2) * np.diff(edges)))


def riemann_sum(f: Function, a: float, b: float, n: int) -> float:
    """Compute the Riemann sum of `n` equal intervals: `Σ_i f(x_i*) Δx`, near `∫_a^b f(x) dx`."""
    if n < 1:
        raise ValueError(f"n: expected at least 1 interval; got {n}")
    return partition_sum(f, np.linspace(array("a", a, shape=()), array("b", b, shape=()), n + 1))


def jacobian(f: Function, x: ArrayLike, h: float = _STEP) -> Array:
    """Approximate the Jacobian `J_ij = ∂f_i/∂x_j` by central differences.

    Args:
        f: Function of an array like `x` that returns an array of any shape.
        x: Point, any shape.
        h: Step. For an entry `|x_j| > 1` the step is `h |x_j|`.

    Returns:
        The Jacobian, shape of `f(x)` followed by the shape of `x`.

    Raises:
        ValueError: If `h` is 0.
    """
    x, h = array("x", x), _validated_step(h)
    columns = []
    for j in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[j] = h * max(1.0, float(abs(x[j])))
        columns.append((_evaluate(f, x + step) - _evaluate(f, x - step)) / (2 * step[j]))
    stacked = np.stack(columns, axis=-1)
    return stacked.reshape(stacked.shape[:-1] + x.shape)


def gradient(f: Function, x: ArrayLike, h: float = _STEP) -> Array:
    """Approximate the gradient of a number by a matrix: `(∇_x J)_ij = ∂J/∂x_ij`.

    Args:
        f: Function of an array like `x` that returns a single number.
        x: Point, any shape.
        h: Step, as in `jacobian`.

    Returns:
        The gradient, shape of `x`: the direction in which `f` grows fastest.

    Raises:
        ValueError: If `f` returns more than one number.
    """
    shape = _evaluate(f, array("x", x)).shape
    if shape != ():
        raise ValueError(f"f: expected a function that returns a single number; got shape {shape}")
    return jacobian(f, x, h)


def hessian(f: Function, x: ArrayLike, h: float = _SECOND_STEP) -> Array:
    """Approximate the Hessian, the gradient's Jacobian: `H_ij = ∂²f / ∂x_i ∂x_j`, symmetric."""
    return jacobian(lambda point: gradient(f, point, h), x, h)


def differential(f: Function, x: ArrayLike, dx: ArrayLike) -> float:
    """Compute the differential, the linear part of a change: `df = f'(x) dx = Σ_i ∂f/∂x_i dx_i`.

    The article calls `df` the change itself. The change is `Δf = df + ` terms of order `dx²`.

    Args:
        f: Function of an array like `x` that returns a single number.
        x: Point, a number or an array.
        dx: Change of `x`, same shape.

    Returns:
        `df`.

    Raises:
        ValueError: If the shapes differ.
    """
    x, dx = array("x", x), array("dx", dx)
    same_shape(("x", "dx"), x, dx)
    return float(np.sum(gradient(f, x) * dx))


def chain_rule(f_prime: Function, g: Function, g_prime: Function, x: ArrayLike) -> Array:
    """Compute the derivative of `f(g(x))` for functions of a number: `f'(g(x)) g'(x)`."""
    x = array("x", x)
    return _evaluate(f_prime, _evaluate(g, x)) * _evaluate(g_prime, x)


def taylor(
    x: ArrayLike, a: ArrayLike, f: float, gradient: ArrayLike, hessian: ArrayLike | None = None
) -> Array:
    """Evaluate the Taylor polynomial at `a`: `f(a) + ∇f(a)·(x - a) [+ ½ (x - a)ᵀ H(a) (x - a)]`.

    For numbers this is the article's `f(a) + f'(a) (x - a) + f''(a)/2! (x - a)²`.

    Args:
        x: Points, (..., *shape of a).
        a: Point of expansion, a number or an array.
        f: `f(a)`.
        gradient: `f'(a)` or `∇f(a)`, shape of `a`.
        hessian: `f''(a)` or `H(a)`, the shape of `a` twice; None for the first order.

    Returns:
        The polynomial at every point (...).

    Raises:
        ValueError: If the shapes do not fit.
    """
    x, a = array("x", x), array("a", a)
    points = x.shape[: x.ndim - a.ndim]
    x, n = array("x", x, shape=(*points, *a.shape)), a.size
    d = (x - a).reshape(*points, n)
    value: Array = array("f", f, shape=()) + d @ _flattened("gradient", gradient, a.shape, (n,))
    if hessian is not None:
        H = _flattened("hessian", hessian, 2 * a.shape, (n, n))
        value = value + np.sum((d @ H) * d, axis=-1) / 2
    return value


def gradient_times_input(gradient: ArrayLike, x: ArrayLike) -> Array:
    """Compute gradient × input, the contribution of every input to a score: `R_i = x_i ∂f/∂x_i`.

    Expand `f` at the image `x` and evaluate the expansion at the black image:
    `f(0) ≈ f(x) + ∇f(x)·(0 - x)`. So `Σ_i x_i ∂f/∂x_i ≈ f(x) - f(0)`. A network of ReLUs and
    poolings without biases satisfies `f(k x) = k f(x)` for `k > 0`. For such a network the
    relation is exact and `f(0) = 0` (Euler).

    Args:
        gradient: `∂f/∂x` at `x`.
        x: Input, same shape.

    Returns:
        `R`, same shape.

    Raises:
        ValueError: If the shapes differ.
    """
    gradient, x = array("gradient", gradient), array("x", x)
    same_shape(("gradient", "x"), gradient, x)
    return gradient * x


def _evaluate(f: Function, x: Array) -> Array:
    return np.asarray(f(x), dtype=np.float64)


def _flattened(name: str, value: ArrayLike, shape: Sequence[int], flat: Sequence[int]) -> Array:
    return array(name, value, shape=shape).reshape(flat)


def _validated_step(h: float) -> float:
    if not np.isfinite(h) or h == 0:
        raise ValueError(f"h: expected a step other than 0; got {h!r}")
    return float(h)
