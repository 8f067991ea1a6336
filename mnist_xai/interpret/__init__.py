"""Why a trained model decides as it does."""

from mnist_xai.interpret.gradients import gradient_map
from mnist_xai.interpret.layers import attention_map, layer_outputs, learned_attention
from mnist_xai.interpret.network import Network, UnsupportedLayerError

__all__ = [
    "Network",
    "UnsupportedLayerError",
    "attention_map",
    "gradient_map",
    "layer_outputs",
    "learned_attention",
]
