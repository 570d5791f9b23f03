"""Boxes in the three usual kinds of annotation files: PASCAL VOC, COCO and YOLO."""

import json
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np

from keras_fracture.data import tables


def voc(content, name=None):
    """Boxes, those of one name where it is given, width and height of a PASCAL VOC file, for `tables.annotated`."""
    tree = ElementTree.fromstring(content)
    sides = ("xmin", "ymin", "xmax", "ymax")
    boxes = [
        [float(item.findtext(f"bndbox/{side}")) for side in sides]
        for item in tree.iter("object")
        if name is None or item.findtext("name").strip() == name
    ]
    return boxes, float(tree.findtext("size/width")), float(tree.findtext("size/height"))


def voc_names(content):
    """What each box of a PASCAL VOC file is called, in their order."""
    return [item.findtext("name", "").strip() for item in ElementTree.fromstring(content).iter("object")]


def coco(content, keep=None):
    """Boxes as `tables.normalised` gives them, by the image's file name, of a COCO file.

    `keep` is a function of a category's name; None keeps all.
    """
    content = json.loads(content)
    names_of = _categories(content)
    images = {image["id"]: image for image in content["images"]}
    names = [str(PurePosixPath(image["file_name"])) for image in images.values()]
    if len(set(names)) < len(content["images"]):
        raise ValueError("an image twice")
    corners = {number: [] for number in images}
    for annotation in content["annotations"]:
        if keep is not None and not keep(names_of(annotation)):
            continue
        left, top, width, height = map(float, annotation["bbox"])
        corners[annotation["image_id"]].append([left, top, left + width, top + height])
    sizes = [(image["width"], image["height"]) for image in images.values()]
    return {
        name: tables.normalised(boxes, *size)
        for name, boxes, size in zip(names, corners.values(), sizes, strict=True)
    }


def coco_names(content):
    """What each box of a COCO file is called, in their order."""
    content = json.loads(content)
    return list(map(_categories(content), content["annotations"]))


def _categories(content):
    """Function of an annotation to its category's name; to its number where there are no names."""
    names = {one.get("id"): str(one.get("name", "")).strip() for one in content.get("categories") or ()}

    def name_of(annotation):
        number = annotation.get("category_id", "")
        return names.get(number) or str(number)

    return name_of


def yolo_names(content):
    """The class of each box of a YOLO file, a number as text, in their order."""
    return [line.split()[0] for line in content.decode().splitlines() if line.strip()]


def yolo(content, number=None):
    """Boxes, those of one class where its number is given, width and height of a YOLO file, for `tables.annotated`.

    It counts in fractions of the image: width and height are 1.
    """
    rows = [line.split() for line in content.decode().splitlines() if line.strip()]
    if any(len(row) != 5 for row in rows):
        raise ValueError("a line without class, centre x and y, width and height")
    rows = np.array(rows, float).reshape(-1, 5)
    if not np.isfinite(rows).all():
        raise ValueError("NaN or infinity")
    rows = rows if number is None else rows[rows[:, 0] == number]
    centres, halves = rows[:, 1:3], rows[:, 3:] / 2
    return np.hstack([centres - halves, centres + halves]), 1, 1
