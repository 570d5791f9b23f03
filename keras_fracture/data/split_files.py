"""Split files: which image is in which split, as a csv that other programs can read, check and give back.

The digest of a split is the SHA-256 of that csv, as `text` writes it: `sha256sum splits.csv` says the same.
"""

import gzip
import hashlib
import logging
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from keras_fracture import files, parallel
from keras_fracture.data import catalogue, decoding, locations, scan, splits, tables
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.errors import DataError, one_line

_LOG = logging.getLogger(__name__)
COLUMNS = {
    "filename": "path below the data set's folder, with forward slashes",
    "sha256": "first 32 hex digits of the SHA-256 of the file",
    "pixels_sha256": "first 32 hex digits of the SHA-256 of 'HEIGHTxWIDTH' and its decoded grey levels, one byte each",
    "source": "what copies of one X-ray, or one patient's X-rays, share",
    "patient": "the patient, where known",
    "label": "0 healthy, 1 finding",
    "split": "train, validation or test",
}
_HASHES = ("sha256", "pixels_sha256")
_LARGEST = 2**28  # bytes of a split file's text: more than a million images
_DIGITS = 32  # 128 bits: nobody makes another image with these, and the published files stay small


class SplitFile(NamedTuple):
    """A split file that was read: its path, its table (all columns str), and the SHA-256 of its content."""

    path: Path
    table: pd.DataFrame
    digest: str


def table(name, records, data_dir=None, **reading):
    """The split file of prepared records, as a table.

    Args:
        name: The data set, by name or path.
        records: Split name to `data.Records`, all of one policy.
        data_dir: As in `data.prepare`.
        **reading: How own X-rays are read, see `data.prepare`.

    Returns:
        A `pandas.DataFrame` of `COLUMNS`, sorted by file name.
    """
    layout, root = catalogue.find(name, data_dir, **reading)
    fields = ["filename", "source", "label"]
    parts = []
    for split, one in records.items():
        part = pd.DataFrame(list(one.raw(fields).as_numpy_iterator()), columns=fields)
        for column in fields[:2]:
            part[column] = part[column].str.decode("utf-8")
        hashed = (
            hashes(name, root, part["filename"])
            if root
            else _hashed([record["image"] for record in one.raw(["image"]).as_numpy_iterator()])
        )
        parts.append(pd.concat([part, hashed], axis=1).assign(split=split))
    rows = pd.concat(parts, ignore_index=True).assign(patient="")
    known = layout.read(root) if root else layout.read()
    if "patient_told" in known:
        told = known[known["patient_told"]].set_index("filename")["source"]
        rows["patient"] = rows["filename"].map(told).fillna("")
    return rows[list(COLUMNS)].sort_values("filename", ignore_index=True)


def text(rows):
    """A table of `table` as csv, the same for the same splits wherever it is made."""
    return tables.csv_text(rows)


def digest(content):
    """SHA-256, in hex, of a split file's text."""
    return hashlib.sha256(content.encode()).hexdigest()


def write(path, content):
    """Writes a split file's text, packed where the path ends in .gz, the same bytes each time; returns the path."""
    path = Path(path)
    if path.suffix != ".gz":
        return files.write_text(path, content)
    with files.writing(path) as beside:
        beside.write_bytes(gzip.compress(content.encode(), mtime=0))
    return path


def hashes(name, root, filenames):
    """`sha256` and `pixels_sha256` of files; remembered until a file changes.

    Args:
        name: The data set's, for the progress bar.
        root: Its folder.
        filenames: Paths below it.

    Returns:
        A `pandas.DataFrame`, one row a file.
    """
    paths = [Path(root) / filename for filename in filenames]
    cached = locations.cache_dir() / "scans" / f"hashes-{scan.fingerprint(paths)}.csv"
    if cached.is_file():
        return pd.read_csv(cached, dtype=str)
    hashed = _hashed(paths, f"hash {name}")
    files.write_text(cached, hashed.to_csv(index=False))
    return hashed


def _hashed(contents, title="hash"):
    """Hashes of files by their paths, or of their bytes."""
    done = parallel.HERE.map(_hashes_of_all, contents, batch=16, title=title, unit=" files", threaded=True)
    return pd.DataFrame(list(done), columns=list(_HASHES))


@one_opencv_thread
def _hashes_of_all(contents, _):
    return [_hashes_of(one if isinstance(one, bytes) else one.read_bytes()) for one in contents]


def _hashes_of(data):
    image = decoding.decode(data).image
    pixels = "{}x{}".format(*image.shape).encode() + image.tobytes()
    return tuple(hashlib.sha256(one).hexdigest()[:_DIGITS] for one in (data, pixels))


def read(path):
    """Reads a split file, packed or not.

    Args:
        path: A csv file with the columns `filename` and `split`, and maybe others of `COLUMNS`, which are then checked.

    Returns:
        A `SplitFile`.

    Raises:
        DataError: It cannot be read, or contradicts itself.
    """
    path = Path(path)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes of text")
        rows = tables.from_csv(
            tables.read_csv(content, sep=tables.separator(content), dtype=str, keep_default_na=False)
        )
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} is no split file that can be read. Received: {one_line(error)}") from None
    if missing := [column for column in ("filename", "split") if column not in rows]:
        raise DataError(
            f"{path} must have the columns filename and split. Received: {list(rows)}, no {missing[0]}"
        )
    odd = ~rows["split"].isin(splits.NAMES)
    for column in {"source", "patient"} & set(rows):  # where nothing is known each image is its own
        told = rows[column].str.strip()
        rows[column] = told.mask(told.str.lower().isin(tables.MISSING), "")
    for wrong, words in (
        (rows["filename"].duplicated(), "names an image twice"),
        (~rows["filename"].map(str.isprintable) | (rows["filename"] == ""), "has a row without a file name"),
        (odd, f"must put each image in one of {', '.join(splits.NAMES)}"),
    ):
        if wrong.any() or not len(rows):
            row = int(np.argmax(wrong)) if len(rows) else 0
            shown = f"{dict(rows[['filename', 'split']].iloc[row])!r}" if len(rows) else "no row"
            raise DataError(f"{path} {words}. Received: {shown}, in row {row + 2}")
    return SplitFile(path, rows, hashlib.sha256(content).hexdigest())


