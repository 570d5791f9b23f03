"""Boxes in annotation files beside the images or in folders of their own."""

import collections
import json

import numpy as np

from keras_fracture.data import annotations, tables
from keras_fracture.data.own.labels import folded
from keras_fracture.errors import DataError

COCO = "COCO"
_KINDS = {
    ".xml": ("PASCAL VOC", annotations.voc, annotations.voc_names),
    ".txt": ("YOLO", annotations.yolo, annotations.yolo_names),
}


def find(folder, finding=None):
    """The boxes of all images, of the first kind of PASCAL VOC, COCO and YOLO of which there is a file.

    Args:
        folder: `folders.Folder`.
        finding: What boxes of the finding may be called: where some are, others are left out.

    Returns:
        The kind ("" where there is none), the files that were read (paths below the folder), a dict of image to
        boxes as `tables.normalised` gives them, and a dict of what boxes are called to how many there are.

    Raises:
        DataError: A file is damaged, names an image that is not there, or belongs to several.
    """
    for read in (lambda: _one_each(folder, ".xml"), lambda: _coco(folder), lambda: _one_each(folder, ".txt")):
        kind, paths, names_in, boxes_of = read()
        if paths:
            counted = collections.Counter(
                name for path in paths for name in tables.parsed(folder.root / path, kind, names_in)
            )
            return kind, paths, boxes_of(_keeps(counted, finding)), dict(counted.most_common())
    return "", [], {}, {}


def chosen(counted, finding):
    """Whether some of the boxes, a dict of what they are called to a number, are called as the finding is."""
    return finding is not None and folded(finding) in map(folded, counted)


def _keeps(counted, finding):
    """Function of a name to whether boxes of that name are kept; None keeps all."""
    return (lambda name: folded(name) == folded(finding)) if chosen(counted, finding) else None


def _one_each(folder, suffix):
    kind, parse, names_in = _KINDS[suffix]
    owners = {path: folder.beside(path) for path in folder.others if path.lower().endswith(suffix)}
    owners = {path: image for path, image in owners.items() if image}

    def boxes_of(keep):
        def kept(content):
            found, *size = parse(content)
            if keep is not None:
                rows = [keep(name) for name in names_in(content)]
                found = np.asarray(found, float).reshape(-1, 4)[rows]
            return found, *size

        boxes = {}
        for path, image in owners.items():
            if image in boxes:
                raise DataError(
                    f"{folder.root / path} is a second {kind} annotation of one image: remove one. Received: {image!r}"
                )
            boxes[image] = tables.annotated(folder.root / path, kind, kept)
        return boxes

    return kind, list(owners), names_in, boxes_of


def _coco(folder):
    paths = [
        path for path in folder.others if path.lower().endswith(".json") and _is_coco(folder.root / path)
    ]

    def boxes_of(keep):
        boxes = {}
        for path in paths:
            parsed = tables.parsed(
                folder.root / path, "COCO", lambda content: annotations.coco(content, keep)
            )
            for name, found in parsed.items():
                image = folder.find(name, folder.root / path, path.rpartition("/")[0])
                if image is None:
                    raise DataError(
                        f"{folder.root / path} names an image that is not in {folder.root}: fetch it. "
                        f"Received: {name!r}"
                    )
                boxes[image] = np.concatenate([boxes.get(image, np.zeros((0, 4), np.float32)), found])
        return boxes

    return COCO, paths, annotations.coco_names, boxes_of


def _is_coco(path):
    content = tables.parsed(path, "COCO", json.loads)
    return isinstance(content, dict) and {"images", "annotations"} <= set(content)
