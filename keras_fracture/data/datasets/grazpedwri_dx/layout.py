"""Reads the published table, images and boxes (PASCAL VOC, else YOLO) of GRAZPEDWRI-DX."""

import functools

import numpy as np
import pandas as pd

from keras_fracture.data import annotations, tables
from keras_fracture.errors import DataError

FOLDER = "GRAZPEDWRI-DX"
HOW_TO_GET = (
    "Download GRAZPEDWRI-DX (Nagy et al., Scientific Data 2022) from figshare and unpack it, so that the folder "
    "holds dataset.csv, images_part1/ to images_part4/ (or all in images/) and folder_structure/."
)
HOLDS = ("dataset.csv", "folder_structure")
LICENCE = "CC BY 4.0 (GRAZPEDWRI-DX, Nagy et al., Scientific Data 2022)"
POLICIES = ("grouped", "paper")
SHARES = (0.7, 0.1, 0.2)
KNOWN = ("view", "hardware", "cast", "age", "sex")
VIEWS = {1: "frontal", 2: "lateral"}
KINDS = {
    "pascalvoc": (".xml", "PASCAL VOC", functools.partial(annotations.voc, name="fracture")),
    "yolov5/labels": (".txt", "YOLO", functools.partial(annotations.yolo, number=3)),
}  # folders of folder_structure/, best first
_STRUCTURE = (
    "folder_structure",
    "folder_structure/folder_structure",
)  # as it unpacks into a folder of its name
# Supervisely's files say the same as those that are read.
READS = (
    "dataset.csv",
    *(f"{folder}/{name}/*{suffix}" for folder in _STRUCTURE for name, (suffix, *_) in KINDS.items()),
    *(f"{folder}/yolov5/*.yaml" for folder in _STRUCTURE),
    *(f"{folder}/supervisely/**.json" for folder in _STRUCTURE),
)


def _images(root):
    """Images by the stem of their names, in whichever folders they are, or in folders of the same name in these."""
    parts = [path for path in sorted(root.glob("images_part*")) if path.is_dir()]
    whole = root / "images"
    folders = parts + [whole] * (whole.is_dir() or not parts)
    folders += [inner for folder in folders if (inner := folder / folder.name).is_dir()]
    found = {}
    for folder in folders:
        for path in tables.images(folder, maybe_none=True):
            if path.stem in found:
                raise DataError(f"{path} and {found[path.stem]} are of one name: remove one")
            found[path.stem] = path
    return found


def _boxes(root):
    """A function of an image's stem to its fractures' boxes, from the first kind of which it has a file."""
    structure = next(
        (root / path for path in reversed(_STRUCTURE) if (root / path).is_dir()), root / _STRUCTURE[0]
    )
    kinds = [(structure / name, suffix, kind, parse) for name, (suffix, kind, parse) in KINDS.items()]

    def boxes(stem):
        for folder, suffix, kind, parse in kinds:
            if (path := folder / f"{stem}{suffix}").exists():
                return tables.annotated(path, kind, parse)
        return np.zeros((0, 4), np.float32)

    return boxes


def read(root):
    """Lists the images.

    The finding is `fracture_visible`, of this image: a fracture of the patient that another view shows does not
    count. Of the boxes only those of fractures are read, from YOLO's file where an image has none of PASCAL VOC;
    where one contradicts the table, that is in `conflict`.

    Args:
        root: Folder with dataset.csv, images_part1/ and so on or images/, and folder_structure/.

    Returns:
        A table in the form of `tables.COLUMNS`, with `patient_told` (always), `hardware`, `cast`, `age` and `sex`.

    Raises:
        DataError: A folder, the table, a column or a listed image is missing, or a file is damaged.
    """
    present, boxes = _images(root), _boxes(root)
    path = root / "dataset.csv"
    marks = ("fracture_visible", "metal", "cast")
    numbers = ("patient_id", "age", "projection", *marks)
    csv = tables.listing(path, numbers, "fracture_visible", name="filestem", blank=True)
    try:
        tables.refuse_missing(set(csv["filestem"]) - set(present), root)
        table = pd.DataFrame(
            {
                "filename": [present[stem].relative_to(root).as_posix() for stem in csv["filestem"]],
                "label": csv["fracture_visible"].astype(int),
                "source": [f"patient{number:05d}" for number in csv["patient_id"].astype(int)],
                "patient_told": True,
                "body_part": "wrist",
                "view": csv["projection"].map(VIEWS).fillna("unknown"),
                "hardware": csv["metal"] > 0,
                "cast": csv["cast"] > 0,
                "age": csv["age"].astype(float),
                "sex": csv["gender"].fillna("").astype(str),
                "boxes": [boxes(stem) for stem in csv["filestem"]],
            }
        )
    except (KeyError, ValueError) as error:  # a column that is missing, a patient that is none
        raise DataError(f"{path} is not the published table ({error}): fetch it again") from None
    table["finding"] = np.where(table["label"] == 1, "fracture", "none")
    boxed = (table["label"] == 0) & (table["boxes"].map(len) > 0)
    table["conflict"] = np.where(boxed, "a box of a fracture, but fracture_visible is not set", "")
    tables.say_boxless(table, f"{', else '.join(KINDS)} in {root / 'folder_structure'}")
    return tables.complete(table)
