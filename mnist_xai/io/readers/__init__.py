"""Image files as arrays: IDX, `mnist.npz`, and folders of pictures.

Files are treated as data from strangers. Nothing is unpickled; a length in a header is not
believed before the bytes are there; nothing unpacks to much more than its size; links out of the
folder are refused. Every error message is one line (`SECURITY.md`).
"""

from pathlib import Path

from mnist_xai.io.readers.base import Arrays, DataError
from mnist_xai.io.readers.idx import read_idx, read_idx_folder
from mnist_xai.io.readers.npz import read_npz
from mnist_xai.io.readers.pictures import read_picture, read_picture_folders

__all__ = ["Arrays", "DataError", "read_idx", "read_path", "read_picture"]


def read_path(path: Path) -> Arrays:
    """Read a data set from a folder of IDX files, a folder of pictures, or an `.npz` file.

    Args:
        path: A folder with the four IDX files (plain or gzip); a folder with
            `train/<label>/*.png` and `test/<label>/*.png`; or an `.npz` with `x_train`,
            `y_train`, `x_test` and `y_test`.

    Returns:
        Images, labels and class names.

    Raises:
        DataError: When the path is none of these, or a file in it is damaged. The message
            names the file, what was expected and what came.
    """
    try:
        if path.is_file():
            return read_npz(path)
        if not path.is_dir():
            raise DataError(f"{path}: no such file or folder")
        if (path / "train").is_dir() or (path / "test").is_dir():
            return read_picture_folders(path)
        return read_idx_folder(path)
    except OSError as error:  # No permission, or removed while it was read.
        raise DataError(f"{path}: cannot be read ({error})") from error
