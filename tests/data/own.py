"""Phantom images written to disk in every layout that own X-rays may have."""

import json

import cv2
import numpy as np
import pandas as pd

from keras_fracture.data import phantom

SIZE = 64


def records(sources=24):
    return phantom.records(sources=sources, size=SIZE)[:]


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def pixels(box):
    """A normalised box as xmin, ymin, xmax, ymax in pixels."""
    top, left, bottom, right = (float(edge) * SIZE for edge in box)
    return left, top, right, bottom


def class_folders(root, drawn):
    for record in drawn:
        write(root / ("fractured" if record["label"] else "normal") / record["filename"], record["image"])


def split_folders(root, drawn):
    for number, record in enumerate(drawn):
        split = ("train", "train", "val", "test")[number % 4]
        folder = root / "images" / split / ("abnormal" if record["label"] else "no finding") / "deeper"
        write(folder / record["filename"], record["image"])


def table(root, drawn, name="labels.csv", **changes):
    rows = [
        {
            "path": f"images/{record['filename']}", "dx": record["finding"], "pid": record["source"],
            "part": record["body_part"], "projection": record["view"],
        }
        for record in drawn
    ]  # fmt: skip
    for record in drawn:
        write(root / "images" / record["filename"], record["image"])
    frame = pd.DataFrame(rows).assign(**changes)
    (frame.to_excel if name.endswith("xlsx") else frame.to_csv)(root / name, index=False)
    return frame


def boxed_table(root, drawn):
    """A row a box, in pixels."""
    frame = table(root, drawn)
    rows = []
    for row, record in zip(frame.to_dict("records"), drawn, strict=True):
        sides = [
            dict(zip(("xmin", "ymin", "xmax", "ymax"), pixels(box), strict=True)) for box in record["boxes"]
        ]
        rows += [row | {"dx": str(record["label"])} | one for one in sides or [{}]]
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)


def coco(root, drawn):
    images, found = [], []
    for number, record in enumerate(drawn):
        write(root / "images" / record["filename"], record["image"])
        images.append({"id": number, "file_name": record["filename"], "width": SIZE, "height": SIZE})
        for box in record["boxes"]:
            left, top, right, bottom = pixels(box)
            found.append({"image_id": number, "bbox": [left, top, right - left, bottom - top]})
    (root / "annotations.json").write_text(json.dumps({"images": images, "annotations": found}))


def voc(root, drawn):
    for record in drawn:
        write(root / record["filename"], record["image"])
        objects = "".join(
            "<object><bndbox>"
            + "".join(
                f"<{side}>{value}</{side}>"
                for side, value in zip(("xmin", "ymin", "xmax", "ymax"), pixels(box), strict=True)
            )
            + "</bndbox></object>"
            for box in record["boxes"]
        )
        size = f"<size><width>{SIZE}</width><height>{SIZE}</height></size>"
        path = (root / record["filename"]).with_suffix(".xml")
        path.write_text(f"<annotation>{size}{objects}</annotation>")


def yolo(root, drawn):
    """As Ultralytics has it: images/SPLIT and labels/SPLIT, no file for an image without a box."""
    for number, record in enumerate(drawn):
        split = ("train", "train", "val", "test")[number % 4]
        write(root / "images" / split / record["filename"], record["image"])
        if len(record["boxes"]):
            path = (root / "labels" / split / record["filename"]).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            corners = np.array([pixels(box) for box in record["boxes"]]) / SIZE
            rows = np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]])
            path.write_text("".join(f"0 {' '.join(map(str, row))}\n" for row in rows.tolist()))
    (root / "classes.txt").write_text("fracture\n")
