"""The table every data set is read into: one row a picture, before any pixel is looked at."""

from pathlib import Path

import numpy as np

from keras_fracture.errors import DataError

COLUMNS = {
    "filename": "path below the data set's folder, with forward slashes",
    "label": "0 healthy, 1 finding",
    "source": "the original X-ray (or patient) this is a picture of, as far as names and tables tell",
    "body_part": "anatomical region, 'unknown' where the set does not say",
    "view": "frontal, lateral, oblique, mixed or unknown",
    "finding": "what is found: none, fracture, or the lesion type",
    "boxes": "array (n, 4), ymin xmin ymax xmax as fractions of the picture, maybe empty",
    "published_split": "the split the publishers put it in, '' where there is none",
    "conflict": "why the label contradicts itself, '' where it does not",
}
_SUFFIXES = {".jpg", ".jpeg", ".png"}


def pictures(folder):
    """Sorted picture files directly in `folder`.

    Raises:
        DataError: No such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"Expected a folder {folder}: the layout must be the published one")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise DataError(f"No pictures (.jpg, .jpeg, .png) in {folder}: a class without pictures is no class")
    return found


def complete(table):
    """Fills the columns a data set does not have, and sorts by file name."""
    defaults = {"body_part": "unknown", "view": "unknown", "published_split": "", "conflict": ""}
    for column, value in defaults.items():
        if column not in table:
            table[column] = value
    if "boxes" not in table:
        table["boxes"] = [np.zeros((0, 4), np.float32)] * len(table)
    if "source" not in table:
        table["source"] = table["filename"]
    return table.sort_values("filename", ignore_index=True)


def one_hot_names(frame, columns, several, none="unknown"):
    """Turns one-hot columns into names: the column that is set, `several` if more are, `none` if none is."""
    values = frame[list(columns)].fillna(0).to_numpy() > 0
    names = np.array(list(columns), object)[values.argmax(1)]
    names[values.sum(1) > 1] = several
    names[values.sum(1) == 0] = none
    return names.astype(str)


def normalised(boxes, width, height):
    """Pixel boxes (xmin, ymin, xmax, ymax) to fractions (ymin, xmin, ymax, xmax), clipped to the picture."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
    return np.clip(boxes / np.array([height, width, height, width], np.float32), 0, 1)
