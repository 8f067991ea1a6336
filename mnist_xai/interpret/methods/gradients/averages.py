"""Averages of gradients over many points; work that the points share is done once.

Three identities save work when the first layer is linear, `h = L x + b` (`linear_stem.py`), and
`T` is the rest of the network, `S(x) = T(h)`:

- The transpose is applied once, to the sum: `Σ_k w_k ∂S/∂x_k = Lᵀ Σ_k w_k ∂T/∂h_k`.
- Along a line `x_k = x' + s_k (x - x')` the layer's outputs are `h' + s_k (h - h')`.
- Max-pooling after the layer is also run once if `h'` is constant in each pooling window, as for a
  baseline of one colour: `max_i (h' + s d_i) = h' + s max_i d_i` for `s > 0`.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from mnist_xai.interpret.core.inputs import Array, Score
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.passes import NUMBERS, TARGETS, Pass
from mnist_xai.interpret.core.progress import advance


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
    """Sum gradients along a straight line with weights: `Σ_k w_k ∂S_c/∂x (x' + s_k (x - x'))`.

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
    pooled = min(scales) > 0 and len(others) == 1 and _is_constant_in_windows(network, stem(others))
    if pooled:
        pool, spread = _pooling(network)
    add = _add_pass(network, score, stem(others[:1]), pooled=pooled, along=True)
    sums = []
    for rows in network.chunks(len(images)):
        base = stem(others if len(others) == 1 else others[rows])
        d = stem(images[rows]) - base
        start, direction = (pool(base), pool(d)) if pooled else (base, d)
        total = tf.zeros_like(direction)
        for block, at_once in _blocks(network, len(scales), len(direction)):
            total = add(
                *(total, start, direction, scales[block], weights[block], targets[rows], at_once)
            )
            advance(len(scales[block]) * len(direction))
        sums.append(pull_back(spread(d, total) if pooled else total).numpy())
    return np.concatenate(sums)


def noisy_gradient(
    network: Network,
    images: ArrayLike,
    targets: ArrayLike,
    noise: Array,
    *,
    score: Score = "logit",
) -> Array:
    """Return the mean of the gradients at noisy copies: `1/K Σ_k ∂S_c/∂x (x + ε_k)`.

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
    add = _add_pass(network, score, zero, pooled=False, along=False)
    sums = []
    for rows in network.chunks(len(images)):
        h = stem(images[rows])
        total = tf.zeros_like(h)
        for block, at_once in _blocks(network, len(noise), len(h)):
            moved = stem(noise[block]) - zero
            weights = ones[block] / np.float32(len(noise))
            total = add(total, h, moved, ones[block], weights, targets[rows], at_once)
            advance(len(moved) * len(h))
        sums.append(pull_back(total).numpy())
    return np.concatenate(sums)


def _add_pass(
    network: Network, score: Score, like: tf.Tensor, *, pooled: bool, along: bool
) -> Pass:
    """Return the pass that adds `Σ_k w_k ∂T/∂h (b + s_k d_k)` to a total.

    With `along`, all `d_k` are the direction of one line. With `pooled`, `h` is pooled.
    """
    shape = _pooling(network)[0](like).shape if pooled else like.shape
    h = tf.TensorSpec([None, *shape[1:]])
    return network.passes.get(
        _add_gradients,
        *(score, pooled, along),
        signature=(h, h, h, NUMBERS, NUMBERS, TARGETS, tf.TensorSpec([], tf.int32)),
    )


def _add_gradients(network: Network, score: Score, pooled: bool, along: bool) -> Pass:
    def add(
        total: tf.Tensor,
        base: tf.Tensor,
        directions: tf.Tensor,
        scales: tf.Tensor,
        weights: tf.Tensor,
        target: tf.Tensor,
        at_once: tf.Tensor,
    ) -> tf.Tensor:
        images, shape = tf.size(target), total.shape[1:]
        ends = tf.shape(total)[1:]

        def next_points(k: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            s, w = scales[k : k + at_once], weights[k : k + at_once]
            count = tf.size(s)
            moves = directions if along else directions[k : k + at_once, tf.newaxis]
            points = base + tf.reshape(s, [-1] + [1] * len(total.shape)) * moves
            h = tf.reshape(points, tf.concat([[-1], ends], 0))
            slope, _ = network.runner.gradient_after_stem(
                *(tf.ensure_shape(h, [None, *shape]), tf.tile(target, [count]), score),
                weight=tf.repeat(w, images),
                pooled=pooled,
            )
            slopes = tf.reshape(slope, tf.concat([[count, images], ends], 0))
            return k + at_once, total + tf.reduce_sum(slopes, axis=0)

        # The loop runs inside the pass, so several points cost one call.
        points = tf.size(scales)
        state = (tf.constant(0), total)
        return tf.while_loop(lambda k, _: k < points, next_points, state, parallel_iterations=1)[1]

    return add


def _blocks(network: Network, points: int, images: int) -> Iterator[tuple[slice, int]]:
    """Yield slices of the points for one call of a pass, and how many of them run at once.

    With few images, several points fill the batch. Ctrl-C takes effect between two calls.
    """
    at_once = max(1, network.batch_size // images)
    size = -(-_POINTS // at_once) * at_once
    return ((slice(start, start + size), at_once) for start in range(0, points, size))


_POINTS = 16  # The fewest points in one call of a pass.


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


def _is_constant_in_windows(network: Network, h: tf.Tensor) -> bool:
    """Return whether a pooling follows the stem and `h` is constant in each pooling window."""
    pool = network.runner.stem.pool_forward
    return network.runner.stem.pool is not None and bool(tf.reduce_all(pool(h) == -pool(-h)))
