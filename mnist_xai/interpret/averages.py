"""Averages of gradients over many points, with the work that the points share done once.

Behind a linear first layer `h = L x + b` (`front.py`):

- its transpose is applied to the sum, `Σ_k w_k ∂S/∂x_k = Lᵀ Σ_k w_k ∂T/∂h_k`;
- along a line `x_k = x' + s_k (x - x')` its outputs are `h' + s_k (h - h')`;
- where `h'` is the same all over each window of the pooling that follows, as for a baseline of one
  colour, `max_i (h' + s d_i) = h' + s max_i d_i` for `s > 0`: the pooling, too, is run once.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from mnist_xai.interpret.network import TARGETS, Array, Network, Score

Pass = Callable[..., tf.Tensor]


def path_gradient(
    network: Network,
    images: ArrayLike,
    targets: ArrayLike,
    baseline: ArrayLike,
    *,
    weights: Sequence[float],
    scales: Sequence[float],
    score: Score = "logit",
) -> Array:
    """Weighted sum of gradients along a straight line: `Σ_k w_k ∂S_c/∂x (x' + s_k (x - x'))`.

    Args:
        network: The network.
        images: float `(N, H, W, C)`, `x`.
        targets: Integers `(N,)`.
        baseline: `x'`, `(H, W, C)` for all images or `(N, H, W, C)`.
        weights: `w_k`, `(K,)`.
        scales: `s_k`, `(K,)`.
        score: Whether `S_c` is the logit or the probability.

    Returns:
        `(N, H, W, C)`.
    """
    images = network.check_points(images)
    targets = network.check_targets(targets, len(images))
    others = np.asarray(baseline)
    others = network.check_points(others[np.newaxis] if others.ndim == 3 else others)
    front, pull_back = _front(network)
    line = list(zip(scales, weights, strict=True))
    rays = min(scales) > 0 and len(others) == 1 and _is_even(network, front(others))
    if rays:
        pool, spread = _pooling(network)
    sums = []
    for rows in network.chunks(len(images)):
        base = front(others if len(others) == 1 else others[rows])
        d = front(images[rows]) - base
        start, direction = (pool(base), pool(d)) if rays else (base, d)
        points = ((start, direction, s, w) for s, w in line)
        total = _sum(network, points, tf.zeros_like(direction), targets[rows], score, pooled=rays)
        sums.append(pull_back(spread(d, total) if rays else total).numpy())
    return np.concatenate(sums)


def noisy_gradient(
    network: Network,
    images: ArrayLike,
    targets: ArrayLike,
    noise: Array,
    *,
    score: Score = "logit",
) -> Array:
    """Mean of the gradients at noisy copies: `1/K Σ_k ∂S_c/∂x (x + ε_k)`.

    Args:
        network: The network.
        images: float `(N, H, W, C)`, `x`.
        targets: Integers `(N,)`.
        noise: `ε_k`, the same for every image, `(K, H, W, C)`.
        score: Whether `S_c` is the logit or the probability.

    Returns:
        `(N, H, W, C)`.
    """
    images = network.check_points(images)
    targets = network.check_targets(targets, len(images))
    front, pull_back = _front(network)
    zero = front(np.zeros_like(noise[:1]))
    sums = []
    for rows in network.chunks(len(images)):
        h = front(images[rows])
        copies = ((h, front(e[np.newaxis]) - zero, 1.0, 1 / len(noise)) for e in noise)
        total = _sum(network, copies, tf.zeros_like(h), targets[rows], score, pooled=False)
        sums.append(pull_back(total).numpy())
    return np.concatenate(sums)


def _sum(
    network: Network,
    points: Iterable[tuple[tf.Tensor, tf.Tensor, float, float]],
    total: tf.Tensor,
    targets: NDArray[np.int32],
    score: Score,
    *,
    pooled: bool,
) -> tf.Tensor:
    """Add `Σ_k w_k ∂T/∂h (b_k + s_k d_k)` of points `(b, d, s, w)` to a total."""

    def add(
        total: tf.Tensor,
        base: tf.Tensor,
        direction: tf.Tensor,
        scale: tf.Tensor,
        weight: tf.Tensor,
        target: tf.Tensor,
    ) -> tf.Tensor:
        h = base + scale * direction
        slope, _ = network.slope_behind(h, target, score, weight=weight, pooled=pooled)
        return total + slope

    h_spec = tf.TensorSpec([None, *total.shape[1:]], tf.float32)
    number = tf.TensorSpec([], tf.float32)
    step = network.compiled(
        ("average", score, pooled), add, h_spec, h_spec, h_spec, number, number, TARGETS
    )
    for base, direction, scale, weight in points:
        total = step(total, base, direction, scale, weight, targets)
    return total


def _front(network: Network) -> tuple[Pass, Pass]:
    """The front forward, and its transpose."""
    return (
        network.compiled("front", network.front.forward, network.image_spec),
        network.compiled("pull back", network.front.pull_back, network.h_spec),
    )


def _pooling(network: Network) -> tuple[Pass, Pass]:
    """The pooling behind the front, and its transpose at given `h`."""
    pool = network.front.pool_forward

    def spread(h: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(h)
            pooled = pool(h)
        return tape.gradient(pooled, h, slope)

    shape = pool(tf.zeros([1, *network.h_spec.shape[1:]])).shape
    pooled_spec = tf.TensorSpec([None, *shape[1:]], tf.float32)
    return (
        network.compiled("pool", pool, network.h_spec),
        network.compiled("spread", spread, network.h_spec, pooled_spec),
    )


def _is_even(network: Network, h: tf.Tensor) -> bool:
    """Whether a pooling follows the front, and `h` is one number in each of its windows."""
    pool = network.front.pool_forward
    return network.front.pool is not None and bool(tf.reduce_all(pool(h) == -pool(-h)))
