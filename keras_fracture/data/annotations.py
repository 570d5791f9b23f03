"""Boxes in the three usual kinds of annotation files: PASCAL VOC, COCO and YOLO."""

import json
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np

from keras_fracture.data import tables


def voc(content):
    """Boxes, width and height of a PASCAL VOC file, for `tables.annotated`."""
    tree = ElementTree.fromstring(content)
    sides = ("xmin", "ymin", "xmax", "ymax")
    boxes = [[float(item.findtext(f"bndbox/{side}")) for side in sides] for item in tree.iter("object")]
    return boxes, float(tree.findtext("size/width")), float(tree.findtext("size/height"))


def coco(content):
    """Boxes as `tables.normalised` gives them, by the image's file name, of a COCO file."""
    content = json.loads(content)
    images = {image["id"]: image for image in content["images"]}
    names = [str(PurePosixPath(image["file_name"])) for image in images.values()]
    if len(set(names)) < len(content["images"]):
        raise ValueError("an image twice")
    corners = {number: [] for number in images}
    for annotation in content["annotations"]:
        left, top, width, height = map(float, annotation["bbox"])
        corners[annotation["image_id"]].append([left, top, left + width, top + height])
    sizes = [(image["width"], image["height"]) for image in images.values()]
    return {
        name: tables.normalised(boxes, *size)
        for name, boxes, size in zip(names, corners.values(), sizes, strict=True)
    }


def yolo(content):
    """Boxes, width and height of a YOLO file, which counts in fractions, for `tables.annotated`."""
    rows = [line.split() for line in content.decode().splitlines() if line.strip()]
    if any(len(row) != 5 for row in rows):
        raise ValueError("a line without class, centre x and y, width and height")
    rows = np.array(rows, float).reshape(-1, 5)
    if not np.isfinite(rows).all():
        raise ValueError("NaN or infinity")
    centres, halves = rows[:, 1:3], rows[:, 3:] / 2
    return np.hstack([centres - halves, centres + halves]), 1, 1
