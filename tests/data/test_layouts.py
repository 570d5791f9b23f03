import json
import re
import shutil

import numpy as np
import pytest

from keras_fracture.data import decoding, phantom, splits, tables
from keras_fracture.data.catalogue import catalogue
from keras_fracture.errors import DataError


def _drawn(sources, size=64):
    """Boxes of the phantoms the dummy data were drawn from."""
    hurt = [s for s in phantom.plan() if s.finding != "none" and s.body_part == "tibia"]
    return [phantom.draw(hurt[i], shot, size=size)["boxes"] for i, shot in sources]


def test_fracatlas(copy):
    module, root = copy("fracatlas")
    table = module.read(root)
    assert list(table["label"]) == [1] * 6 + [0] * 5
    assert set(table["body_part"]) == {"leg"} and set(table["view"]) == {"frontal"}
    assert table["conflict"].tolist() == [""] * 5 + ["folder Fractured, csv fractured=0"] + [""] * 5
    assert (table["hardware"].sum(), table["multiscan"].sum()) == (1, 1)
    for boxes, drawn in zip(table["boxes"][:6], _drawn([(i, 0) for i in range(6)]), strict=True):
        np.testing.assert_allclose(boxes, drawn, atol=0.51 / 64)
    assert all(len(boxes) == 0 for boxes in table["boxes"][6:])
    assert set(table["study"]) == {"IMG0000000.jpg"}, "one row of numbers, one part"
    truncated = catalogue("fracatlas", root=root, progress=False).table.query("truncated")
    assert truncated["filename"].tolist() == ["images/Non_fractured/IMG0000002.jpg"]


def _as_coco(root, boxes):
    """The boxes, ymin xmin ymax xmax in pixels by image, as the published COCO file has them."""
    images = [
        {"id": number, "width": 64, "height": 64, "file_name": f"{stem}.jpg"}
        for number, stem in enumerate(boxes)
    ]
    annotations = [
        {"image_id": number, "category_id": 0, "bbox": [left, top, right - left, bottom - top]}
        for number, each in enumerate(boxes.values())
        for top, left, bottom, right in each
    ]
    path = root / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))


def _as_yolo(root, boxes):
    folder = root / "Annotations" / "YOLO"
    folder.mkdir()
    (folder / "labels.txt").write_text("fractured\n")
    for stem, each in boxes.items():
        (folder / f"{stem}.txt").write_text(
            "".join(
                f"0 {(left + right) / 128:.4f} {(top + bottom) / 128:.4f} "
                f"{(right - left) / 64:.4f} {(bottom - top) / 64:.4f}\n"
                for top, left, bottom, right in each
            )
        )


@pytest.mark.parametrize("write", [_as_coco, _as_yolo])
def test_fracatlas_has_the_same_boxes_in_every_kind_of_annotations(copy, write, caplog):
    module, root = copy("fracatlas")
    expected = module.read(root)
    expected.at[0, "boxes"] = np.concatenate([expected["boxes"][0], [[0.25, 0.5, 0.5, 0.75]]])
    hurt = expected[expected["label"] == 1]
    stems = hurt["filename"].str.extract(r"(IMG\d+)")[0]
    shutil.rmtree(root / "Annotations" / "PASCAL VOC")
    write(root, {stem: (boxes * 64).tolist() for stem, boxes in zip(stems, hurt["boxes"], strict=True)})
    table = module.read(root)
    assert [len(boxes) for boxes in table["boxes"]] == [2, 1, 1, 1, 1, 1] + [0] * 5
    for boxes, wanted in zip(table["boxes"], expected["boxes"], strict=True):
        np.testing.assert_allclose(boxes, wanted, atol=2e-4)
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        (
            "fracatlas",
            "Annotations/PASCAL VOC",
            "without boxes: 6 of 6 images .*VOC, else COCO JSON, else YOLO in .*Annotations",
        ),
        (
            "fracatlas",
            "Annotations/PASCAL VOC/IMG0000005.xml",
            "without boxes: 1 of 6 images .*IMG0000005.jpg; boxes are read from PASCAL VOC in",
        ),
        ("btxrd", "Annotations", "without boxes: 8 of 8 images"),
    ],
)
def test_findings_without_boxes_are_said_in_one_line(copy, name, spoil, words, caplog):
    module, root = copy(name)
    path = root / spoil
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    module.read(root)
    (record,) = caplog.records
    assert re.search(words, record.getMessage()) and "\n" not in record.getMessage()


