"""How a model file is refused, and what it consists of."""

from mnist_xai.io.printable import OneLineError

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


class ModelFileError(OneLineError):
    """A model file is damaged, of another kind, or asks for code to be run."""
