"""The members of a model file, and the error for a bad one."""

from mnist_xai.io.safe_text import OneLineError

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


class ModelFileError(OneLineError):
    """A model file is damaged, of another format, or asks for code to be run."""
