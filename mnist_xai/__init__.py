"""Train the MNIST case study, and show with mathematics why the network decides as it does.

import mnist_xai as mx

result = mx.train(save_to="saved_models/mine.keras")
model = mx.load_model("saved_models/mine.keras")
maps = mx.gradient_map(model, images)

The public names are listed in `__init__.pyi`. Each module is imported when one of its names is
first used, so that `mnist-xai --help` does not wait for TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
