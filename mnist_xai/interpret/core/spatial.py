"""Find the layer whose output has positions, the default of maps of a layer."""

from mnist_xai.interpret.core.graph import UnsupportedLayerError
from mnist_xai.interpret.core.network import Network


def last_spatial_layer(network: Network) -> str:
    """Return the name of the last layer with outputs `(N, h, w, channels)` of several positions.

    Raises:
        UnsupportedLayerError: If no layer has such outputs.
    """
    shapes = network.layer_shapes.items()
    # Not 1 x 1, the output of a global pooling that keeps its axes: its map would have one value.
    spatial = [name for name, shape in shapes if len(shape) == 3 and shape[0] * shape[1] > 1]
    if not spatial:
        raise UnsupportedLayerError(
            f"{network.model.name}: none of its layers has outputs (N, h, w, channels)"
        )
    return spatial[-1]
