"""Averages of gradients over many points, with the work that the points share done once.

Behind a linear first layer `h = L x + b` (`stem.py`):

- its transpose is applied to the sum, `Σ_k w_k ∂S/∂x_k = Lᵀ Σ_k w_k ∂T/∂h_k`;
- along a line `x_k = x' + s_k (x - x')` its outputs are `h' + s_k (h - h')`;
- where `h'` is the same all over each window of the pooling that follows, as for a baseline of one
  colour, `max_i (h' + s d_i) = h' + s max_i d_i` for `s > 0`: the pooling, too, is run once.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.passes import NUMBERS, TARGETS, Pass


def path_gradient(
    network: Network,
    images: ArrayLike,
    targets: ArrayLike,
    baseline: ArrayLike,
    *,
    weights: ArrayLike,
    scales: ArrayLike,
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
    images = network.inputs.check_points(images)
    targets = network.inputs.check_targets(targets, len(images))
    others = np.asarray(baseline)
    others = network.inputs.check_points(others[np.newaxis] if others.ndim == 3 else others)
    stem, pull_back = _stem(network)
    scales, weights = np.asarray(scales, np.float32), np.asarray(weights, np.float32)
    rays = min(scales) > 0 and len(others) == 1 and _is_even(network, stem(others))
    if rays:
        pool, spread = _pooling(network)
    add = _adding(network, score, stem(others[:1]), pooled=rays, along=True)
    sums = []
    for rows in network.chunks(len(images)):
        base = stem(others if len(others) == 1 else others[rows])
        d = stem(images[rows]) - base
        start, direction = (pool(base), pool(d)) if rays else (base, d)
        total = tf.zeros_like(direction)
        for block in _blocks(len(scales)):
            given = start, direction, scales[block], weights[block], targets[rows]
            total = add(total, *given)
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
    images = network.inputs.check_points(images)
    targets = network.inputs.check_targets(targets, len(images))
    stem, pull_back = _stem(network)
    zero = stem(np.zeros_like(noise[:1]))
    ones = np.ones(len(noise), np.float32)
    add = _adding(network, score, zero, pooled=False, along=False)
    sums = []
    for rows in network.chunks(len(images)):
        h = stem(images[rows])
        total = tf.zeros_like(h)
        for block in _blocks(len(noise)):
            moved = stem(noise[block]) - zero
            weights = ones[block] / np.float32(len(noise))
            total = add(total, h, moved, ones[block], weights, targets[rows])
        sums.append(pull_back(total).numpy())
    return np.concatenate(sums)


def _adding(network: Network, score: Score, like: tf.Tensor, *, pooled: bool, along: bool) -> Pass:
    """Return the pass that adds `Σ_k w_k ∂T/∂h (b + s_k d_k)` to a total.

    With `along`, `d_k` is the same for all `k`, the direction of a line.
    """
    shape = _pooling(network)[0](like).shape if pooled else like.shape
    h = tf.TensorSpec([None, *shape[1:]])
    return network.passes.get(
        _add_gradients,
        *(score, pooled, along),
        signature=(h, h, h, NUMBERS, NUMBERS, TARGETS),
    )


def _add_gradients(network: Network, score: Score, pooled: bool, along: bool) -> Pass:
    def add(
        total: tf.Tensor,
        base: tf.Tensor,
        directions: tf.Tensor,
        scales: tf.Tensor,
        weights: tf.Tensor,
        target: tf.Tensor,
    ) -> tf.Tensor:
        def next_point(k: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            direction = directions if along else directions[k]
            slope, _ = network.runner.gradient_after_stem(
                base + scales[k] * direction, target, score, weight=weights[k], pooled=pooled
            )
            return k + 1, total + slope

        # A loop inside the pass takes several points, so the overhead of a call is paid once.
        count = tf.size(scales)
        state = (tf.constant(0), total)
        return tf.while_loop(lambda k, _: k < count, next_point, state, parallel_iterations=1)[1]

    return add


def _blocks(count: int) -> Iterator[slice]:
    """The points of a sum, some at a time, so that Ctrl-C is heard in between."""
    return (slice(start, start + _POINTS) for start in range(0, count, _POINTS))


_POINTS = 16


def _stem(network: Network) -> tuple[Pass, Pass]:
    """Return the passes that apply the stem and its transpose."""
    runner = network.runner
    return (
        network.passes.get(_apply_stem, signature=(runner.image_spec,)),
        network.passes.get(_transpose_stem, signature=(runner.h_spec,)),
    )


def _apply_stem(network: Network) -> Pass:
    return network.runner.stem.forward


def _transpose_stem(network: Network) -> Pass:
    return network.runner.stem.transpose


def _pooling(network: Network) -> tuple[Pass, Pass]:
    """Return the passes that apply the pooling after the stem, and its transpose at given `h`."""
    h = network.runner.h_spec
    shape = network.runner.stem.pool_forward(tf.zeros([1, *h.shape[1:]])).shape
    pooled = tf.TensorSpec([None, *shape[1:]], tf.float32)
    return (
        network.passes.get(_apply_pooling, signature=(h,)),
        network.passes.get(_transpose_pooling, signature=(h, pooled)),
    )


def _apply_pooling(network: Network) -> Pass:
    return network.runner.stem.pool_forward


def _transpose_pooling(network: Network) -> Pass:
    pool = network.runner.stem.pool_forward

    def spread(h: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(h)
            pooled = pool(h)
        return tape.gradient(pooled, h, slope)

    return spread


def _is_even(network: Network, h: tf.Tensor) -> bool:
    """Whether a pooling follows the stem, and `h` is one number in each of its windows."""
    pool = network.runner.stem.pool_forward
    return network.runner.stem.pool is not None and bool(tf.reduce_all(pool(h) == -pool(-h)))
