"""Attention layers as the projections, products and softmax that they consist of.

O = softmax(Q Kᵀ / √d) V
"""

import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import layers

from mnist_xai.interpret.core.layer_kinds import Kind, Operation

CallPart = Callable[..., Any]
"""`call_part(name, layer or operation, *inputs)` calls one part of a layer and records it."""


def open_attention(
    call_part: CallPart, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call an attention layer part by part.

    Args:
        call_part: Calls and records each part.
        layer: Any layer.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        The layer's output; None for another layer, or one with options that are not covered.
    """
    name = type(layer).__name__
    if type(layer) in _OPENED or (
        name == "DotProductAttention" and type(layer).__module__.startswith("keras.src.ops")
    ):
        given = inspect.signature(layer.call).bind(*args, **kwargs).arguments
        opened = _OPENED.get(type(layer), _open_operation)
        return opened(call_part, layer, given)
    return None


def _open_multi_head(call_part: CallPart, layer: Any, given: dict[str, Any]) -> Any:
    """Open a `MultiHeadAttention` over one axis; `B` images, `T` queries, `S` keys, `N` heads."""
    options = layer.get_config()
    masks = ("query_mask", "value_mask", "key_mask")
    if (
        options.get("use_gate")
        or options.get("sliding_window")
        or len(given["query"].shape) != 3
        or any(given.get(mask) is not None for mask in masks)
    ):
        return None
    value = given["value"]
    key = value if given.get("key") is None else given["key"]
    q = call_part("query", layer.query_dense, given["query"])
    k = call_part("key", layer.key_dense, key)
    v = call_part("value", layer.value_dense, value)
    mask = _mask(given.get("attention_mask"), given.get("use_causal_mask"), q, k)
    output, weights = _dot_product(call_part, (q, k, v), layer.key_dim**-0.5, mask)
    output = call_part("output", layer.output_dense, output)
    return (output, weights) if given.get("return_attention_scores") else output


def _open_operation(call_part: CallPart, layer: Any, given: dict[str, Any]) -> Any:
    """Open `ops.dot_product_attention` of tensors `(B, T, N, d)`."""
    q, k, v = (given[name] for name in ("query", "key", "value"))
    options = {name: given.get(name, getattr(layer, name, None)) for name in ("scale", "is_causal")}
    if given.get("bias") is not None:
        return None
    mask = _mask(given.get("mask"), options["is_causal"], q, k)
    scale = options["scale"] or q.shape[-1] ** -0.5
    return _dot_product(call_part, (q, k, v), scale, mask)[0]


def _mask(mask: Any, causal: Any, q: Any, k: Any) -> Any:
    """Return where attention is allowed, in a shape that broadcasts to `(B, N, T, S)`, or None."""
    if mask is not None:
        mask = tf.cast(mask, tf.bool)
        for _ in range(4 - len(mask.shape)):
            mask = tf.expand_dims(mask, -3)
    if causal:
        # As many rows and columns as there are queries and keys.
        below = tf.linalg.band_part(tf.ones((tf.shape(q)[1], tf.shape(k)[1])), -1, 0) > 0
        mask = below if mask is None else tf.logical_and(mask, below)
    return mask


def _dot_product(
    call_part: CallPart, projections: tuple[Any, Any, Any], scale: float, mask: Any
) -> tuple[Any, Any]:
    """Return the mixed values `(B, T, N, d)` and the attention weights `(B, N, T, S)`."""
    q, k, v = projections
    q = call_part("scale", Operation("scale", lambda q: q * scale, "scaling"), q)
    scores = call_part("scores", _einsum("btnd,bsnd->bnts"), q, k)
    weights = call_part("softmax", _softmax(mask), scores)
    return call_part("mix", _einsum("bnts,bsnd->btnd"), weights, v), weights


def _einsum(equation: str) -> Operation:
    return Operation("product", lambda a, b: tf.einsum(equation, a, b), "matrix product")


def _softmax(mask: Any) -> Operation:
    def softmax(z: Any) -> Any:
        return tf.nn.softmax(z if mask is None else tf.where(mask, z, z.dtype.min / 2))

    return Operation("softmax", softmax, "softmax")


def _open_single_head(call_part: CallPart, layer: Any, given: dict[str, Any]) -> Any:
    """Open `Attention` or `AdditiveAttention` of tensors `(B, T, d)`, which has no projections."""
    if given.get("mask") is not None:
        return None
    q, v, *rest = given["inputs"]
    k = rest[0] if rest else v
    additive = isinstance(layer, layers.AdditiveAttention) or layer.score_mode == "concat"
    scores = (_additive_scores if additive else _dot_scores)(call_part, layer, q, k)
    mask = None
    if given.get("use_causal_mask"):
        mask = _mask(None, True, q, k)
    weights = call_part("softmax", _softmax(mask), scores)
    output = call_part("mix", _einsum("bts,bsd->btd"), weights, v)
    return (output, weights) if given.get("return_attention_scores") else output


def _dot_scores(call_part: CallPart, layer: Any, q: Any, k: Any) -> Any:
    scores = call_part("scores", _einsum("btd,bsd->bts"), q, k)
    if layer.scale is None:
        return scores
    return call_part("scale", _with_weight("scale", tf.multiply, layer.scale), scores)


def _additive_scores(call_part: CallPart, layer: Any, q: Any, k: Any) -> Any:
    pairs = Operation("sum", lambda q, k: q[:, :, tf.newaxis] + k[:, tf.newaxis], "sum")
    z = call_part("pairs", pairs, q, k)
    outer = layer.scale
    if not isinstance(layer, layers.AdditiveAttention):  # `Attention` scales inside the tanh.
        outer = layer.concat_score_weight
        if layer.scale is not None:
            z = call_part("scale", _with_weight("scale", tf.multiply, layer.scale), z)
    a = call_part("tanh", Operation("elementwise", tf.tanh, "tanh"), z)
    if outer is None:
        return call_part("scores", Operation("sum", lambda a: tf.reduce_sum(a, -1), "sum"), a)

    def weighted(a: Any, w: Any) -> Any:
        return tf.reduce_sum(a * w, -1)

    return call_part("scores", _with_weight("sum", weighted, outer), a)


def _with_weight(kind: Kind, function: Callable[[Any, Any], Any], variable: Any) -> Operation:
    """Return an operation with a weight that is read when the operation is called."""
    return Operation(
        kind,
        lambda x: function(x, tf.cast(tf.convert_to_tensor(variable), x.dtype)),
        "scaling" if kind == "scale" else "sum",
    )


_OPENED: dict[Any, Callable[[CallPart, Any, dict[str, Any]], Any]] = {
    layers.MultiHeadAttention: _open_multi_head,
    layers.Attention: _open_single_head,
    layers.AdditiveAttention: _open_single_head,
}
