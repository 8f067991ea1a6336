"""Update rules: 000 §2.3, §3.2, §5.2, §5.3, §6.4, 001 §3.3.3, 003 §3.3, 004 §4.3.

A rule takes the parameters `θ`, the gradient `∇J(θ)` there and what it remembers of earlier
steps, the state, () before the first; it returns new `θ` and new state, and changes no array. Fix
the rates with `functools.partial`, and `trajectory` runs any of them. All parameters step
together, from a gradient taken before any of them moved.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_xai.foundations.checks import Array, array, same_shape, within

State = tuple[Array, ...]
Step = Callable[[Array, Array, State], tuple[Array, State]]


def gradient_descent(
    theta: ArrayLike, gradient: ArrayLike, state: State = (), *, alpha: float
) -> tuple[Array, State]:
    """Step downhill: `θ_{t+1} = θ_t - α ∇J(θ_t)`.

    It is stochastic gradient descent where the gradient is that of some examples only.

    Args:
        theta: Parameters `θ`, any shape.
        gradient: `∇J(θ)`, same shape.
        state: What the last step returned; () at first, and here always.
        alpha: Learning rate `α` (`η` in 003), positive.

    Returns:
        New parameters and new state.

    Raises:
        ValueError: If the shapes differ, a number is not finite or out of its range, or the
            state is that of another rule. A path that diverges ends so.
    """
    theta, g = _pair(theta, gradient)
    _memory(state)
    return theta - within("alpha", alpha, 0, open_low=True) * g, ()


def momentum(
    theta: ArrayLike, gradient: ArrayLike, state: State = (), *, alpha: float, beta: float = 0.9
) -> tuple[Array, State]:
    """Follow a mean of past gradients: `v_t = β v_{t-1} + (1 - β) ∇J`, `θ_{t+1} = θ_t - α v_t`.

    `v_0 = 0`. Keras adds the gradient up unweighted, `u_t = β u_{t-1} - α' ∇J`,
    `θ_{t+1} = θ_t + u_t`: the same path for a constant `α' = (1 - β) α`.

    Args:
        theta: As in `gradient_descent`, like `gradient` and what is returned and raised.
        gradient: `∇J(θ)`.
        state: `(v,)`, or () at first.
        alpha: Learning rate `α`, positive.
        beta: What is kept of `v`, `β` in [0, 1).
    """
    theta, g = _pair(theta, gradient)
    (v,) = _memory(state, theta.shape)
    v = _decay("beta", beta) * v + (1 - beta) * g
    return theta - within("alpha", alpha, 0, open_low=True) * v, (v,)


def adagrad(
    theta: ArrayLike, gradient: ArrayLike, state: State = (), *, eta: float, epsilon: float = 1e-7
) -> tuple[Array, State]:
    """Give each parameter its own rate: `G_t = G_{t-1} + (∇J)²`, `θ -= η ∇J / √(G_t + ε)`.

    Without the `ε`, which 000 §5.2 leaves out, a parameter whose gradient has always been 0
    becomes 0/0. Keras starts from `G_0 = 0.1` (`initial_accumulator_value`): give the state
    `(np.full(theta.shape, 0.1),)`. As `G_0` only ever appears as `G_0 + ε`, it is one more `ε`.

    Args:
        theta: As in `gradient_descent`, like `gradient` and what is returned and raised.
        gradient: `∇J(θ)`.
        state: `(G,)`, the sum of squares of past gradients, or () at first.
        eta: Initial learning rate `η`, positive.
        epsilon: `ε`, a squared gradient, at least 0.
    """
    theta, g = _pair(theta, gradient)
    (G,) = _memory(state, theta.shape)
    G = G + g**2
    root = np.sqrt(G + within("epsilon", epsilon, 0))
    return theta - within("eta", eta, 0, open_low=True) * g / _positive(root), (G,)


def adam(
    theta: ArrayLike,
    gradient: ArrayLike,
    state: State = (),
    *,
    alpha: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    bias_correction: bool = True,
    epsilon_hat: bool = False,
) -> tuple[Array, State]:
    """Divide a mean gradient by its root mean square: `θ_{t+1} = θ_t - α m̂_t / (√v̂_t + ε)`.

    `m_t = β1 m_{t-1} + (1 - β1) ∇J` and `v_t = β2 v_{t-1} + (1 - β2) (∇J)²` begin at 0 and so
    too small, which `m̂_t = m_t / (1 - β1^t)` and `v̂_t = v_t / (1 - β2^t)` undo. 000 §5.2 does
    without: its first step is `(1 - β1) / √(1 - β2) = 3.16` times as long.

    Args:
        theta: As in `gradient_descent`, like `gradient` and what is returned and raised.
        gradient: `∇J(θ)`.
        state: `(m, v, t)` with the number `t` of steps done, or () at first.
        alpha: Learning rate `α`, positive: the length of the first step in every parameter.
        beta1: What is kept of `m`, in [0, 1).
        beta2: What is kept of `v`, in [0, 1).
        epsilon: `ε`, a gradient, at least 0. By default it joins `√v̂`, as in algorithm 1 of
            Kingma and Ba (2015) and in PyTorch.
        bias_correction: Whether to correct; False is the article's rule.
        epsilon_hat: Whether `epsilon` is the `ε̂ = ε √(1 - β2^t)` that joins the uncorrected
            `√v`, as at the end of their section 2 and in Keras.
    """
    theta, g = _pair(theta, gradient)
    m, v, t = _memory(state, theta.shape, theta.shape, ())
    t = t + 1
    m = _decay("beta1", beta1) * m + (1 - beta1) * g
    v = _decay("beta2", beta2) * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t) if bias_correction else m
    v_hat = v / (1 - beta2**t) if bias_correction else v
    scale = np.sqrt(1 - beta2**t) if bias_correction and epsilon_hat else 1
    root = np.sqrt(v_hat) + within("epsilon", epsilon, 0) / scale
    step = within("alpha", alpha, 0, open_low=True) * m_hat / _positive(root)
    return theta - step, (m, v, np.asarray(t))


def newton(theta: ArrayLike, gradient: ArrayLike, hessian: ArrayLike) -> Array:
    """Jump to where the second-order Taylor expansion is flat: `θ_{t+1} = θ_t - H⁻¹ ∇J`.

    That is its minimum only where `H` is positive definite; else a saddle or a maximum.

    Args:
        theta: Parameters `θ`, any shape.
        gradient: `∇J(θ)`, same shape.
        hessian: `H_ij = ∂²J/∂θ_i ∂θ_j`, of the shape of `θ` twice over: (n, n) for (n,).

    Returns:
        New parameters.

    Raises:
        ValueError: If a shape is wrong, or the Hessian is singular: there is no such point,
            or a whole line of them.
    """
    theta, g = _pair(theta, gradient)
    H = array("hessian", hessian, shape=theta.shape * 2).reshape(theta.size, theta.size)
    rank = np.linalg.matrix_rank(H)
    if rank < theta.size:
        raise ValueError(f"hessian: expected an invertible matrix, rank {theta.size}; got {rank}")
    return theta - np.linalg.solve(H, g.ravel()).reshape(theta.shape)


def newton_root(theta: ArrayLike, f: ArrayLike, f_prime: ArrayLike) -> Array:
    """Jump to where the tangent is zero: `θ_{t+1} = θ_t - f(θ_t) / f'(θ_t)`, entry by entry.

    This is what 000 §3.2 calls a way to minimise `f`. It finds a root; a minimum is a root of
    the derivative, so give it `f'` and `f''`.

    Raises:
        ValueError: If the shapes differ or a slope is 0.
    """
    theta, f = _pair(theta, f, "f")
    theta, f_prime = _pair(theta, f_prime, "f_prime")
    if (f_prime == 0).any():
        raise ValueError("f_prime: expected a slope other than 0, where the tangent has a root")
    return theta - f / f_prime


def mini_batches(n: int, size: int, seed: int | np.random.Generator) -> list[NDArray[np.int64]]:
    """Cut a shuffled pass over `n` examples into batches: the indices of each.

    `size = n` is batch, `size = 1` stochastic gradient descent (000 §5.3).

    Args:
        n: Number of examples, at least 1.
        size: Examples in a batch, 1 to `n`; the last batch takes what is left.
        seed: Of the order. A generator gives another order at every call.

    Returns:
        Index arrays. Every example is in exactly one of them.

    Raises:
        ValueError: If `n` or `size` is out of range.
    """
    n, size = int(within("n", n, 1)), int(within("size", size, 1, n))
    order = np.random.default_rng(seed).permutation(n)
    return [order[i : i + size] for i in range(0, n, size)]


def trajectory(
    step: Step,
    gradient: Callable[[Array], ArrayLike],
    theta: ArrayLike,
    steps: int,
    state: State = (),
) -> Array:
    """Run an update rule from `θ_0` and keep the way, `θ_0, …, θ_T`.

    Args:
        step: `(θ, ∇J, state) -> (θ, state)`, as `partial(adam, alpha=0.1)`.
        gradient: `∇J`, a function of `θ`. It may draw a mini-batch at every call.
        theta: `θ_0`, any shape.
        steps: `T`, at least 0.
        state: What the rule is to remember at the first step.

    Returns:
        The path, (T + 1, ...).
    """
    theta = array("theta", theta)
    path = [theta]
    for _ in range(int(within("steps", steps, 0))):
        theta, state = step(theta, array("gradient", gradient(theta)), state)
        path.append(theta)
    return np.stack(path)


def minimise(
    step: Step,
    gradient: Callable[[Array], ArrayLike],
    theta: ArrayLike,
    steps: int,
    state: State = (),
) -> Array:
    """Return the end of the `trajectory`, `θ_T`."""
    return trajectory(step, gradient, theta, steps, state)[-1]


def _pair(theta: ArrayLike, other: ArrayLike, name: str = "gradient") -> tuple[Array, Array]:
    theta, other = array("theta", theta), array(name, other)
    same_shape(("theta", name), theta, other)
    return theta, other


def _memory(state: State, *shapes: tuple[int, ...]) -> State:
    if len(state) not in (0, len(shapes)):
        raise ValueError(f"state: expected () or {len(shapes)} arrays; got {len(state)}")
    given = state or tuple(np.zeros(shape) for shape in shapes)
    pairs = enumerate(zip(given, shapes, strict=True))
    return tuple(array(f"state[{i}]", part, shape=shape) for i, (part, shape) in pairs)


def _decay(name: str, beta: float) -> float:
    if not 0 <= beta < 1:
        raise ValueError(f"{name}: expected a number in [0, 1); got {beta!r}")
    return beta


def _positive(root: Array) -> Array:
    if (root == 0).any():
        raise ValueError("epsilon: expected more than 0, as a gradient has been 0 so far; got 0")
    return root
