"""What is asked of a model file before Keras may see it.

Keras's own `safe_mode` looks for serialised Python functions. Here the file has to keep to what
a classifier of images needs: three members of believable size, only parts of Keras that neither
run code nor open files, weights that lie in the file itself, and no more of them than its size
makes likely.
"""

from mnist_xai.io.vetting.archive import vetted_members
from mnist_xai.io.vetting.refusal import CONFIG, METADATA, WEIGHTS, ModelFileError

__all__ = ["CONFIG", "METADATA", "WEIGHTS", "ModelFileError", "vetted_members"]
