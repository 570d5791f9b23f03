"""Draws the dummy data of the builders' tests: `python tests/data/make_dummy_data.py`.

Published layouts, a few KB, every image a phantom: no real X-ray is in the repository.
"""

import csv
import json
import shutil
from pathlib import Path

import cv2

import keras_fracture
from keras_fracture.data import phantom
from keras_fracture.data.datasets.btxrd import layout as btxrd
from keras_fracture.data.datasets.fracatlas import layout as fracatlas

SIZE = 64
DATASETS = Path(keras_fracture.__file__).parent / "data" / "datasets"


def main():
    """Writes the three folders anew."""
    healthy = [
        source for source in phantom.plan() if source.finding == "none" and source.body_part == "tibia"
    ]
    hurt = [source for source in phantom.plan() if source.finding != "none" and source.body_part == "tibia"]
    for name, make in (("fracatlas", _fracatlas), ("kaggle_fracture", _kaggle), ("btxrd", _btxrd)):
        folder = DATASETS / name / "dummy_data"
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, healthy, hurt)


def _write(path, image, cut=None):
    """Writes a JPEG, or only its first `cut` bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    path.write_bytes(data[:cut])


def _table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _pixels(box):
    """A normalised box as whole pixels: xmin, ymin, xmax, ymax."""
    top, left, bottom, right = (round(float(edge) * SIZE) for edge in box)
    return left, top, right, bottom


def _fracatlas(folder, healthy, hurt):
    """Five images a class, one of them truncated, and one more that contradicts the csv."""
    root, rows = folder / "FracAtlas", []
    for label, sources in enumerate((healthy[:5], hurt[:6])):
        for source in sources:
            record = phantom.draw(source, 0, size=SIZE)
            name = f"IMG{len(rows):07d}"
            path = root / "images" / ("Fractured" if label else "Non_fractured") / f"{name}.jpg"
            _write(path, record["image"], cut=700 if len(rows) == 2 else None)
            if label:
                _voc(
                    root / "Annotations" / "PASCAL VOC" / f"{name}.xml", [_pixels(b) for b in record["boxes"]]
                )
            fractured = int(label and len(rows) != 10)
            row = dict.fromkeys(fracatlas.PARTS, 0) | {"leg": 1, "mixed": 0, "hardware": int(len(rows) == 1)}
            row |= {"multiscan": int(len(rows) == 3), "fractured": fractured, "fracture_count": fractured}
            row |= {view: int(view == record["view"]) for view in fracatlas.VIEWS}
            rows.append({"image_id": f"{name}.jpg"} | row)
    _table(root / "dataset.csv", rows)


def _voc(path, boxes):
    sides = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        "<object><name>fractured</name><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    size = f"<size><width>{SIZE}</width><height>{SIZE}</height><depth>1</depth></size>"
    path.write_text(
        f"<annotation><filename>{path.stem}.jpg</filename>{size}{''.join(objects)}</annotation>\n"
    )


def _kaggle(folder, healthy, hurt):
    """Four sources a class, three for train and one for val, each with two rotated copies."""
    root = folder / "kaggle_bone_fracture"
    for label, sources in enumerate((healthy[:4], hurt[:4])):
        for number, source in enumerate(sources, 1):
            split, name = ("val", "1") if number == 4 else ("train", str(number))
            class_folder = root / split / ("fractured" if label else "not fractured")
            image = phantom.draw(source, 0, size=SIZE)["image"][..., 0]
            for suffix, angle in (("", 0), ("-rotated1", 12), ("-rotated1-rotated2", 40)):
                turn = cv2.getRotationMatrix2D((SIZE / 2 - 0.5, SIZE / 2 - 0.5), angle, 1)
                _write(class_folder / f"{name}{suffix}.jpg", cv2.warpAffine(image, turn, (SIZE, SIZE)))


def _btxrd(folder, healthy, hurt):
    """Four patients a class with two images each; the last of each class is the official val."""
    root, rows = folder / "BTXRD", []
    for tumour, sources in ((1, hurt[:4]), (0, healthy[:4])):
        for number, source in enumerate(sources):
            for shot in range(2):
                record = phantom.draw(source, shot, size=SIZE)
                name = f"IMG{len(rows) + 1:06d}"
                _write(root / "images" / f"{name}.jpeg", record["image"])
                if tumour:
                    _labelme(root / "Annotations" / f"{name}.json", record)
                marks = {"lower limb"} | {record["view"]} | ({"tibia", "osteosarcoma"} if tumour else set())
                columns = (*btxrd.BONES, *btxrd.LESIONS, *btxrd.REGIONS, *btxrd.VIEWS)
                row = {"image_id": f"{name}.jpeg", "center": 1 + number % 2, "age": 20 + 3 * number + tumour}
                row |= {"gender": "FM"[number % 2], "tumor": tumour, "benign": 0, "malignant": tumour}
                row |= {column: int(column in marks) for column in columns}
                rows.append(row | {"official_split": "val" if number == 3 else "train"})
    _table(root / "dataset.csv", rows)


def _labelme(path, record):
    """A rectangle a box and, as published, a polygon beside it that no box is made from."""
    shapes = []
    for box in record["boxes"]:
        left, top, right, bottom = _pixels(box)
        corners = [[left, top], [right, top], [right, bottom]]
        for kind, points in (("rectangle", [corners[0], corners[2]]), ("polygon", corners)):
            shapes.append({"label": "osteosarcoma", "points": points, "shape_type": kind})
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.4.1", "shapes": shapes, "imageWidth": SIZE, "imageHeight": SIZE}
    path.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
