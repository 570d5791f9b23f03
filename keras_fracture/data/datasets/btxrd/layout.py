"""Reads the published table, pictures and LabelMe shapes of BTXRD."""

import json

import numpy as np
import pandas as pd

from keras_fracture.data import tables
from keras_fracture.errors import DataError

FOLDER = "BTXRD"
HOW_TO_GET = (
    "Download the BTXRD bone tumour X-rays (Yao et al., Scientific Data 2025) and unpack them, so that the "
    "folder holds dataset.csv (or dataset.xlsx), images/ and Annotations/."
)
POLICIES = ("grouped", "paper", "official")
SHARES = (0.7, 0.1, 0.2)
BONES = ("hand", "ulna", "radius", "humerus", "foot", "tibia", "fibula", "femur", "hip bone")
REGIONS = ("upper limb", "lower limb", "pelvis")
LESIONS = (
    "osteochondroma",
    "multiple osteochondromas",
    "simple bone cyst",
    "giant cell tumor",
    "osteofibroma",
    "synovial osteochondroma",
    "other bt",
    "osteosarcoma",
    "other mt",
)
VIEWS = ("frontal", "lateral", "oblique")


def _boxes(path, width=256, height=256):
    """Boxes around the rectangles of one LabelMe file; no file, no boxes."""
    if not path.is_file():
        return np.zeros((0, 4), np.float32)
    try:
        with path.open(encoding="utf-8") as stream:
            content = json.load(stream)
        width, height = content.get("imageWidth") or width, content.get("imageHeight") or height
        shapes = [
            np.asarray(shape["points"], float)
            for shape in content["shapes"]
            if shape["shape_type"] == "rectangle"
        ]
        boxes = [[*points.min(0), *points.max(0)] for points in shapes]
        return tables.normalised(boxes, width, height)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a LabelMe annotation ({error}): fetch it again") from None


def _listing(root):
    """The table, from csv or, where only that is there, from xlsx."""
    for name, reader in (("dataset.csv", pd.read_csv), ("dataset.xlsx", pd.read_excel)):
        if (root / name).is_file():
            try:
                return reader(root / name)
            except ImportError:
                raise DataError(f"Reading {root / name} takes openpyxl: pip install openpyxl") from None
            except ValueError as error:
                raise DataError(f"{root / name} is not a table: {error}") from None
    raise DataError(f"Expected a file {root / 'dataset.csv'}: the layout must be the published one")


def read(root):
    """Lists the pictures.

    There are no patient numbers. Rows that follow each other with equal centre, age and sex are mostly one
    patient and count as one source. `body_part` is the region (upper limb, lower limb, pelvis), which every
    picture has; `bone` is set on tumour pictures only.

    Args:
        root: Folder with dataset.csv or dataset.xlsx, images/ and Annotations/.

    Returns:
        A table in the form of `tables.COLUMNS`, with `bone`, `center`, `age` and `sex`.

    Raises:
        DataError: A folder, the table, a column or a listed picture is missing.
    """
    present = {path.name for path in tables.pictures(root / "images")}
    csv = _listing(root)
    try:
        missing = sorted(set(csv["image_id"]) - present)
        if missing:
            raise DataError(f"{len(missing)} listed pictures are not in images/, the first is {missing[0]}")
        person = csv[["center", "age", "gender"]]
        patient = (person != person.shift()).any(axis=1).cumsum()
        table = pd.DataFrame(
            {
                "filename": "images/" + csv["image_id"],
                "label": csv["tumor"].astype(int),
                "source": [f"patient{number:05d}" for number in patient],
                "body_part": tables.one_hot_names(csv, REGIONS, "mixed"),
                "bone": tables.one_hot_names(csv, BONES, "several", none=""),
                "view": tables.one_hot_names(csv, VIEWS, "mixed"),
                "finding": tables.one_hot_names(csv, LESIONS, "several", none="none"),
                "center": csv["center"].astype(int),
                "age": csv["age"].astype(float),
                "sex": csv["gender"].astype(str),
            }
        )
        if "official_split" in csv:
            table["published_split"] = csv["official_split"]
        annotations = root / "Annotations"
        table["boxes"] = [_boxes(annotations / f"{name.rsplit('.', 1)[0]}.json") for name in csv["image_id"]]
        benign_without_tumour = (csv["tumor"] == 0) & ((csv["benign"] + csv["malignant"]) > 0)
        table["conflict"] = np.where(benign_without_tumour, "tumor=0 but benign or malignant set", "")
    except KeyError as error:
        raise DataError(
            f"BTXRD's table lacks the column {error}: the layout must be the published one"
        ) from None
    return tables.complete(table)
