"""Anybody's folder of X-rays as a layout: the same table that the published data sets are read into."""

import dataclasses
import functools
import hashlib
import json
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from keras_fracture.data import decoding, dicom, tables
from keras_fracture.data.own import boxes as annotated
from keras_fracture.data.own import folders, labels, sheet
from keras_fracture.errors import DataError, ImageError, printable

_NO_BOXES = np.zeros((0, 4), np.float32)
_UNTOLD = (
    "No patients are told: equal and nearly equal images count as one source, but two views of one patient may lie on "
    "two sides of a split. --columns patient=NAME or --patient PATTERN tells patients."
)
_BOXED, _BOXLESS = "with a box", "without a box"
_BY_FOLDERS, _BY_BOXES = ", by its folders,", ", by its boxes,"  # behind the folder's path


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """What the layout modules of `data.datasets` say, of a folder that is read as it comes.

    Attributes:
        root: The folder.
        table: In the form of `tables.COLUMNS`, with `center`.
        POLICIES: Split policies: `official` where a column or folders tell splits.
        used: Paths below the folder of what is read beside images.
        left_out: Files that are not used: a dict of path to why.
        key: Hash of all that the table follows from.
        notes: How it was understood, a list of lines.
        told: How sources are known, one sentence; and of synthetic images, where there are some, another.
    """

    root: Path
    table: pd.DataFrame
    POLICIES: tuple
    used: tuple
    left_out: dict
    key: str
    notes: list
    told: str
    SHARES = (0.7, 0.1, 0.2)
    KNOWN = ("body_part", "view", "center")
    READS = ()  # patterns; `used` is exact

    @property
    def FOLDER(self):  # noqa: N802 (as in the layout modules)
        """Name of the folder."""
        return self.root.name

    def read(self, root=None):
        """A copy of the table."""
        return self.table.copy()


@functools.lru_cache(maxsize=4)
def read(path, finding=None, columns=None, patient=None, state=""):
    """Understands a folder of X-rays, or a table of X-rays in its folder.

    Labels are those of the table, else of class folders, else an image with a box has a finding.

    Args:
        path: A folder, or a csv or xlsx file in one; a `Path`, absolute.
        finding: The label that is the finding, where names do not tell; all others count as healthy.
        columns: Columns of the table by role, see `sheet.read`.
        patient: Regular expression, searched in each image's path below the folder: its groups, else all that it
            matches, tell the patient.
        state: Hash of all files below the folder: what was read is kept in memory as long as it is the same.

    Returns:
        A `Layout`.

    Raises:
        DataError: There are no images or no labels of two classes, or what there is contradicts itself.
    """
    root = path.parent if path.is_file() else path
    if path.is_file() and path.suffix.lower() not in sheet.SUFFIXES:
        raise DataError(
            f"A data set is a folder, or a table of {' or '.join(sheet.SUFFIXES)}. Received: {path}"
        )
    folder = folders.Folder(root)
    if not folder.images:
        raise DataError(
            f"No images ({', '.join(folders.SUFFIXES)}) in {root}. Received: {len(folder.others)} other files"
        )
    listed = path.name if path.is_file() else sheet.find(folder)
    if columns and not listed:
        raise DataError(
            f"{root} has no table that --columns could speak of: name its path. Received: {columns!r}"
        )
    table, kind, used, chosen, notes, kinds = _facts(folder, listed, columns, finding)
    unlabelled = labels.without_missing(table)
    left_out = dict.fromkeys(set(folder.images).difference(table.index), f"not in {listed}")
    left_out |= {name: _why_not(name) for name in set(folder.others).difference(used)}
    boxes_alone = annotated.chosen(kinds, finding) and not _is_label(table, finding)
    told = None if boxes_alone else finding
    undecided = _listed(kinds) if len(kinds) > 1 and not annotated.chosen(kinds, finding) else ""
    table["name"], where = _label_names(table, root, listed, told, undecided)
    unlabelled = [] if where.endswith(_BY_BOXES) else unlabelled
    if undecided:
        table["boxes"] = [_NO_BOXES] * len(table)
        notes.append("boxes: none is used, as they are of several kinds and --finding names none of these")
    blank = table["name"] == ""
    why = "in no class folder" if where.endswith(_BY_FOLDERS) else f"without a label in {listed}"
    if where.endswith(_BY_BOXES) and not table["annotated"].all():
        boxed = table["boxes"].map(len) > 0
        if kind == annotated.COCO and (table["annotated"] & ~boxed).any():  # it lists healthy images, too
            blank, why = ~table["annotated"], "not among the images of the COCO files"
        else:
            notes.append(
                f"{(~table['annotated']).sum():,} of {len(table):,} images are in no {kind} file and count as healthy: "
                "leave out those that nobody looked at"
            )
    left_out |= dict.fromkeys(table.index[blank], why)
    table = _tagged(table[~blank].copy(), root)
    if turned := sum(_is_turned(root / name) for name in table.index[table["boxes"].map(len) > 0]):
        notes.append(
            f"{turned:,} images with boxes are stored turned: boxes count in the upright image, as EXIF has it"
        )
    if burnt_in := int(table["burnt_in"].sum()):
        notes.append(f"{burnt_in:,} of {len(table):,} images say that text is burnt in")
    table["synthetic"] = _synthetic(table, root)
    table["label"], label_notes = _labels(table, where, told)
    table["source"], table["patient_told"], told = _sources(table, patient, chosen, root, listed)
    if where.endswith(_BY_FOLDERS):  # by class as Keras's image_dataset_from_directory, not by whole paths
        table = table.sort_values(["folder_split", "folder"], kind="stable")
    table = _finished(table)
    policies = ("grouped", "paper", *["official"] * bool((table["published_split"] != "").any()))
    facts = [state, str(path), finding, columns, patient, *unlabelled]
    if line := synthetic(table):
        told = f"{told} {line[0].upper()}{line[1:]}."
        # Earlier versions dealt them out to all splits, as where there are no others.
        facts += ["synthetic in train"] * (not table["synthetic"].all())
    key = hashlib.sha1(json.dumps(facts).encode()).hexdigest()[:16]
    return Layout(
        root, table, policies, tuple(used), left_out, key, [*notes, *label_notes, *unlabelled], told
    )


