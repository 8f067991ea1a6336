"""Find the layer whose output has positions, the default of maps of a layer."""

from weakref import WeakKeyDictionary

from mnist_xai.interpret.core.graph import UnsupportedLayerError
from mnist_xai.interpret.core.network import Network
from mnist_xai.interpret.core.tokens import (
    has_shape_of_image,
    reached_layers,
    token_grid,
    token_layers,
)


def last_spatial_layer(network: Network) -> str:
    """Return the name of the last layer with outputs `(N, h, w, channels)` of several positions.

    Raises:
        UnsupportedLayerError: If no layer has such outputs.
    """
    spatial = _spatial_layers(network)
    if not spatial:
        raise UnsupportedLayerError(
            f"{network.model.name}: none of its layers has outputs (N, h, w, channels), or tokens "
            "of a known grid of patches; use a method of another family"
        )
    return spatial[-1]


def last_layer_with_positions(network: Network) -> str:
    """Return the name of the last layer with positions, in a grid or as tokens.

    Of a transformer it is the last addition or normalisation of tokens, or layer with outputs
    `(N, h, w, channels)`, that the score depends on through the patches. Behind the last block of a
    transformer with a class token it depends on the class token alone.

    Raises:
        UnsupportedLayerError: If no layer has positions that the score depends on.
    """
    if network not in _FOUND:
        names, spatial = network.layer_names, _spatial_layers(network)
        after = names[names.index(spatial[-1]) + 1 :] if spatial else names
        has_tokens = any(len(network.layer_shapes[name]) == 2 for name in after)
        found = _last_reached(network) if has_tokens else None
        _FOUND[network] = found or last_spatial_layer(network)
    return _FOUND[network]


_FOUND: "WeakKeyDictionary[Network, str]" = WeakKeyDictionary()


def _spatial_layers(network: Network) -> list[str]:
    shapes = network.layer_shapes.items()
    # Not 1 x 1, the output of a global pooling that keeps its axes: its map would have one value.
    return [name for name, shape in shapes if len(shape) == 3 and shape[0] * shape[1] > 1]


def _has_grid(network: Network, name: str) -> bool:
    try:
        return token_grid(network, name) is not None
    except ValueError:  # Also an `UnsupportedLayerError`.
        return False


def _last_reached(network: Network) -> str | None:
    """Return the last layer of a transformer whose patches the score depends on; None for others.

    Raises:
        UnsupportedLayerError: If the score depends on the patches of no layer.
    """
    tokens = [name for name in token_layers(network) if _has_grid(network, name)]
    if not tokens:
        return None
    image = network.inputs.typical_shape
    # Heads and windows of attention also have three axes.
    grids = [
        name
        for name in _spatial_layers(network)
        if has_shape_of_image(network.layer_shapes[name], image)
    ]
    order = network.layer_names
    candidates = sorted({*tokens, *grids}, key=order.index, reverse=True)
    slopes = reached_layers(network, candidates)
    for name in candidates:
        grid = token_grid(network, name)
        if (slopes[name] if grid is None else grid.fold(slopes[name])).any():
            return name
    raise UnsupportedLayerError(
        f"{network.model.name}: the score depends on the patches of none of its layers"
    )
