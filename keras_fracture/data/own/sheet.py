"""A table of images, csv or xlsx: which column is what, and one row an image."""

import re

import numpy as np
import pandas as pd

from keras_fracture.data import decoding, tables
from keras_fracture.data.own.folders import SPLITS
from keras_fracture.errors import DataError, ImageError, one_line

SUFFIXES = (".csv", ".xlsx")
NAMES = ("labels", "metadata")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SIDES = ("x", "y", "width", "height")
_TRUTHS = dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True)
_TRUTHS |= dict.fromkeys(("false", "f", "no", "n", "0", "0.0", "", *tables.MISSING), False)
_ROUNDED = 1.05  # what a corner in fractions of an image may come to
# What columns are usually called, the first name that is there counts.
ROLES = {
    "image": ("image", "filename", "file_name", "file", "path", "filepath", "file_path", "image_path", "image_name",
              "image_id", "img"),
    "label": ("label", "labels", "class", "diagnosis", "dx", "target", "finding", "fractured", "fracture", "abnormal",
              "tumor", "tumour"),
    "patient": ("patient", "patient_id", "patientid", "pid", "subject", "subject_id"),
    "study": ("study", "study_id", "studyid", "exam", "exam_id"),
    "body_part": ("body_part", "bodypart", "body_part_examined", "bodypartexamined", "region", "anatomy"),
    "view": ("view", "projection", "view_position", "viewposition"),
    "center": ("center", "centre", "hospital", "site", "institution", "department", "ward"),
    "split": ("split", "set", "subset", "partition", "dataset_split", "official_split"),
    "synthetic": ("synthetic", "is_synthetic"),
    "xmin": ("xmin", "x_min", "x1", "left"),
    "ymin": ("ymin", "y_min", "y1", "top"),
    "xmax": ("xmax", "x_max", "x2", "right"),
    "ymax": ("ymax", "y_max", "y2", "bottom"),
    "x": ("x", "bbox_x"),
    "y": ("y", "bbox_y"),
    "width": ("width", "w", "bbox_width"),
    "height": ("height", "h", "bbox_height"),
}  # fmt: skip


def find(folder):
    """The table directly in a folder, a path below it: labels or metadata as csv or xlsx, else its only xlsx file.

    Returns:
        The file's name, or None.

    Raises:
        DataError: There are several.
    """
    top = [name for name in folder.others if "/" not in name and name.lower().endswith(SUFFIXES)]
    known = [name for name in top if name.lower().rpartition(".")[0] in NAMES]
    found = known or [name for name in top if name.lower().endswith(".xlsx")]
    if len(found) > 1:
        raise DataError(
            f"{folder.root} has several tables: name the one that counts instead of the folder. "
            f"Received: {', '.join(found)}"
        )
    return found[0] if found else None


def read(path, columns=None):
    """A table as text.

    Args:
        path: A csv file (UTF-8; commas, semicolons or tabs) or the first sheet of an xlsx file.
        columns: Columns by role, as "image=path,label=dx,patient=pid"; those of `ROLES` not named are found by name.

    Returns:
        A `pandas.DataFrame` of str with the columns of `ROLES` that are there, and the dict of role to column.

    Raises:
        DataError: It cannot be read, or a column is missing.
    """
    try:
        frame = _text(path)
    except ImportError:
        raise DataError(f"Reading {path} takes openpyxl: pip install openpyxl") from None
    except Exception as error:  # whatever the parsers of a damaged file run into
        raise DataError(
            f"{path} is not a table that can be read: save it as csv in UTF-8, its first line with a name for each "
            f"column. Received: {one_line(error)}"
        ) from None
    chosen = _by_name(frame.columns) | _told(columns, frame.columns, path)
    twice = frame.columns[frame.columns.duplicated()]
    if used := [name for name in twice if name in chosen.values()]:
        raise DataError(f"{path} has two columns of one name: rename one. Received: {used[0]!r}")
    if "image" not in chosen:
        raise DataError(
            f"{path} has no column that names images: tell it by --columns image=NAME. "
            f"Received: {', '.join(frame.columns)}"
        )
    texts = {role: frame[column].str.strip() for role, column in chosen.items()}
    for role in {"label", "body_part", "view", "centre"} & set(
        texts
    ):  # names, which may be spelt in several ways
        texts[role] = texts[role].map(lambda text: " ".join(tables.composed(text).split()))
    return pd.DataFrame(texts), chosen


def _text(path):
    """Its rows below the header, as text; pandas would rename the second of two columns of one name."""
    options = {"dtype": str, "keep_default_na": False, "header": None}
    if path.suffix.lower() == ".xlsx":
        rows = tables.read_excel(path, **options).fillna("")
    else:
        content = path.read_bytes()
        rows = tables.read_csv(content, sep=tables.separator(content), encoding="utf-8-sig", **options)
    if not len(rows):
        raise ValueError("no rows")
    # What pandas calls a column without a name.
    names = [str(name).strip() or f"Unnamed: {number}" for number, name in enumerate(rows.iloc[0])]
    return rows.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)


def _by_name(columns):
    plain = {}
    for column in columns:
        plain.setdefault(re.sub(r"[\W_]+", "_", column.lower()).strip("_"), column)
    chosen = {
        role: next(plain[name] for name in names if name in plain)
        for role, names in ROLES.items()
        if any(name in plain for name in names)
    }
    # Columns width and height are mostly those of the image: a box has all four of one kind.
    kinds = [kind for kind in (_CORNERS, _SIDES) if set(kind) <= set(chosen)]
    boxes = kinds[0] if kinds else ()
    return {
        role: column for role, column in chosen.items() if role in boxes or role not in (*_CORNERS, *_SIDES)
    }