def test_btxrd(copy):
    module, root = copy("btxrd")
    table = module.read(root)
    assert list(table["label"]) == [1] * 8 + [0] * 8
    assert table.groupby("source").size().tolist() == [2] * 8
    assert set(table["body_part"]) == {"lower limb"}
    assert table["bone"].tolist() == ["tibia"] * 8 + [""] * 8
    assert table["finding"].tolist() == ["osteosarcoma"] * 8 + ["none"] * 8
    assert table["published_split"].tolist() == (["train"] * 6 + ["val"] * 2) * 2
    assert table["view"].tolist() == ["frontal", "lateral"] * 8
    for boxes, drawn in zip(
        table["boxes"][:8], _drawn([(i, s) for i in range(4) for s in (0, 1)]), strict=True
    ):
        np.testing.assert_allclose(boxes, drawn, atol=0.51 / 64)


def test_btxrd_without_official_split_has_none(copy):
    module, root = copy("btxrd")
    lines = (root / "dataset.csv").read_text().splitlines()
    (root / "dataset.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
    assert set(module.read(root)["published_split"]) == {""}


def test_kaggle(copy):
    module, root = copy("kaggle_fracture")
    table = module.read(root)
    assert table["copies"].value_counts().to_dict() == {0: 8, 1: 8, 2: 8}
    assert table.groupby("source").size().tolist() == [3] * 8
    assert "val/not fractured/1" in set(table["source"])
    assert (table["published_split"] == "val").sum() == 6


def test_grazpedwri_dx(copy, caplog):
    module, root = copy("grazpedwri_dx")
    table = module.read(root)
    assert table["label"].tolist() == [1, 1, 0, 0] * 4 + [1, 0] * 12
    assert table["view"].tolist() == ["frontal", "lateral"] * 8 + ["frontal"] * 24
    assert table["source"].tolist() == [
        f"patient{number:05d}" for number in range(1, 33) for _ in range(1 + (number < 9))
    ]
    assert table["patient_told"].all() and table["hardware"].sum() == 2 and not table["cast"].any()
    assert table["filename"][25] == "images_part2/0018_0354486132_01_WRI-R1_F008.png"
    drawn = _drawn([(i, s) for i in range(16) for s in range(1 + (i < 4))], 48)
    for boxes, wanted in zip(table[table["label"] == 1]["boxes"], drawn, strict=True):
        np.testing.assert_allclose(boxes, wanted, atol=0.51 / 48)
    assert table[table["label"] == 0]["boxes"].map(len).sum() == 0 and not caplog.records
    assert catalogue("grazpedwri_dx", root=root, progress=False).table["bits"].tolist() == [16] * 38 + [8] * 2


def test_grazpedwri_dx_in_one_folder_with_yolo_boxes_is_the_same(copy, caplog):
    module, root = copy("grazpedwri_dx")
    expected = module.read(root)
    (root / "images").mkdir()
    for path in root.glob("images_part*/*.png"):
        path.rename(root / "images" / path.name)
    for path in root.glob("images_part*"):
        path.rmdir()
    shutil.rmtree(root / "folder_structure" / "pascalvoc")
    (root / "folder_structure" / "yolov5" / "labels").mkdir(parents=True)
    for name, boxes in zip(expected["filename"], expected["boxes"], strict=True):
        lines = ["8 0.05 0.05 0.1 0.1"]  # text
        lines += [
            f"3 {(left + right) / 2:.6f} {(top + bottom) / 2:.6f} {right - left:.6f} {bottom - top:.6f}"
            for top, left, bottom, right in boxes
        ]
        stem = name.rpartition("/")[2].removesuffix(".png")
        (root / "folder_structure/yolov5/labels" / f"{stem}.txt").write_text("\n".join(lines) + "\n")
    table = module.read(root)
    assert table["filename"].tolist() == [
        "images/" + name.rpartition("/")[2] for name in expected["filename"]
    ]
    for boxes, wanted in zip(table["boxes"], expected["boxes"], strict=True):
        np.testing.assert_allclose(boxes, wanted, atol=2e-6)
    assert table["source"].tolist() == expected["source"].tolist() and not caplog.records


def test_grazpedwri_dx_box_of_an_unmarked_fracture_is_a_conflict(copy):
    module, root = copy("grazpedwri_dx")
    csv = root / "dataset.csv"
    csv.write_text(csv.read_text().replace(",1.0,1.0,", ",,1.0,", 1))
    table = module.read(root)
    assert table["label"][0] == 0
    assert table["conflict"].tolist() == ["a box of a fracture, but fracture_visible is not set"] + [""] * 39


def test_mura(copy):
    module, root = copy("mura")
    table = module.read(root)
    names = set(table["filename"].str.rpartition("/")[2])
    assert table["filename"].is_unique and names == {"image1.png", "image2.png"}
    assert table["label"].sum() == 21 and (table["label"] == table["filename"].str.contains("positive")).all()
    assert table["source"].nunique() == 38 and table["patient_told"].all()
    both = table[table["source"] == "patient00001"]
    assert sorted(zip(both["body_part"], both["label"], strict=True)) == [
        ("hand", 0),
        ("wrist", 1),
        ("wrist", 1),
    ]
    assert set(table["body_part"]) == {"elbow", "hand", "wrist"} and table["study"].nunique() == 39
    assert table["published_split"].tolist() == ["train"] * 37 + ["val"] * 6
    assert (table["conflict"] == "").all()


def test_mura_official_split_tests_on_valid_and_cuts_validation_by_patient(copy):
    _, root = copy("mura")
    table = catalogue("mura", root=root, progress=False).table
    side = splits.assign(table, "official", (0.7, 0.1, 0.2))
    assert ((side == "test") == table["filename"].str.startswith("valid/")).all()
    assert table.assign(side=side).groupby("source")["side"].nunique().max() == 1
    assert (side == "validation").sum() > 0


def test_mura_csv_that_contradicts_a_folder_is_a_conflict(copy):
    module, root = copy("mura")
    csv = root / "valid_labeled_studies.csv"
    csv.write_text(csv.read_text().replace("positive/,1", "positive/,0", 1))
    conflict = module.read(root).set_index("filename")["conflict"]
    assert conflict[conflict != ""].to_dict() == {
        "valid/XR_WRIST/patient00033/study1_positive/image1.png": "folder positive, csv 0"
    }


def test_patients_that_look_alike_stay_two_and_equal_images_are_one(copy):
    _, root = copy("mura")
    names = [f"train/XR_WRIST/patient0000{n}/study1_{s}" for n, s in ((5, "positive"), (6, "negative"))]
    first, second = (root / name / "image1.png" for name in names)
    image = decoding.decode(first.read_bytes()).image
    second.write_bytes(decoding.encode_png(image + (image < 255)))
    near = catalogue("mura", root=root, progress=False)
    assert len(near.near_pairs) == 1 and near.table["source"].nunique() == 38
    shutil.copy(first, second)
    assert catalogue("mura", root=root, progress=False).table["source"].nunique() == 37


def test_kaggle_regions(copy):
    module, root = copy("kaggle_regions")
    shutil.copy(root / "train/fractured/0.jpg", root / "train/fractured/0-rotated1-rotated2.jpg")
    table = module.read(root)
    assert table["published_split"].value_counts().to_dict() == {"train": 26, "val": 6, "test": 6}
    assert table["label"].tolist() == [1] * 3 + [0] * 3 + [1] * 14 + [0] * 12 + [1] * 3 + [0] * 3
    assert table["source"].nunique() == 37 and table["copies"].tolist() == [0] * 6 + [2] + [0] * 31
    scanned = catalogue("kaggle_regions", root=root, progress=False).table
    assert scanned[scanned["error"] != ""]["filename"].tolist() == ["train/fractured/99.jpg"]
    assert scanned[scanned["truncated"]]["filename"].tolist() == ["train/not fractured/0.jpg"]


def test_kaggle_regions_in_a_folder_of_its_own_name_is_the_same(copy, tmp_path):
    module, root = copy("kaggle_regions")
    outer = tmp_path / "archive" / module.FOLDER
    shutil.copytree(root, outer / module.FOLDER)
    inner, table = module.read(root), module.read(outer)
    assert table["filename"].tolist() == [f"{module.FOLDER}/{name}" for name in inner["filename"]]
    for column in ("label", "source", "published_split"):
        assert table[column].tolist() == inner[column].tolist()


def _replace(name, old, new):
    def spoil(root):
        (root / name).write_text((root / name).read_text().replace(old, new, 1))

    return spoil


def _drop_column(root):
    path = root / "dataset.csv"
    path.write_text(path.read_text().replace("hand,", "paw,", 1).replace("tumor", "mass", 1))


def _without(name):
    return lambda root: (root / name).unlink()


SPOILT = [
    ("fracatlas", lambda root: (root / "dataset.csv").unlink(), "Expected a file"),
    ("fracatlas", _drop_column, "dataset.csv is not the published table.*hand"),
    ("fracatlas", lambda root: shutil.rmtree(root / "images" / "Fractured"), "Expected a folder"),
    (
        "fracatlas",
        lambda root: (root / "Annotations" / "PASCAL VOC" / "IMG0000005.xml").write_text("<annot"),
        "IMG0000005.xml is not a PASCAL VOC annotation",
    ),
    (
        "fracatlas",
        lambda root: shutil.copy(root / "images/Fractured/IMG0000005.jpg", root / "images/Fractured/new.jpg"),
        "new.jpg is in images/Fractured but not in",
    ),
    ("fracatlas", _without("images/Non_fractured/IMG0000004.jpg"), "1 listed images.*IMG0000004"),
    ("btxrd", lambda root: (root / "dataset.csv").unlink(), "Expected a file"),
    ("btxrd", _drop_column, "dataset.csv is not the published table.*tumor"),
    ("btxrd", lambda root: (root / "dataset.csv").write_text(""), "not the published table"),
    ("btxrd", _without("images/IMG000003.jpeg"), "1 listed images.*IMG000003.jpeg"),
    (
        "btxrd",
        lambda root: (root / "Annotations" / "IMG000002.json").write_text(json.dumps({"shapes": [{}]})),
        "IMG000002.json is not a LabelMe annotation",
    ),
    ("grazpedwri_dx", lambda root: (root / "dataset.csv").unlink(), "Expected a file"),
    (
        "grazpedwri_dx",
        _replace("dataset.csv", "fracture_visible", "broken"),
        "not the published table.*fracture_visible",
    ),
    ("grazpedwri_dx", _replace("dataset.csv", "gender", "sex"), "not the published table.*gender"),
    (
        "grazpedwri_dx",
        _replace("dataset.csv", "WRI-R1_F000,1,", "WRI-R1_F000,,"),
        "not the published table.*non-finite",
    ),
    (
        "grazpedwri_dx",
        _replace("dataset.csv", "0001_0354485724", "0099_0354485724"),
        "1 listed images are not in .*, the first is 0099_0354485724_01_WRI-R1_F000: fetch them",
    ),
    (
        "grazpedwri_dx",
        _replace("dataset.csv", "0001_0354485725_01_WRI-R2", "0001_0354485724_01_WRI-R1"),
        "an image in two rows.*in row 3",
    ),
    (
        "grazpedwri_dx",
        lambda root: shutil.copy(
            next(root.glob("images_part1/0001*R1*")),
            root / "images_part2" / "0001_0354485724_01_WRI-R1_F000.png",
        ),
        "are of one name: remove one",
    ),
    (
        "grazpedwri_dx",
        lambda root: [shutil.rmtree(path) for path in root.glob("images_part*")],
        "Expected a folder .*images",
    ),
    (
        "grazpedwri_dx",
        lambda root: next(root.glob("folder_structure/pascalvoc/*")).write_text("<annot"),
        "is not a PASCAL VOC annotation",
    ),
    ("mura", lambda root: (root / "train_image_paths.csv").unlink(), "Expected a file .*train_image_paths"),
    ("mura", lambda root: (root / "valid_labeled_studies.csv").unlink(), "Expected a file .*valid_labeled"),
    ("mura", lambda root: (root / "valid_labeled_studies.csv").write_text(""), "not the published table"),
    (
        "mura",
        _replace("train_image_paths.csv", "study1_positive/image2", "study1/image2"),
        "studyN_positive or _negative: mend it. Received: 'MURA.*patient00001/study1/image2.png' in row 2",
    ),
    (
        "mura",
        _replace(
            "train_image_paths.csv", "XR_WRIST/patient00001/study1_positive/image2.png", "../../../secret.png"
        ),
        "not laid out as XR_REGION.*secret.png",
    ),
    ("mura", _replace("train_image_paths.csv", "image2", "image1"), "train_image_paths.csv has a path twice"),
    (
        "mura",
        lambda root: (root / "train/XR_HAND/patient00001/study1_negative/image1.png").unlink(),
        "1 listed images are not in .*, the first is train/XR_HAND/patient00001",
    ),
    (
        "mura",
        _replace("train_labeled_studies.csv", "patient00003/study1", "patient00003/study2"),
        "has no 0 or 1 for a study.*patient00003/study1_positive'",
    ),
    ("mura", _replace("train_labeled_studies.csv", "/,1", "/,2"), "has no 0 or 1 for a study"),
    ("kaggle_regions", lambda root: shutil.rmtree(root / "test"), "Expected a folder .*test"),
    ("kaggle_fracture", lambda root: shutil.rmtree(root / "val"), "Expected a folder"),
    (
        "kaggle_fracture",
        lambda root: [path.unlink() for path in (root / "val" / "fractured").iterdir()],
        "No images",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "words"), SPOILT)
def test_other_layout_is_a_data_error_of_one_line(copy, name, spoil, words):
    module, root = copy(name)
    spoil(root)
    with pytest.raises(DataError, match=words) as caught:
        module.read(root)
    assert "\n" not in str(caught.value)


def test_boxes_are_normalised_and_clipped():
    boxes = tables.normalised([[10, 20, 50, 120]], width=100, height=80)
    np.testing.assert_allclose(boxes, [[0.25, 0.1, 1.0, 0.5]])
    assert tables.normalised([], 10, 10).shape == (0, 4)
