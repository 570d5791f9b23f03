"""Reads the published table, images and LabelMe shapes of BTXRD."""

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
LICENCE = "CC BY-NC-ND 4.0 (Yao et al., Scientific Data 2025)"
POLICIES = ("grouped", "paper", "official")
SHARES = (0.7, 0.1, 0.2)
KNOWN = ("center", "age", "sex", "body_part")
DIGESTS = {  # of the published split files, see splits/README.md
    "grouped": "2295854255ffdcd82553d6e69a933d7cfd8fcfa86ae2a0208c584605be2bef33",
    "paper": "7d649fded572942ee6bfb2c2fc55de05cd27c0172689c38b10da116e8ee92412",
    "official": "4f451454146ee6a3596827b6c3764d57e520f27e3b2a8ccff1cd2952c1801018",
}
BONES = ("hand", "ulna", "radius", "humerus", "foot", "tibia", "fibula", "femur", "hip bone")
REGIONS = ("upper limb", "lower limb", "pelvis")
LISTINGS = ("dataset.csv", "dataset.xlsx")
HOLDS = ("Annotations", "images/IMG000001.jpeg")
READS = (*LISTINGS, "Annotations/*.json")
SIDE = 256  # of images whose annotation does not say
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


def _parse(content):
    """Boxes round the rectangles of a LabelMe file, its width and height."""
    content = json.loads(content)
    shapes = [
        np.asarray(shape["points"], float)
        for shape in content["shapes"]
        if shape["shape_type"] == "rectangle"
    ]
    boxes = [[*points.min(0), *points.max(0)] for points in shapes]
    return boxes, content.get("imageWidth") or SIDE, content.get("imageHeight") or SIDE


def read(root):
    """Lists the images.

    There are no patient numbers. Rows that follow each other with equal centre, age and sex are mostly one
    patient and count as one source. `body_part` is the region (upper limb, lower limb, pelvis), which every
    image has; `bone` is set on tumour images only.

    Args:
        root: Folder with dataset.csv or dataset.xlsx, images/ and Annotations/.

    Returns:
        A table in the form of `tables.COLUMNS`, with `bone`, `center`, `age` and `sex`.

    Raises:
        DataError: A folder, the table, a column or a listed image is missing, or a file is damaged.
    """
    present = {path.name for path in tables.images(root / "images")}
    path = next((root / name for name in LISTINGS if (root / name).is_file()), root / LISTINGS[0])
    numbers = ("tumor", "benign", "malignant", "center", "age", *REGIONS, *BONES, *LESIONS, *VIEWS)
    csv = tables.listing(path, numbers, "tumor")
    try:
        tables.refuse_missing(set(csv["image_id"]) - present, root / "images")
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
        table["boxes"] = [
            tables.annotated(annotations / f"{name.rsplit('.', 1)[0]}.json", "LabelMe", _parse)
            for name in csv["image_id"]
        ]
        benign_without_tumour = (csv["tumor"] == 0) & ((csv["benign"] + csv["malignant"]) > 0)
        table["conflict"] = np.where(benign_without_tumour, "tumor=0 but benign or malignant set", "")
    except (KeyError, ValueError) as error:  # a column that is missing, a centre that is none
        raise DataError(f"{path} is not the published table ({error}): fetch it again") from None
    tables.say_boxless(table, f"{annotations}/*.json")
    return tables.complete(table)