def _told(columns, known, path):
    told = {}
    for pair in filter(None, (columns or "").split(",")):
        role, mark, column = (part.strip() for part in pair.partition("="))
        if role not in ROLES or not mark or role in told:
            raise DataError(
                f"--columns is ROLE=COLUMN, with commas between, and a role of {', '.join(ROLES)}, each once. "
                f"Received: {pair!r}"
            )
        if column not in known:
            raise DataError(f"{path} has no column {column!r}. Received: {', '.join(known)}")
        told[role] = column
    return told


def by_image(sheet, folder, path):
    """One row an image.

    Args:
        sheet: Of `read`.
        folder: `folders.Folder`.
        path: The table, a path below the folder.

    Returns:
        A `pandas.DataFrame` of the columns of `sheet` but those of boxes, with the image's path as index, `split` as
        "train", "val", "test" or "", `synthetic` as bool, and `boxes` where there are any.

    Raises:
        DataError: A blank name, an image that is not there, rows that are equal or contradict each other.
    """
    where = folder.root / path
    if (blank := sheet["image"] == "").any():
        raise DataError(
            f"{where} names no image in a row: mend it. Received: row {int(np.argmax(blank)) + 2}"
        )
    known = {name: folder.find(name, where) for name in sheet["image"].unique()}
    if missing := [name for name, found in known.items() if found is None]:
        raise DataError(
            f"{len(missing)} images that {where} names are not in {folder.root}: fetch them, or remove their rows. "
            f"Received: first {missing[0]!r}"
        )
    sheet = sheet.assign(image=sheet["image"].map(known))
    if "split" in sheet:
        sheet["split"] = _splits(sheet["split"], where)
    if "synthetic" in sheet:
        sheet["synthetic"] = _truths(sheet["synthetic"], where)
    boxed = next((kind for kind in (_CORNERS, _SIDES) if set(kind) <= set(sheet)), ())
    _check_once(sheet, boxed, where)
    table = sheet.drop_duplicates("image").set_index("image").drop(columns=list(boxed))
    if boxed:
        found = _boxes(sheet, boxed, folder, where)
        table["boxes"] = [found.get(name, np.zeros((0, 4), np.float32)) for name in table.index]
    return table


def _splits(values, where):
    split = values.str.lower().map(SPLITS | {"": ""})
    if (odd := split.isna()).any():
        raise DataError(
            f"{where} has a split that is neither train, val nor test. Received: {values[odd].iloc[0]!r}"
        )
    return split


def _truths(values, where):
    truths = values.str.lower().map(_TRUTHS)
    if (odd := truths.isna()).any():
        raise DataError(
            f"{where} must say true or false of whether an image is synthetic; rename the column if it means something "
            f"else. Received: {values[odd].iloc[0]!r}"
        )
    return truths.astype(bool)


def _check_once(sheet, boxed, where):
    facts = [column for column in sheet if column not in boxed]
    # Rows of one image that agree are told apart by their boxes.
    rows = sheet[facts].drop_duplicates()
    again = rows["image"].duplicated()
    if again.any():
        both = rows[rows["image"] == rows["image"][again].iloc[0]]
        column = next(column for column in facts if both[column].nunique() > 1)
        raise DataError(
            f"{where} contradicts itself in {column}, in {int(again.sum())} rows: mend it. Received: "
            f"{both[column].iloc[0]!r} and {both[column].iloc[1]!r} of {both['image'].iloc[0]!r}"
        )
    again = sheet.duplicated()
    if again.any():
        raise DataError(
            f"{where} has {int(again.sum())} rows twice: remove them. Received: row {int(np.argmax(again)) + 2}, of "
            f"{sheet['image'][again].iloc[0]!r}"
        )


def _boxes(sheet, boxed, folder, where):
    """Boxes by image, as fractions; what no box of pixels can be, in the whole table, are fractions already."""
    rows = sheet[(sheet[list(boxed)] != "").any(axis=1)]
    try:
        numbers = rows[list(boxed)].astype(float).to_numpy()
    except ValueError as error:
        raise DataError(f"{where} has a box that is no four numbers: mend it. Received: {error}") from None
    large = (numbers > _ROUNDED).any(axis=1)  # in pixels
    # Whole numbers up to 1 may be either, or no box.
    parts = ~large & (np.isfinite(numbers) & (numbers % 1 > 0)).any(axis=1)
    fractions = not large.any()
    if parts.any() and not fractions:
        both = (rows[mask].iloc[0] for mask in (parts, large))
        raise DataError(
            f"{where} has boxes in fractions of the image and others in pixels: write all in one way. Received: "
            + " and ".join(f"{', '.join(one[list(boxed)])} of {one['image']!r}" for one in both)
        )
    if boxed == _SIDES:
        numbers = np.hstack([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]])
    found = {}
    for name, places in rows.groupby("image").indices.items():
        try:
            size = (1, 1) if fractions else decoding.size_of((folder.root / name).read_bytes())[::-1]
            found[name] = tables.normalised(numbers[places], *size)
        except (ImageError, OSError, ValueError) as error:
            raise DataError(
                f"{where} has a box that {name!r} cannot have: mend it. Received: {error}"
            ) from None
    return found
