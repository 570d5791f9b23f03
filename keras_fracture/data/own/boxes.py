"""Boxes in annotation files beside the images or in folders of their own."""

import json

import numpy as np

from keras_fracture.data import annotations, tables
from keras_fracture.errors import DataError

_KINDS = {".xml": ("PASCAL VOC", annotations.voc), ".txt": ("YOLO", annotations.yolo)}


def find(folder):
    """The boxes of all images, of the first kind of PASCAL VOC, COCO and YOLO of which there is a file.

    Args:
        folder: `folders.Folder`.

    Returns:
        The kind ("" where there is none), the files that were read (paths below the folder), and a dict of image to
        boxes as `tables.normalised` gives them.

    Raises:
        DataError: A file is damaged, names an image that is not there, or belongs to several.
    """
    for read in (lambda: _one_each(folder, ".xml"), lambda: _coco(folder), lambda: _one_each(folder, ".txt")):
        kind, paths, boxes = read()
        if paths:
            return kind, paths, boxes
    return "", [], {}


def _one_each(folder, suffix):
    kind, parse = _KINDS[suffix]
    owners = {path: folder.beside(path) for path in folder.others if path.lower().endswith(suffix)}
    owners = {path: image for path, image in owners.items() if image}
    boxes = {}
    for path, image in owners.items():
        if image in boxes:
            raise DataError(
                f"{folder.root / path} is a second {kind} annotation of one image: remove one. Received: {image!r}"
            )
        boxes[image] = tables.annotated(folder.root / path, kind, parse)
    return kind, list(owners), boxes


def _coco(folder):
    paths = [
        path for path in folder.others if path.lower().endswith(".json") and _is_coco(folder.root / path)
    ]
    boxes = {}
    for path in paths:
        for name, found in tables.parsed(folder.root / path, "COCO", annotations.coco).items():
            image = folder.find(name, folder.root / path, path.rpartition("/")[0])
            if image is None:
                raise DataError(
                    f"{folder.root / path} names an image that is not in {folder.root}: fetch it. Received: {name!r}"
                )
            boxes[image] = np.concatenate([boxes.get(image, np.zeros((0, 4), np.float32)), found])
    return "COCO", paths, boxes


def _is_coco(path):
    content = tables.parsed(path, "COCO", json.loads)
    return isinstance(content, dict) and {"images", "annotations"} <= set(content)
