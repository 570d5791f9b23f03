"""The table every data set is read into: one row an image, before any pixel is looked at."""

import contextlib
import functools
import io
import logging
import re
import unicodedata
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from keras_fracture import files
from keras_fracture.errors import DataError, one_line

_LOG = logging.getLogger(__name__)
COLUMNS = {
    "filename": "path below the data set's folder, with forward slashes",
    "label": "0 healthy, 1 finding",
    "source": "the original X-ray (or patient) this is an image of, as far as names and tables tell",
    "body_part": "anatomical region, 'unknown' where the set does not say",
    "view": "frontal, lateral, oblique, mixed or unknown",
    "finding": "what is found: none, fracture, or the lesion type",
    "boxes": "array (n, 4), ymin xmin ymax xmax as fractions of the image, maybe empty",
    "published_split": "the split the publishers put it in, '' where there is none",
    "conflict": "why the label contradicts itself, '' where it does not",
}
_LARGEST = 100 * 2**20  # bytes of an xlsx file, unpacked
# What programs and people write for a patient who is not known.
MISSING = ("nan", "none", "null", "na", "n/a", "<na>", "nat", "unknown", "?", "-")
PATHS = ("file", "filename", "same_as")  # columns of csv files that hold paths
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_CELLS = 20_000_000  # of a table; rows that are short, or not there, are filled up
_PLACE = re.compile("([A-Z]{1,3})?([0-9]{1,7})")  # of a cell or row of a sheet: B7
SUFFIXES = (".jpg", ".jpeg", ".png")  # of the files that are read as images


def images(folder, maybe_none=False):
    """Sorted image files directly in `folder`.

    Args:
        folder: The folder.
        maybe_none: Whether it may hold none.

    Raises:
        DataError: No such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"Expected a folder {folder}: the layout must be the published one")
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not files.is_hidden_copy(path)
    )
    if not paths and not maybe_none:
        raise DataError(f"No images (.jpg, .jpeg, .png) in {folder}: a class without images is no class")
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is not a file, or a link to none: remove it, or fetch the image again")
        if not path.name.isprintable():  # control characters, and bytes that are no UTF-8
            raise DataError(
                f"{folder} holds a file whose name cannot be printed: rename it. Received: {path.name!a}"
            )
    return paths


def listing(path, numbers, flag, name="image_id", blank=False):
    """A publisher's table of images, from csv or xlsx.

    Args:
        path: The file.
        numbers: Columns that hold numbers or nothing.
        flag: Column of them that is 0 or 1 in every row.
        name: Column that names the image.
        blank: Whether `flag` may be blank, which is 0.

    Returns:
        A `pandas.DataFrame`; `name` holds a file name in every row, each once.

    Raises:
        DataError: It is not there, no such table, or a row contradicts that.
    """
    with _as_published(path):
        table = read_excel(path) if path.suffix == ".xlsx" else _read_parted(path)
        table[list(numbers)] = table[list(numbers)].apply(pd.to_numeric)
        table[flag] = table[flag].fillna(0) if blank else table[flag]
        names, marks = table[name], table[flag]
    named = names.map(lambda name: isinstance(name, str) and name != "")
    for odd, words in (
        (~named, f"a row without a file name in {name}"),
        (names.duplicated(), "an image in two rows"),
        (~marks.isin((0, 1)), f"a row whose {flag} is neither 0 nor 1"),
    ):
        if odd.any():
            row = int(np.argmax(odd))
            raise DataError(
                f"{path} has {words}: mend it. Received: {names.iloc[row]!r} with {flag} {marks.iloc[row]} "
                f"in row {row + 2}"
            )
    return table


def headless(path, columns):
    """A publisher's csv file without a header, as text.

    Args:
        path: The file.
        columns: What its columns are called here.

    Returns:
        A `pandas.DataFrame` of str.

    Raises:
        DataError: It is not there, or no such table.
    """
    with _as_published(path):
        table = _read_parted(path, header=None, dtype=str, keep_default_na=False)
        return table.set_axis(columns, axis=1)


@contextlib.contextmanager
def _as_published(path):
    """Whatever reading a table runs into, as a `DataError`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"Expected a file {path}: the layout must be the published one") from None
    except ImportError:
        raise DataError(f"Reading {path} takes openpyxl: pip install openpyxl") from None
    except Exception as error:  # whatever the parsers of a damaged file run into
        raise DataError(
            f"{path} is not the published table ({one_line(error)}): fetch it again, or rename its columns"
        ) from None