def _facts(folder, listed, columns, finding):
    """What folders, the table and annotation files say of each image.

    Returns:
        A table with the image's path as index, which kind of annotation files there is, the files that were read, the
        table's columns by role, notes, and a dict of what boxes are called to how many there are.
    """
    split, classes = folders.splits_and_classes(folder.images)
    table = pd.DataFrame({"folder_split": split, "folder": classes}, index=folder.images)
    kind, used, boxes, kinds = annotated.find(folder, finding)
    chosen, notes = {}, []
    if listed:
        rows, chosen = sheet.read(folder.root / listed, columns)
        rows = sheet.by_image(rows, folder, listed)
        table = table.join(rows, how="inner")
        notes.append(
            f"table: {listed}, " + ", ".join(f"{role} from {name!r}" for role, name in chosen.items())
        )
    if "boxes" in table:
        return table.assign(annotated=True), "", [listed], chosen, notes, {}
    table["annotated"] = table.index.isin(list(boxes))
    table["boxes"] = [boxes.get(name, _NO_BOXES) for name in table.index]
    if kind:
        alone = f"; of {finding!r} alone" if annotated.chosen(kinds, finding) and len(kinds) > 1 else ""
        notes.append(f"boxes: {len(used):,} {kind} files{f', {_listed(kinds)}' if kinds else ''}{alone}")
    return table, kind, [*used, *filter(None, [listed])], chosen, notes, kinds


def _listed(kinds):
    """What boxes are called, and how many there are; the first five."""
    words = [f"{name or 'without a name'} {count:,}" for name, count in kinds.items()]
    return ", ".join(words[:5]) + ", ..." * (len(words) > 5)


def _is_turned(path):
    try:
        return decoding.is_turned(path.read_bytes())
    except (ImageError, OSError, ValueError, SyntaxError):  # reported where it is decoded
        return False


def _why_not(name):
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in sheet.SUFFIXES:
        return "not the table that is read"
    if suffix in (".xml", ".json", ".txt"):
        return "no annotation that is read, or of no image that is there"
    return f"not an image file that is read ({', '.join(folders.SUFFIXES)})"


def _is_label(table, finding):
    """Whether the finding is called as one of the table's or folders' labels, not only as boxes are."""
    names = table["label" if "label" in table else "folder"]
    return labels.folded(finding) in set(map(labels.folded, names))


