"""Image files as arrays: IDX, `mnist.npz`, and folders of pictures.

Files are treated as data from strangers. Nothing is unpickled; a length in a header is not
believed before the bytes are there; nothing unpacks to much more than its size; links out of the
folder are refused. Every error message is one line (`SECURITY.md`).
"""

from pathlib import Path

from mnist_xai.io.readers.base import Arrays, DataError
from mnist_xai.io.readers.fitting import Fitting, ImageShape
from mnist_xai.io.readers.idx import read_idx, read_idx_folder
from mnist_xai.io.readers.npz import read_npz
from mnist_xai.io.readers.picture_folders import is_picture_folder, read_picture_folders
from mnist_xai.io.readers.pictures import read_picture

__all__ = ["Arrays", "DataError", "Fitting", "ImageShape", "read_idx", "read_path", "read_picture"]


def read_path(path: Path, image_shape: ImageShape | None = None) -> Arrays:
    """Read a data set from a folder of IDX files, a folder of pictures, or an `.npz` file.

    Args:
        path: A folder with the four IDX files (plain or gzip); a folder with
            `train/<label>/*.png` and `test/<label>/*.png`, or with `<label>/*.png`, which are all
            test images; or an `.npz` with `x_train`, `y_train`, `x_test` and `y_test`.
        image_shape: Height, width and channels that pictures in folders are brought to.

    Returns:
        Images, labels, class names, and notes on what was changed.

    Raises:
        DataError: When the path is none of these, or a file in it is damaged. The message
            names the file, what was expected and what came.
    """
    try:
        if path.is_file():
            return read_npz(path)
        if not path.is_dir():
            raise DataError(f"{path}: no such file or folder")
        if is_picture_folder(path):
            return read_picture_folders(path, image_shape)
        return read_idx_folder(path)
    except OSError as error:  # No permission, or removed while it was read.
        raise DataError(f"{path}: cannot be read ({error})") from error
