"""Update rules: 000 §2.3, §3.2, §5.2, §5.3, §6.4, 001 §3.3.3, 003 §3.3, 004 §4.3.

A rule takes the parameters `θ`, the gradient `∇J(θ)` and its state. The state holds what the rule
remembers of earlier steps; it is () before the first step. The rule returns the new `θ` and the
new state, and changes no array. Set the rates with `functools.partial`; `trajectory` then runs any
rule. All parameters step together, with a gradient computed before any of them changed.
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
    """Make one step of gradient descent: `θ_{t+1} = θ_t - α ∇J(θ_t)`.

    It is stochastic gradient descent if the gradient comes from a subset of the examples.

    Args:
        theta: Parameters `θ`, any shape.
        gradient: `∇J(θ)`, same shape.
        state: The state that the last step returned; for this rule always ().
        alpha: Learning rate `α` (`η` in 003), positive.

    Returns:
        New parameters and new state.

    Raises:
        ValueError: If the shapes differ, a number is not finite or out of its range, or the
            state belongs to another rule. A path that diverges ends with this error.
    """
    theta, g = _validated_pair(theta, gradient)
    _validated_state(state)
    return theta - within("alpha", alpha, 0, open_low=True) * g, ()


def momentum(
    theta: ArrayLike, gradient: ArrayLike, state: State = (), *, alpha: float, beta: float = 0.9
) -> tuple[Array, State]:
    """Make one step of momentum: `v_t = β v_{t-1} + (1 - β) ∇J`, `θ_{t+1} = θ_t - α v_t`.

    `v_0 = 0`. Keras adds the gradient without the factor `1 - β`: `u_t = β u_{t-1} - α' ∇J`,
    `θ_{t+1} = θ_t + u_t`. The path is the same for a constant `α' = (1 - β) α`.

    Args:
        theta: Parameters `θ`. Returns and Raises are as in `gradient_descent`.
        gradient: `∇J(θ)`, same shape.
        state: `(v,)`, or () before the first step.
        alpha: Learning rate `α`, positive.
        beta: Decay rate `β` of `v`, in [0, 1).
    """
    theta, g = _validated_pair(theta, gradient)
    (v,) = _validated_state(state, theta.shape)
    v = _validated_decay("beta", beta) * v + (1 - beta) * g
    return theta - within("alpha", alpha, 0, open_low=True) * v, (v,)


def adagrad(
    theta: ArrayLike, gradient: ArrayLike, state: State = (), *, eta: float, epsilon: float = 1e-7
) -> tuple[Array, State]:
    """Make one step of Adagrad: `G_t = G_{t-1} + (∇J)²`, `θ -= η ∇J / √(G_t + ε)`.

    Each parameter has its own rate. Without the `ε`, which 000 §5.2 omits, a parameter whose
    gradient was always 0 becomes 0/0. Keras starts from `G_0 = 0.1` (`initial_accumulator_value`);
    for that, pass the state `(np.full(theta.shape, 0.1),)`. `G_0` occurs only in `G_0 + ε`, so it
    acts as a larger `ε`.

    Args:
        theta: Parameters `θ`. Returns and Raises are as in `gradient_descent`.
        gradient: `∇J(θ)`, same shape.
        state: `(G,)`, the sum of squares of past gradients, or () before the first step.
        eta: Initial learning rate `η`, positive.
        epsilon: `ε`, at least 0, in units of a squared gradient.
    """
    theta, g = _validated_pair(theta, gradient)
    (G,) = _validated_state(state, theta.shape)
    G = G + g**2
    root = np.sqrt(G + within("epsilon", epsilon, 0))
    return theta - within("eta", eta, 0, open_low=True) * g / _checked_nonzero(root), (G,)


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
    """Make one step of Adam: `θ_{t+1} = θ_t - α m̂_t / (√v̂_t + ε)`.

    The means `m_t = β1 m_{t-1} + (1 - β1) ∇J` and `v_t = β2 v_{t-1} + (1 - β2) (∇J)²` start at 0
    and are too small at first. `m̂_t = m_t / (1 - β1^t)` and `v̂_t = v_t / (1 - β2^t)` correct that
    bias. 000 §5.2 omits the correction: its first step is `(1 - β1) / √(1 - β2) = 3.16` times as
    long.

    Args:
        theta: Parameters `θ`. Returns and Raises are as in `gradient_descent`.
        gradient: `∇J(θ)`, same shape.
        state: `(m, v, t)` with the number `t` of steps made, or () before the first step.
        alpha: Learning rate `α`, positive: the length of the first step of every parameter.
        beta1: Decay rate of `m`, in [0, 1).
        beta2: Decay rate of `v`, in [0, 1).
        epsilon: `ε`, at least 0, in units of a gradient. By default it is added to `√v̂`, as in
            algorithm 1 of Kingma and Ba (2015) and in PyTorch.
        bias_correction: Whether to correct the bias; False is the article's rule.
        epsilon_hat: Whether `epsilon` is the `ε̂ = ε √(1 - β2^t)` that is added to the uncorrected
            `√v`, as at the end of their section 2 and in Keras.
    """
    theta, g = _validated_pair(theta, gradient)
    m, v, t = _validated_state(state, theta.shape, theta.shape, ())
    t = t + 1
    m = _validated_decay("beta1", beta1) * m + (1 - beta1) * g
    v = _validated_decay("beta2", beta2) * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t) if bias_correction else m
    v_hat = v / (1 - beta2**t) if bias_correction else v
    scale = np.sqrt(1 - beta2**t) if bias_correction and epsilon_hat else 1
    root = np.sqrt(v_hat) + within("epsilon", epsilon, 0) / scale
    step = within("alpha", alpha, 0, open_low=True) * m_hat / _checked_nonzero(root)
    return theta - step, (m, v, np.asarray(t))


def newton(theta: ArrayLike, gradient: ArrayLike, hessian: ArrayLike) -> Array:
    """Make one step of Newton's method for a minimum: `θ_{t+1} = θ_t - H⁻¹ ∇J`.

    The step goes to the stationary point of the second-order Taylor expansion. That point is a
    minimum only if `H` is positive definite; otherwise it is a saddle or a maximum.

    Args:
        theta: Parameters `θ`, any shape.
        gradient: `∇J(θ)`, same shape.
        hessian: `H_ij = ∂²J/∂θ_i ∂θ_j`, the shape of `θ` twice: (n, n) for (n,).

    Returns:
        New parameters.

    Raises:
        ValueError: If a shape is wrong, or the Hessian is singular: then there is no stationary
            point, or a whole line of them.
    """
    theta, g = _validated_pair(theta, gradient)
    H = array("hessian", hessian, shape=theta.shape * 2).reshape(theta.size, theta.size)
    rank = np.linalg.matrix_rank(H)
    if rank < theta.size:
        raise ValueError(
            f"hessian: expected an invertible matrix of rank {theta.size}; got rank {rank}"
        )
    return theta - np.linalg.solve(H, g.ravel()).reshape(theta.shape)


def newton_root(theta: ArrayLike, f: ArrayLike, f_prime: ArrayLike) -> Array:
    """Make one step of Newton's method for a root: `θ_{t+1} = θ_t - f(θ_t) / f'(θ_t)`.

    The rule applies entry by entry. 000 §3.2 uses it to minimise `f`, but it finds a root of `f`.
    A minimum is a root of the derivative, so pass `f'` and `f''` to find one.

    Raises:
        ValueError: If the shapes differ or an entry of `f_prime` is 0.
    """
    theta, f = _validated_pair(theta, f, "f")
    theta, f_prime = _validated_pair(theta, f_prime, "f_prime")
    if (f_prime == 0).any():
        raise ValueError("f_prime: expected slopes other than 0, so that each tangent has a root")
    return theta - f / f_prime


def mini_batches(n: int, size: int, seed: int | np.random.Generator) -> list[NDArray[np.int64]]:
    """Split a shuffled pass over `n` examples into batches and return the indices of each.

    `size = n` is batch gradient descent, `size = 1` stochastic gradient descent (000 §5.3).

    Args:
        n: Number of examples, at least 1.
        size: Examples in a batch, 1 to `n`; the last batch may be smaller.
        seed: Seed of the order. A generator gives another order at every call.

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
    """Run an update rule from `θ_0` and return the path `θ_0, …, θ_T`.

    Args:
        step: `(θ, ∇J, state) -> (θ, state)`, for example `partial(adam, alpha=0.1)`.
        gradient: `∇J`, a function of `θ`. It may draw a mini-batch at every call.
        theta: `θ_0`, any shape.
        steps: `T`, at least 0.
        state: State of the rule before the first step.

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
    """Return `θ_T`, the end of the `trajectory`."""
    return trajectory(step, gradient, theta, steps, state)[-1]


def _validated_pair(
    theta: ArrayLike, other: ArrayLike, name: str = "gradient"
) -> tuple[Array, Array]:
    theta, other = array("theta", theta), array(name, other)
    same_shape(("theta", name), theta, other)
    return theta, other


def _validated_state(state: State, *shapes: tuple[int, ...]) -> State:
    if len(state) not in (0, len(shapes)):
        raise ValueError(f"state: expected () or {len(shapes)} arrays; got {len(state)}")
    given = state or tuple(np.zeros(shape) for shape in shapes)
    pairs = enumerate(zip(given, shapes, strict=True))
    return tuple(array(f"state[{i}]", part, shape=shape) for i, (part, shape) in pairs)


def _validated_decay(name: str, beta: float) -> float:
    if not 0 <= beta < 1:
        raise ValueError(f"{name}: expected a number in [0, 1); got {beta!r}")
    return beta


def _checked_nonzero(root: Array) -> Array:
    if (root == 0).any():
        raise ValueError(
            "epsilon: expected more than 0, because all gradients of a parameter were 0; got 0"
        )
    return root
