"""Where real data sets are read from, and where prepared records and caches are written."""

import os
from pathlib import Path

import platformdirs

from keras_fracture.errors import DataError


def cache_dir():
    """Folder for prepared records, scans and caches: `KERAS_FRACTURE_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("KERAS_FRACTURE_CACHE") or platformdirs.user_cache_dir("keras_fracture"))


def data_dir(given=None):
    """Folder that holds the real data sets, only read but for `download.download_fracatlas`.

    Args:
        given: A folder named by the caller; wins over `KERAS_FRACTURE_DATA`, which wins over
            `~/.keras_fracture/data`.
    """
    return Path(given or os.environ.get("KERAS_FRACTURE_DATA") or "~/.keras_fracture/data").expanduser()


def find(layout, given=None):
    """Returns the folder of one data set.

    Args:
        layout: The data set's layout module, with `FOLDER` and `HOW_TO_GET`, and maybe `HOLDS`: paths in that folder
            that tell it from those of all other sets.
        given: As in `data_dir`; may also name the data set's own folder.

    Returns:
        That folder; where it holds none but another of its name, as some archives unpack, that one. A folder of
        another name is taken if it is given and holds the set.

    Raises:
        DataError: It is not there; the message says what to fetch and where to put it.
    """
    parent = data_dir(given)
    root = parent if parent.name == layout.FOLDER and parent.is_dir() else parent / layout.FOLDER
    if root != parent and _holds(parent, layout) and not _holds(root, layout):
        return parent
    if not root.is_dir():
        raise DataError(
            f"{layout.FOLDER} is not in {parent}. {layout.HOW_TO_GET} Put it at {root}, or name its parent with "
            "--data-dir or KERAS_FRACTURE_DATA; rename a folder of another name; phantom needs no download"
        )
    inner = root / layout.FOLDER
    return inner if _holds(inner, layout) and not _holds(root, layout) else root


def _holds(folder, layout):
    marks = getattr(layout, "HOLDS", ())
    return bool(marks) and all((folder / mark).exists() for mark in marks)