def sources(given, usable):
    """The source of each image, where those are one that a split file gives one source or one patient.

    Args:
        given: A `SplitFile`.
        usable: As in `assign`.

    Raises:
        DataError: The file names an image twice, in two spellings.
    """
    rows = _named(given, usable).reindex(usable["filename"]).fillna("")
    for column in ("source", "patient"):
        if column in rows:
            usable = usable.assign(source=splits.joined(usable, rows[column]))
    return usable["source"].to_numpy()


def _named(given, usable):
    """The rows of a split file by the names of the data set, which may spell letters with accents otherwise."""
    known = set(usable["filename"])
    spelt = {tables.composed(name): name for name in known}
    names = given.table["filename"].map(
        lambda name: name if name in known else spelt.get(tables.composed(name), name)
    )
    if (twice := names.duplicated()).any():
        raise DataError(f"{given.path} names an image twice. Received: {names[twice].iloc[0]!r}")
    return given.table.set_index(names)


def assign(given, name, usable, root=None):
    """The split of each image as a split file says, once that fits the data.

    Images that the file does not name, and sources that lie on two sides of it, are warned of.

    Args:
        given: A `SplitFile`.
        name: The data set's.
        usable: Its images: the columns `filename`, `label` and `source` of `catalogue.measured`, and `image`, the
            bytes of the files, where there is no folder.
        root: Its folder, or None.

    Returns:
        Array of "train", "validation", "test" or "" (in none), one a row.

    Raises:
        DataError: The file names images that are not there, or other labels, or its hashes are those of other pixels,
            or a split lacks a class; or it tests on synthetic images.
    """
    rows, path = _named(given, usable), given.path
    name = root.name if name == "own" and root else name
    unknown = rows.index[~rows.index.isin(usable["filename"])]
    if len(unknown):
        raise DataError(
            f"{path} names {len(unknown):,} images that are not among those of {name} that can be used: another copy "
            f"of the data, or another data set. Received: first {unknown[0]!r}"
        )
    inside = usable["filename"].isin(rows.index).to_numpy()
    ours = usable[inside].reset_index(drop=True)
    said = rows.loc[ours["filename"]].reset_index(drop=True)
    if not inside.all():
        _LOG.warning(
            "left out: %d of %d images of %s that %s does not name, the first is %s",
            (~inside).sum(), len(usable), name, path.name, usable["filename"][~inside].iloc[0],
        )  # fmt: skip
    _check_labels(path, ours, said)
    _check_hashes(path, name, ours, said, root)
    _say_leaks(path, ours, said)
    side = np.full(len(usable), "", object)
    side[inside] = said["split"]
    splits.check_synthetic(side, splits.synthetic(usable), path)
    return side.astype(str)


def _check_labels(path, ours, said):
    labels = ours["label"].astype(str)
    told = said["label"].str.strip().replace({"1.0": "1", "0.0": "0"}) if "label" in said else labels
    if (odd := (told != labels).to_numpy()).any():
        row = int(np.argmax(odd))
        raise DataError(
            f"{path} gives {odd.sum():,} images another label than their data set does. "
            f"Received: {said['label'][row]!r} of {ours['filename'][row]!r}, not {labels[row]}"
        )
    for split, members in labels.groupby(said["split"]):
        if members.nunique() < 2:
            raise DataError(
                f"{path} has a split {split} that lacks a class. Received: {len(members)} images, all of label "
                f"{members.iloc[0]}"
            )


def _check_hashes(path, name, ours, said, root):
    told = [column for column in _HASHES if column in said]
    if not told:
        _LOG.warning("%s holds no hashes: whether it was made for these images is not checked", path.name)
        return
    found = hashes(name, root, ours["filename"]) if root else _hashed(ours["image"].tolist())
    column = told[-1]  # pixels, where they are told: a file that was only packed anew holds the same image
    other = (found[column] != said[column].str.lower().str[:_DIGITS]).to_numpy()
    if other.any():
        row = int(np.argmax(other))
        raise DataError(
            f"{path} was made from another copy of {name}: {other.sum():,} of {len(ours):,} images differ. To split "
            f"this copy by file names alone, remove the file's columns {' and '.join(told)}. "
            f"Received: {column} {found[column][row]} of {ours['filename'][row]!r}, not {said[column][row]!r}"
        )


def _say_leaks(path, ours, said):
    for kind, sources in (("sources", ours["source"]), ("patients", said.get("patient"))):
        known = sources is not None and (sources != "")
        if known is False or not known.any():
            continue
        sides = said["split"][known].groupby(sources[known]).nunique()
        both = sides.index[sides > 1]
        if len(both):
            _LOG.warning(
                "leak: %d of %d %s (%d images) lie on two sides of %s, the first is %r",
                len(both), len(sides), kind, sources.isin(both).sum(), path.name, both[0],
            )  # fmt: skip