def refuse_missing(missing, folder):
    """Raises `DataError` if any images are missing of those that a publisher's table lists; `folder` lacks them."""
    if missing:
        raise DataError(
            f"{len(missing)} listed images are not in {folder}, the first is {min(missing)}: fetch them"
        )


def read_csv(path, **options):
    """`pandas.read_csv` of a file that is not packed, unless it would fill up more cells than any table has.

    Blank rows at its end, as spreadsheets write them, are left out.

    Args:
        path: The file, or its bytes.
        **options: Of pandas.

    Raises:
        ValueError: It would, or its rows have more cells than its header.
    """
    content = path if isinstance(path, bytes) else Path(path).read_bytes()
    columns = len(pd.read_csv(io.BytesIO(content), nrows=0, **options).columns)
    _check_cells(max(content.count(b"\n"), content.count(b"\r")), columns)
    table = pd.read_csv(io.BytesIO(content), **options)
    if not isinstance(table.index, pd.RangeIndex):  # which pandas takes for the names of the rows
        raise ValueError(
            f"rows of more cells than the {columns} of the header, maybe by a comma at their end"
        )
    blank = table.isna() | table.map(lambda one: isinstance(one, str) and not one.strip())
    filled = np.flatnonzero(~blank.to_numpy().all(axis=1))
    return table.iloc[: filled.max(initial=-1) + 1]


def _read_parted(path, **options):
    """`read_csv` of commas, or of semicolons or tabs, as spreadsheets write them where numbers have decimal commas."""
    content = Path(path).read_bytes()
    parts = separator(content)
    return read_csv(content, sep=parts, decimal="." if parts == "," else ",", **options)


def separator(content):
    """What parts the cells of a csv file, told by its first line: a comma, a semicolon or a tab."""
    header = re.split(rb"[\r\n]", content, maxsplit=1)[0]
    return max((b",", b";", b"\t"), key=header.count).decode()


def read_excel(path, **options):
    """`pandas.read_excel` of the first sheet, unless the file takes far more memory than any table.

    Raises:
        ValueError: It would.
    """
    with zipfile.ZipFile(
        path
    ) as archive:  # which says how large it is unpacked; no more than that is read of it
        size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST:
            raise ValueError(f"{size:,} bytes unpacked, where {_LARGEST:,} are plenty")
        for member in archive.namelist():  # a sheet may have any name
            with archive.open(member) as stream, contextlib.suppress(ElementTree.ParseError):
                _check_cells(*_extent(stream))
    return pd.read_excel(path, **options)


def csv_text(table):
    """A table as csv in which no spreadsheet finds a formula.

    Where a text begins as one, a path gets `./` before it, which names the same file, and anything else an apostrophe,
    which spreadsheets do not show. `from_csv` takes both off.
    """
    texts = {
        name: values.map(functools.partial(_no_formula, name in PATHS))
        for name, values in table.items()
        if not pd.api.types.is_numeric_dtype(values)
    }
    table = table.assign(**texts).rename(columns=functools.partial(_no_formula, False))
    return table.to_csv(index=False, lineterminator="\n")


def _no_formula(is_path, text):
    if not isinstance(text, str) or not text.startswith(_FORMULA if is_path else (*_FORMULA, "'")):
        return text
    return f"./{text}" if is_path else f"'{text}"


def from_csv(table):
    """A table of text as it was before `csv_text`."""
    texts = {}
    for name, values in table.items():
        before = "./" if name in PATHS else "'"
        odd = values.map(lambda text, before=before: _is_shielded(text, before)).astype(bool)
        if odd.any():
            texts[name] = values.mask(odd, values.astype(str).str[len(before) :])
    return table.assign(**texts)


def composed(text):
    """A text whose accents are part of their letters: a name with them, which some systems part, in one spelling."""
    return unicodedata.normalize("NFC", text)


def _is_shielded(text, before):
    further = (*_FORMULA, "'") if before == "'" else _FORMULA
    return isinstance(text, str) and text.startswith(before) and text[len(before) :].startswith(further)


