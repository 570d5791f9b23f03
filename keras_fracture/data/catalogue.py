"""A data set as one table: what its publisher says, what its pixels say, and what follows for training."""

import importlib

import numpy as np
import pandas as pd

from keras_fracture.data import locations, sources
from keras_fracture.data.scan import scan
from keras_fracture.errors import DataError

REAL = ("btxrd", "fracatlas", "kaggle_fracture")
NAMES = (*REAL, "phantom")


def layout(name):
    """The layout module of a data set that lies on disk.

    Raises:
        DataError: No such data set.
    """
    if name not in NAMES:
        raise DataError(f"No such data set. Choose one of {', '.join(NAMES)}. Received: {name!r}")
    return importlib.import_module(f"keras_fracture.data.datasets.{name}.layout")


def catalogue(name, data_dir=None, root=None, progress=True):
    """Reads, scans and groups a real data set.

    Args:
        name: One of `REAL`.
        data_dir: Where to look, see `locations.data_dir`.
        root: The data set's own folder, instead of looking for it.
        progress: Whether to show a progress bar.

    Returns:
        The table of `tables.COLUMNS` with the columns of `scan.measure`, and
        `named_source`: `source` as the publisher's names and tables have it;
        `source`: the same, joined wherever two pictures are equal or nearly so;
        `conflict`: also says so where equal pixels carry both labels.
        Its `attrs` hold `near_pairs` (array of first, second, distance) and `root`.
    """
    module = layout(name)
    root = root or locations.find(module, data_dir)
    table = module.read(root)
    measured = scan(name, [root / filename for filename in table["filename"]], progress)
    table = pd.concat([table, measured], axis=1)
    pairs = sources.near_pairs(table["hash"].tolist())
    equal = table["digest"].to_numpy()
    # A flat picture hashes to zeros and would be near every other flat one.
    flat = (table["deviation"] < 2).to_numpy()
    pairs = pairs[~(flat[pairs[:, 0]] & (equal[pairs[:, 0]] != equal[pairs[:, 1]]))]
    table["named_source"] = table["source"]
    table["source"] = sources.join(table["named_source"], pairs)
    labels = table[table["digest"] != ""].groupby("digest")["label"].nunique()
    both = table["digest"].isin(labels.index[labels > 1])
    table["conflict"] = np.where(
        both & (table["conflict"] == ""), "equal pictures with both labels", table["conflict"]
    )
    table.attrs = {"near_pairs": pairs, "root": root}
    return table


def usable(table, keep_conflicts=False):
    """Rows to train and test on: readable, and without contradiction unless `keep_conflicts`."""
    keep = table["error"] == ""
    if not keep_conflicts:
        keep &= table["conflict"] == ""
    return table[keep]
