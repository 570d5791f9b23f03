"""A data set as one table: what its publisher says, what its pixels say, and what follows for training."""

import importlib
import pkgutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from keras_fracture.data import datasets, locations, sources
from keras_fracture.data.scan import scan, scan_bytes
from keras_fracture.data.unread import unread
from keras_fracture.errors import DataError

EMBEDDED = "phantom"
NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(datasets.__path__) if module.ispkg))
REAL = tuple(name for name in NAMES if name != EMBEDDED)
BOTH_LABELS = "equal images with both labels"


class Catalogue(NamedTuple):
    """A data set as one table.

    Attributes:
        table: The columns of `tables.COLUMNS` and of `scan.measure`, and `named_source`: `source` as the
            publisher's names and tables have it. `source` itself is joined wherever two images are equal or
            nearly so, and `conflict` also tells where equal pixels carry both labels.
        near_pairs: Array (pairs, 3): rows of two images that are equal or nearly so, and their distance.
        root: The data set's folder; None for the embedded set.
        unread: What lies in that folder and is not read, see `unread.unread`.
    """

    table: pd.DataFrame
    near_pairs: np.ndarray
    root: Path | None
    unread: list


def layout(name):
    """The layout module of a data set: how it is read, its split policies and shares.

    Raises:
        DataError: No such data set.
    """
    if name not in NAMES:
        raise DataError(f"No such data set. Choose one of {', '.join(NAMES)}. Received: {name!r}")
    return importlib.import_module(f"keras_fracture.data.datasets.{name}.layout")


def catalogue(name, data_dir=None, root=None, progress=True):
    """Reads, scans and groups a data set.

    Args:
        name: One of `NAMES`. The embedded set is drawn, and scanned as PNG files of its images.
        data_dir: Where to look, see `locations.data_dir`.
        root: The data set's own folder, instead of looking for it.
        progress: Whether to show a progress bar.

    Returns:
        A `Catalogue`.
    """
    module = layout(name)
    if name in REAL:
        root = root or locations.find(module, data_dir)
        table = module.read(root)
        measured = scan(name, [root / filename for filename in table["filename"]], progress)
    else:
        table = module.read()
        measured = scan_bytes(name, table["image"].tolist(), progress)
    left = unread(root, module, table["filename"]) if name in REAL else []
    table = pd.concat([table, measured], axis=1)
    # Drawn limbs of one kind look alike; who is who is known there.
    pairs = _near_pairs(table) if name in REAL else np.zeros((0, 3), int)
    table["named_source"] = table["source"]
    table["source"] = sources.join(table["named_source"], pairs)
    labels = table[table["digest"] != ""].groupby("digest")["label"].nunique()
    both = table["digest"].isin(labels.index[labels > 1])
    table["conflict"] = [
        "; ".join(filter(None, (stated, BOTH_LABELS if twice else "")))
        for stated, twice in zip(table["conflict"], both, strict=True)
    ]
    return Catalogue(table, pairs, root, left)


def _near_pairs(table):
    """`sources.near_pairs` of a scanned table; flat images, which all hash alike, are near where they are equal."""
    flat = table["deviation"] < 2
    pairs = sources.near_pairs(table["hash"].mask(flat, "").tolist())
    rows = pd.Series(np.arange(len(table)))[flat.to_numpy()]
    first = rows.groupby(table["digest"].to_numpy()[rows]).transform("min")
    equal = np.column_stack([first, rows, np.zeros_like(rows)])
    return np.concatenate([pairs, equal[first != rows]])


def usable(table, keep_conflicts=False):
    """Rows to train and test on: readable, and without contradiction unless `keep_conflicts`."""
    rows = table["error"] == ""
    if not keep_conflicts:
        rows &= table["conflict"] == ""
    return table[rows]
