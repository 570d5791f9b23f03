"""Draws the dummy data of the builders' tests: `python tests/data/make_dummy_data.py`.

Published layouts, a few KB, every image a phantom: no real X-ray is in the repository.
"""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np

import keras_fracture
from keras_fracture.data import phantom
from keras_fracture.data.datasets.btxrd import layout as btxrd
from keras_fracture.data.datasets.fracatlas import layout as fracatlas

SIZE = 64
GRAZ = (
    "filestem", "patient_id", "study_number", "timehash", "gender", "age", "laterality", "projection", "initial_exam",
    "ao_classification", "cast", "diagnosis_uncertain", "osteopenia", "fracture_visible", "metal", "pixel_spacing",
    "device_manufacturer",
)  # fmt: skip
DATASETS = Path(keras_fracture.__file__).parent / "data" / "datasets"


def main():
    """Writes the folders anew."""
    healthy = [
        source for source in phantom.plan() if source.finding == "none" and source.body_part == "tibia"
    ]
    hurt = [source for source in phantom.plan() if source.finding != "none" and source.body_part == "tibia"]
    for name, make in {
        "fracatlas": _fracatlas,
        "kaggle_fracture": _kaggle,
        "btxrd": _btxrd,
        "grazpedwri_dx": _graz,
        "mura": _mura,
        "kaggle_regions": _regions,
    }.items():
        folder = DATASETS / name / "dummy_data"
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, healthy, hurt)


def _write(path, image, cut=None):
    """Writes a JPEG or PNG, or only its first `cut` bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    setting = [cv2.IMWRITE_JPEG_QUALITY, 80] if path.suffix != ".png" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    path.write_bytes(cv2.imencode(path.suffix, image, setting)[1].tobytes()[:cut])


def _table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _pixels(box, size=SIZE):
    """A normalised box as whole pixels: xmin, ymin, xmax, ymax."""
    top, left, bottom, right = (round(float(edge) * size) for edge in box)
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
                boxes = [("fractured", _pixels(box)) for box in record["boxes"]]
                _voc(root / "Annotations" / "PASCAL VOC" / f"{name}.xml", boxes)
            fractured = int(label and len(rows) != 10)
            row = dict.fromkeys(fracatlas.PARTS, 0) | {"leg": 1, "mixed": 0, "hardware": int(len(rows) == 1)}
            row |= {"multiscan": int(len(rows) == 3), "fractured": fractured, "fracture_count": fractured}
            row |= {view: int(view == record["view"]) for view in fracatlas.VIEWS}
            rows.append({"image_id": f"{name}.jpg"} | row)
    _table(root / "dataset.csv", rows)


def _voc(path, boxes, ending="jpg", size=SIZE):
    """Boxes as (name, corners)."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box, strict=True))
        + "</bndbox></object>"
        for name, box in boxes
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    size = f"<size><width>{size}</width><height>{size}</height><depth>1</depth></size>"
    path.write_text(
        f"<annotation><filename>{path.stem}.{ending}</filename>{size}{''.join(objects)}</annotation>\n"
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


def _graz(folder, healthy, hurt, size=48):
    """16 patients a class, the first four with two views, the last of 8 bits, in two folders; a box of text in each."""
    root, rows = folder / "GRAZPEDWRI-DX", []
    for fractured, sources in ((1, hurt[:16]), (0, healthy[:16])):
        for number, source in enumerate(sources):
            patient = 2 * number + 2 - fractured
            for shot in range(1 + (number < 4)):
                record = phantom.draw(source, shot, size=size)
                stem = (
                    f"{patient:04d}_{354485700 + 24 * patient + shot:010d}_01_WRI-R{shot + 1}_F{number:03d}"
                )
                image = record["image"] if number == 15 else record["image"].astype(np.uint16) * 257
                _write(root / f"images_part{1 + number // 8}" / f"{stem}.png", image)
                boxes = [("text", (2, 2, 8, 8))] + [("fracture", _pixels(b, size)) for b in record["boxes"]]
                _voc(root / "folder_structure" / "pascalvoc" / f"{stem}.xml", boxes, "png", size)
                row = dict.fromkeys(GRAZ, "") | {"filestem": stem, "patient_id": patient, "study_number": 1}
                row |= {"gender": "F", "age": number, "laterality": "R", "projection": shot + 1}
                row |= {"fracture_visible": "1.0" * fractured, "metal": "1.0" * (fractured and number == 0)}
                rows.append(row | {"pixel_spacing": 0.144, "device_manufacturer": "Siemens"})
    _table(root / "dataset.csv", rows)


def _mura(folder, healthy, hurt):
    """16 patients a class in train and three in valid, some with two images; one has a normal hand, too."""
    root, images, studies = folder / "MURA-v1.1", {}, {}

    def add(split, region, patient, positive, source, shots=1):
        study = f"{split}/XR_{region}/patient{patient:05d}/study1_{'positive' if positive else 'negative'}"
        studies.setdefault(split, {})[study] = positive
        for shot in range(shots):
            drawn = phantom.draw(source, shot, size=SIZE // 2)["image"]
            images.setdefault(split, {})[f"{study}/image{shot + 1}.png"] = drawn

    for positive, sources in ((1, hurt[:19]), (0, healthy[:19])):
        for number, source in enumerate(sources):
            split, region = ("valid" if number > 15 else "train"), ("WRIST", "ELBOW")[number % 2]
            add(split, region, 2 * number + 2 - positive, positive, source, 1 + (number < 2))
    add("train", "HAND", 1, 0, healthy[19])
    for split in ("train", "valid"):
        for name, drawn in images[split].items():
            _write(root / name, drawn)
        listed = [f"MURA-v1.1/{name}\n" for name in images[split]]
        (root / f"{split}_image_paths.csv").write_text("".join(listed))
        labels = [f"MURA-v1.1/{name}/,{label}\n" for name, label in studies[split].items()]
        (root / f"{split}_labeled_studies.csv").write_text("".join(labels))


def _regions(folder, healthy, hurt):
    """Twelve files a class for train, three each for val and test; one of them is cut, and one more is no image."""
    root = folder / "Bone_Fracture_Binary_Classification"
    for label, sources in enumerate((healthy[:18], hurt[:18])):
        for number, source in enumerate(sources):
            split = (*["train"] * 4, "val", "test")[number % 6]
            path = root / split / ("fractured" if label else "not fractured") / f"{number}.jpg"
            drawn = phantom.draw(source, 0, size=SIZE)["image"]
            cut = 700 if number == label == 0 else None
            _write(path.with_suffix(".png") if split == "test" else path, drawn, cut)
    (root / "train" / "fractured" / "99.jpg").write_bytes(b"<html>not found</html>")


if __name__ == "__main__":
    main()