def _label_names(table, root, listed, finding, kinds):
    """The label of each image as it is called, and what tells it; `kinds` says of what boxes are, if not told."""
    if "label" in table:
        if (table["label"] == "").all():
            raise DataError(
                f"{root / listed} has no labels: the column is blank, or says NA. Received: {len(table)} images"
            )
        return table["label"], f"{root / listed}"
    boxed = table["boxes"].map(len) > 0
    named = table["folder"][table["folder"] != ""]
    try:
        if len(named):
            labels.binary(named, finding, f"{root}{_BY_FOLDERS}")
            return table["folder"], f"{root}{_BY_FOLDERS}"
    except DataError:
        if finding or not boxed.any() or any(map(labels.tells, named)):
            raise
    if not boxed.any():
        raise DataError(
            f"{root} has no labels: two folders named after classes, a column of labels in labels.csv, or boxes tell "
            f"them. Received: {len(table)} images, the first is {table.index[0]!r}"
        )
    if kinds:
        raise DataError(
            f"{root} has boxes of several kinds, and those of the finding tell the labels: name it by --finding. "
            f"Received: {kinds}"
        )
    return pd.Series(np.where(boxed, _BOXED, _BOXLESS), table.index), f"{root}{_BY_BOXES}"


def _tagged(table, root):
    """The table with what DICOM tags say: patients, `burnt_in`, body part and view where nothing else does."""
    said = [
        dicom.facts(root / name) if folders.is_dicom(root / name) else dicom.Facts("", "", "", None)
        for name in table.index
    ]
    tags = pd.DataFrame(said, table.index, dicom.Facts._fields)
    table["tagged_patient"], table["folded_patient"] = tags["patient"], tags["folded_patient"]
    table["burnt_in"] = tags["burnt_in"].map(bool)
    for column in ("body_part", "view"):
        stated = table[column] if column in table else pd.Series("", table.index)
        # One name where both tell: "Hand" of the table is "HAND" of the tag.
        names = {name.lower(): name for name in stated.iloc[::-1] if name}
        tagged = tags[column].map(lambda name, names=names: names.get(name.lower(), name))
        table[column] = stated.where(stated != "", tagged)
    return table


def _synthetic(table, root):
    """Whether each image is synthetic, as a column of the table or its own file says."""
    stated = table["synthetic"] if "synthetic" in table else pd.Series(False, table.index)
    marked = [name.lower().endswith(".png") and _is_marked(root / name) for name in table.index]
    return stated | np.array(marked, bool)


def _is_marked(path):
    try:
        return decoding.is_synthetic(path)
    except OSError:  # reported where it is decoded
        return False


def _labels(table, where, finding):
    """Labels 0 and 1, and a line on each."""
    if where.endswith(_BY_BOXES) and finding is None and table["name"].nunique() == 2:
        known = {_BOXLESS: 0, _BOXED: 1}
    else:
        known = labels.binary(table["name"], finding, where)
    counts = table["name"].value_counts()
    notes = [
        f"{word}: "
        + ", ".join(f"{name!r}, {counts[name]:,} images" for name in known if known[name] == value)
        for value, word in ((1, "finding"), (0, "healthy"))
    ]
    return table["name"].map(known).astype(int), notes


def _sources(table, patient, chosen, root, listed):
    """The source of each image, whether that is its patient, and the sentence on them."""
    if patient is not None:
        column = f" {listed} has a column {chosen.get('patient')!r}: leave --patient out to use it."
        sources = _by_pattern(table.index, patient, instead=column if "patient" in chosen else "")
        sources = pd.Series(sources, table.index)
        words = f"{_patients(sources)}, named by '{printable(patient)}' in the files' paths.{_alike(sources)}"
        return sources, True, words
    for role in ("patient", "tagged_patient", "study"):
        if role in table and (table[role] != "").any():
            by = f"the column {chosen[role]!r}" if role in chosen else "the DICOM tag PatientID, hashed"
            missing = table[role].str.lower().isin(tables.MISSING)  # else all of them were one patient
            known = (table[role] != "") & ~missing
            called = ", ".join(map(repr, table[role][missing].unique()))
            if role == "patient" and (table["tagged_patient"][~known] != "").any():
                raise DataError(
                    f"{root} has patients in the column {chosen[role]!r} of some images and in the DICOM tag PatientID "
                    "of others, which cannot be told to be the same: fill the column, or leave it out. Received: "
                    f"{int((~known).sum()):,} images without one, the first is {table.index[~known][0]!r}"
                )
            alone = f", and {(~known).sum():,} images without one{f' ({called})' if called else ''}, each of its own"
            alone *= bool((~known).any())
            return (
                table[role].where(known, table.index.to_series()),
                known & (role != "study"),
                f"{_patients(table[role][known], role == 'study')}, named by {by}{alone}."
                + _alike(
                    table[role][known], table["folded_patient"][known] if role == "tagged_patient" else None
                ),
            )
    return table.index.to_series(), False, _UNTOLD


