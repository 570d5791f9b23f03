"""A data set as one table: what its publisher says, what its pixels say, and what follows for training."""

import importlib
import pkgutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from keras_fracture import parallel
from keras_fracture.data import datasets, locations, own, sources
from keras_fracture.data.own.layout import synthetic as counted_synthetic
from keras_fracture.data.scan import scan, scan_bytes
from keras_fracture.data.unread import unread
from keras_fracture.errors import DataError, meant

EMBEDDED = "phantom"
NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(datasets.__path__) if module.ispkg))
REAL = tuple(name for name in NAMES if name != EMBEDDED)
BOTH_LABELS = "equal images with both labels"


class Catalogue(NamedTuple):
    """A data set as one table.

    Attributes:
        table: The columns of `tables.COLUMNS` and of `scan.measure`, and `named_source`: `source` as the
            publisher's names and tables have it. `source` itself is joined wherever two images are equal or
            nearly so (equal alone, where both patients are told), and `conflict` also tells where equal pixels
            carry both labels.
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
        raise DataError(
            f"No such data set. Choose one of {', '.join(NAMES)}. {meant(name, NAMES)}Received: {name!r}"
        )
    return importlib.import_module(f"keras_fracture.data.datasets.{name}.layout")


def find(name, data_dir=None, **reading):
    """What a data set is, by name or path.

    Args:
        name: One of `NAMES`, a name that `data add` remembered, or the path of a folder or table of own X-rays.
        data_dir: Where published data lie, see `locations.data_dir`.
        **reading: How own X-rays are read: `finding`, `columns`, `patient`, see `own.layout.read`.

    Returns:
        Its layout (a module, or an `own.layout.Layout`), and its folder, None for the embedded set.

    Raises:
        DataError: No such data set; or it is not laid out as it should be.
    """
    if name in NAMES:
        if given := {option: value for option, value in reading.items() if value is not None}:
            raise DataError(f"{name} is read as published: leave out {', '.join(given)}. Received: {given}")
        module = layout(name)
        return module, locations.find(module, data_dir) if name in REAL else None
    if (found := own.find(name, **reading)) is None:
        known = (*NAMES, *own.remembered.read())
        raise DataError(
            f"No such data set. Choose one of {', '.join(known)}, or name the path of a folder or table. "
            f"{meant(name, known)}Received: {name!r}"
        )
    return found, found.root


def synthetic(name, **reading):
    """Names of the files of own X-rays that are synthetic, an array; published data sets have none.

    Args:
        name: As in `find`, and so is the next.
        **reading: How own X-rays are read.
    """
    if name in NAMES:
        return np.array([], str)
    table = find(name, **reading)[0].table
    return table["filename"][table["synthetic"]].to_numpy().astype(str)


def synthetic_among(name, filenames, **reading):
    """How many of some images are synthetic, as one line; "" where none is. `filenames` are theirs, each a row."""
    made = pd.Series(filenames).isin(synthetic(name, **reading))
    return counted_synthetic(made.to_frame("synthetic"))


def title(name):
    """What a data set is called in results, however its path was written: its name, or that of its folder.

    An own folder that has the name of a published set is called `own_NAME`: a model that has learnt from one of the
    two has not seen the other.

    Raises:
        DataError: What is remembered of own X-rays cannot be read.
    """
    if name in NAMES:
        return name
    own_path = path(name)
    folder = own_path.parent.name if own_path.is_file() else own_path.name
    return f"own_{folder}" if folder in NAMES else folder


def path(name):
    """Where own X-rays lie: the absolute path that a remembered name, or a path, stands for.

    Raises:
        DataError: What is remembered of own X-rays cannot be read.
    """
    return Path(own.remembered.read().get(name, {"path": name})["path"]).expanduser().resolve()


def catalogue(name, data_dir=None, root=None, progress=True, workers=parallel.HERE, **reading):
    """Reads, scans and groups a data set.

    Args:
        name: As in `find`. The embedded set is drawn, and scanned as PNG files of its images.
        data_dir: As in `find`.
        root: The data set's own folder, instead of looking for it.
        progress: Whether to show a progress bar.
        workers: `parallel.Workers` that read and compare files; the embedded set is drawn and read in this process.
        **reading: As in `find`.

    Returns:
        A `Catalogue`.
    """
    module, root = (layout(name), root) if root else find(name, data_dir, **reading)
    return measured(name if name in NAMES else "own", module, root, progress, workers)


def measured(name, module, root, progress=True, workers=parallel.HERE):
    """`catalogue` of a layout and its folder, None for the embedded set."""
    if root:
        table = module.read(root)
        scanned = scan(name, [root / filename for filename in table["filename"]], progress, workers)
    else:
        table = module.read()
        scanned = scan_bytes(name, table["image"].tolist(), progress)
    left = unread(root, module, table["filename"]) if root else []
    table = pd.concat([table, scanned], axis=1)
    # Drawn limbs of one kind look alike; who is who is known there.
    pairs = _near_pairs(table, progress, workers) if root else np.zeros((0, 3), int)
    equal = table["digest"].to_numpy()
    table["named_source"] = table["source"]
    # Where patients are told, two of them may look alike; that equal images are two patients is no news to believe.
    told = table["patient_told"].to_numpy() if "patient_told" in table else np.zeros(len(table), bool)
    alike = told[pairs[:, 0]] & told[pairs[:, 1]] & (equal[pairs[:, 0]] != equal[pairs[:, 1]])
    table["source"] = sources.join(table["named_source"], pairs[~alike])
    labels = table[table["digest"] != ""].groupby("digest")["label"].nunique()
    both = table["digest"].isin(labels.index[labels > 1])
    table["conflict"] = [
        "; ".join(filter(None, (stated, BOTH_LABELS if twice else "")))
        for stated, twice in zip(table["conflict"], both, strict=True)
    ]
    return Catalogue(table, pairs, root, left)


def joined(table):
    """What makes named sources one, in words: the images of a `Catalogue.table` that are joined."""
    told = table["patient_told"] if "patient_told" in table else pd.Series(False, table.index)
    if told.all():
        return "equal images"
    return "equal and nearly equal images" + ", these unless both patients are told," * bool(told.any())


def near_across(contents, side):
    """How many test images are nearly equal to training images of other sources, as one line; "" where none is.

    Args:
        contents: A `Catalogue`.
        side: The split of each of some of its images, a `pandas.Series` with their index in its table.
    """
    sides, source = side.reindex(contents.table.index), contents.table["source"].to_numpy()
    one, other = np.concatenate([contents.near_pairs[:, :2], contents.near_pairs[:, 1::-1]]).T
    tested = (sides.iloc[one] == "test").to_numpy() & (sides.iloc[other] == "train").to_numpy()
    if not (count := len(np.unique(one[tested & (source[one] != source[other])]))):
        return ""
    return (
        f"{count:,} of {(side == 'test').sum():,} test images are nearly equal to training images of other patients: "
        "if these are the same X-rays, give them one patient"
    )


def _near_pairs(table, progress, workers):
    """`sources.near_pairs` of a scanned table; flat images, which all hash alike, are near where they are equal."""
    flat = table["deviation"] < 2
    pairs = sources.near_pairs(table["hash"].mask(flat, "").tolist(), workers=workers, progress=progress)
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
