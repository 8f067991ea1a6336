"""Checks of a model file before Keras opens it.

Keras's own `safe_mode` looks for serialised Python functions. These checks are stricter: a file may
hold only what a classifier of images needs. That is three members of plausible size, parts of Keras
that neither run code nor open files, and weights that lie in the file itself, not many more than
its size makes likely.
"""

from mnist_xai.io.vetting.archive import vetted_members
from mnist_xai.io.vetting.model_file import CONFIG, METADATA, WEIGHTS, ModelFileError

__all__ = ["CONFIG", "METADATA", "WEIGHTS", "ModelFileError", "vetted_members"]