def _extent(stream):
    """The rows and columns of a sheet's XML: those that are there, and the furthest that are named."""
    rows = columns = column = 0
    for event, element in ElementTree.iterparse(stream, events=("start", "end")):
        kind = element.tag.rpartition("}")[2]
        if kind not in ("row", "c"):
            continue
        if event == "end":
            element.clear()
            continue
        named = _PLACE.fullmatch(element.get("r", ""))
        if kind == "row":
            rows, column = max(rows + 1, int(named[2]) if named else 0), 0
        else:
            letters = (named and named[1]) or ""
            place = functools.reduce(lambda number, letter: 26 * number + ord(letter) - 64, letters, 0)
            column = max(column + 1, place)
            columns, rows = max(columns, column), max(rows, int(named[2]) if named else 0)
    return rows, columns


def _check_cells(rows, columns):
    if rows * columns > _CELLS:
        raise ValueError(f"{rows:,} rows of {columns:,} columns, where {_CELLS:,} cells are plenty")


def sides(published):
    """The split that comes with each image; where some are given to test on, others are there to train on.

    So `splits.assign` has it: an image without a split is dealt to train or validation.
    """
    return published.where((published != "") | ~published.isin(("val", "test")).any(), "train")


def annotated(path, kind, parse):
    """The boxes of one image's annotation file; no file, no boxes.

    Args:
        path: The file.
        kind: What errors call it.
        parse: Function of the file's bytes that returns boxes as in `normalised`, width and height.

    Returns:
        What `normalised` does.

    Raises:
        DataError: The file is damaged, or a box lies outside the image.
    """
    if not path.exists():
        return np.zeros((0, 4), np.float32)
    return parsed(path, kind, lambda content: normalised(*parse(content)))


def parsed(path, kind, parse):
    """What a function makes of the bytes of an annotation file.

    Args:
        path: The file.
        kind: What errors call it.
        parse: The function.

    Raises:
        DataError: The file is damaged.
    """
    try:
        return parse(path.read_bytes())
    except (
        ArithmeticError, AttributeError, LookupError, OSError, RecursionError, SyntaxError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise DataError(f"{path} is not a {kind} annotation ({one_line(error)}): fetch it again") from None


def say_boxless(table, wanted):
    """Warns in one line if images with a finding have no box; `wanted` names the files that boxes are read from."""
    findings = table[table["label"] == 1]
    missing = findings[findings["boxes"].map(len) == 0]
    if len(missing):
        _LOG.warning(
            "without boxes: %d of %d images with a finding, the first is %s; boxes are read from %s",
            len(missing), len(findings), missing["filename"].iloc[0], wanted,
        )  # fmt: skip


def complete(table):
    """Fills the columns a data set does not have, and sorts by file name."""
    return filled(table).sort_values("filename", ignore_index=True)


def filled(table):
    """Fills the columns a data set does not have."""
    defaults = {"body_part": "unknown", "view": "unknown", "published_split": "", "conflict": ""}
    for column, value in defaults.items():
        if column not in table:
            table[column] = value
    if "boxes" not in table:
        table["boxes"] = [np.zeros((0, 4), np.float32)] * len(table)
    if "source" not in table:
        table["source"] = table["filename"]
    return table


def one_hot_names(frame, columns, several, none="unknown"):
    """Turns one-hot columns into names: the column that is set, `several` if more are, `none` if none is."""
    values = frame[list(columns)].fillna(0).to_numpy() > 0
    names = np.array(list(columns), object)[values.argmax(1)]
    names[values.sum(1) > 1] = several
    names[values.sum(1) == 0] = none
    return names.astype(str)


def folded_name(name):
    """A patient's name as those of other spellings may be meant: without case, punctuation and leading zeros."""
    plain = unicodedata.normalize("NFKC", name).casefold().removesuffix(".0")
    parts = re.findall(r"[^\W\d_]+|\d+", plain)
    return "-".join(part.lstrip("0") or "0" if part[0].isdigit() else part for part in parts) or name


def normalised(boxes, width, height):
    """Pixel boxes (xmin, ymin, xmax, ymax) to fractions (ymin, xmin, ymax, xmax), clipped to the image.

    Raises:
        ValueError: A number is none, or a box lies outside the image or ends before it begins.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]]
    size = np.array([height, width, height, width], np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"boxes {boxes.tolist()} in {width} x {height} pixels")
    backwards = (boxes[:, :2] > boxes[:, 2:]).any(axis=1)
    outside = ((boxes[:, 2:] <= 0) | (boxes[:, :2] >= size[:2])).any(axis=1)
    if (backwards | outside).any():
        box = boxes[backwards | outside][0].tolist()
        raise ValueError(f"box {box} (top, left, bottom, right) in {width} x {height} pixels")
    return np.clip(boxes / size, 0, 1).astype(np.float32)
