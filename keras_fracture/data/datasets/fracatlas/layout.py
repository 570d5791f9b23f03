"""Reads the published folders, csv and VOC boxes of FracAtlas."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd

from keras_fracture.data import tables
from keras_fracture.errors import DataError

FOLDER = "FracAtlas"
HOW_TO_GET = (
    "Run `keras-fracture data prepare fracatlas --download`, or download figshare article 22363012 and "
    "unpack it, so that it holds dataset.csv, images/ and Annotations/."
)
POLICIES = ("grouped", "paper")
SHARES = (0.7, 0.2, 0.1)  # lisbon_resnet, Introduction: "70-20-10"
CLASSES = {"Non_fractured": 0, "Fractured": 1}
PARTS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")


def _parse(content):
    """Boxes, width and height of a PASCAL VOC file."""
    tree = ElementTree.fromstring(content)
    sides = ("xmin", "ymin", "xmax", "ymax")
    boxes = [[float(item.findtext(f"bndbox/{side}")) for side in sides] for item in tree.iter("object")]
    return boxes, float(tree.findtext("size/width")), float(tree.findtext("size/height"))


def read(root):
    """Lists the pictures.

    The folder is the label. A csv row that disagrees is a conflict, and said in `conflict`. There are no
    patient numbers; near-duplicate pictures are joined into one source later (see `sources`).

    Args:
        root: Folder with dataset.csv, images/ and Annotations/.

    Returns:
        A table in the form of `tables.COLUMNS`, with `hardware` and `multiscan`.

    Raises:
        DataError: A folder, the csv or a column is missing, or a file is damaged.
    """
    files = {folder: tables.pictures(root / "images" / folder) for folder in CLASSES}
    listing = root / "dataset.csv"
    numbers = (*PARTS, "mixed", *VIEWS, "hardware", "multiscan", "fractured")
    csv = tables.listing(listing, numbers, "fractured").set_index("image_id")
    parts = tables.one_hot_names(csv, PARTS, "mixed")
    csv["body_part"] = np.where(csv["mixed"] > 0, "mixed", parts)
    csv["view"] = tables.one_hot_names(csv, VIEWS, "mixed")
    csv = csv[["body_part", "view", "hardware", "multiscan", "fractured"]]
    rows = []
    for folder, label in CLASSES.items():
        for path in files[folder]:
            if path.name not in csv.index:
                raise DataError(f"{path.name} is in images/{folder} but not in {listing}")
            facts = csv.loc[path.name].to_dict()
            conflict = ""
            if facts["fractured"] != label:
                conflict = f"folder {folder}, csv fractured={facts['fractured']:.0f}"
            annotation = root / "Annotations" / "PASCAL VOC" / f"{path.stem}.xml"
            rows.append(
                {
                    "filename": path.relative_to(root).as_posix(),
                    "label": label,
                    "body_part": facts["body_part"],
                    "view": facts["view"],
                    "hardware": bool(facts["hardware"]),
                    "multiscan": bool(facts["multiscan"]),
                    "finding": "fracture" if label else "none",
                    "boxes": tables.annotated(annotation, "PASCAL VOC", _parse)
                    if label
                    else np.zeros((0, 4), np.float32),
                    "conflict": conflict,
                }
            )
    return tables.complete(pd.DataFrame(rows))