def _alike(names, folded=None):
    """A sentence on names that may mean one patient, whose images a grouped split would part; "" where none do."""
    names = names.drop_duplicates()
    folded = names.map(tables.folded_name) if folded is None else folded[names.index]
    again = folded.duplicated(keep=False)
    if not again.any():
        return ""
    count = int(again.sum() - folded[again].nunique())
    said = names[folded == folded[again].iloc[0]].tolist()[:2]
    example = "" if dicom.salts(said) else f", such as {said[0]!r} and {said[1]!r}"
    return (
        f" {len(names):,} names are {len(names) - count:,} where case, blanks, punctuation and leading zeros do not "
        f"count{example}: if these are one patient, write it one way, or a split may part its images."
    )


def _patients(names, studies=False):
    count = names.nunique()
    if studies:
        return f"{count:,} {'study' if count == 1 else 'studies'}, not patients"
    return f"{count:,} patient{'s' * (count != 1)}"


def _by_pattern(names, patient, instead):
    try:
        pattern = re.compile(patient)
    except re.error as error:
        raise DataError(f"--patient is a regular expression ({error}). Received: {patient!r}") from None
    # Of r"patient(\d+)_" the number, of r"p\d+" all of it.
    matches = [pattern.search(name) for name in names]
    told = [("/".join(map(str, match.groups(""))) or match[0]) if match else "" for match in matches]
    missed = [name for name, who in zip(names, told, strict=True) if not who.strip("/")]
    if missed:
        of_all = f"of the {len(names):,} file names"
        fails = f"matches none {of_all}" if len(missed) == len(names) else f"misses {len(missed):,} {of_all}"
        raise DataError(
            f"--patient '{printable(patient)}' {fails}; it must match each.{instead} "
            f"Received: '{printable(missed[0])}'"
        )
    return told


def _finished(table):
    """The columns of `tables.COLUMNS`, and `center`."""
    split = table["folder_split"] if "split" not in table else table["split"]
    healthy_boxed = (table["label"] == 0) & (table["boxes"].map(len) > 0)
    numeric = table["name"].isin(("0", "1", "0.0", "1.0", _BOXED))
    result = pd.DataFrame(
        {
            "filename": table.index,
            "label": table["label"],
            "source": table["source"].astype(str),
            "finding": np.where(table["label"] == 0, "none", table["name"].where(~numeric, "finding")),
            "boxes": table["boxes"],
            "published_split": split,
            "patient_told": table["patient_told"],
            "synthetic": table["synthetic"],
            "conflict": np.where(healthy_boxed, "label healthy, but with a box", ""),
        }
    )
    for column in ("body_part", "view", "center"):
        result[column] = table[column].replace("", "unknown") if column in table else "unknown"
    return tables.filled(result.reset_index(drop=True))


def synthetic(table):
    """How many images are synthetic, as one line; "" where none is."""
    count = int(table["synthetic"].sum())
    if count and count == len(table):
        return f"all {count:,} images are synthetic: what is measured on them says nothing of real X-rays"
    return f"{count:,} of {len(table):,} images are synthetic: these are for training alone" if count else ""


def leaks(table):
    """Sources on two sides of the split that comes with the images, as one line; "" where there are none."""
    known = table.assign(published_split=tables.sides(table["published_split"]))
    known = known[known["published_split"] != ""]
    sides = known.groupby("source")["published_split"].nunique()
    both = sides.index[sides > 1]
    if not len(both):
        return ""
    images = int(known["source"].isin(both).sum())
    listed = ", ".join(map(repr, both[:5])) + ", ..." * (len(both) > 5)
    return (
        f"leak: {len(both):,} of {len(sides):,} sources ({images:,} images) lie on two sides of the split that comes "
        f"with the images: {listed}"
    )
