import json
import re
import shutil

import numpy as np
import pytest

from keras_fracture.data import phantom, tables
from keras_fracture.data.catalogue import catalogue, layout
from keras_fracture.errors import DataError


@pytest.fixture
def copy(dummy_root, tmp_path):
    """Function that copies one dummy set, to be spoilt."""

    def copied(name):
        module = layout(name)
        return module, shutil.copytree(dummy_root / module.FOLDER, tmp_path / module.FOLDER)

    return copied


def _drawn(sources):
    """Boxes of the phantoms the dummy data were drawn from."""
    hurt = [s for s in phantom.plan() if s.finding != "none" and s.body_part == "tibia"]
    return [phantom.draw(hurt[i], shot, size=64)["boxes"] for i, shot in sources]


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
            "without boxes: 6 of 6 images .*VOC, COCO JSON, YOLO in .*Annotations",
        ),
        (
            "fracatlas",
            "Annotations/PASCAL VOC/IMG0000005.xml",
            "without boxes: 1 of 6 images .*IMG0000005.jpg",
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


def _drop_column(root):
    path = root / "dataset.csv"
    path.write_text(path.read_text().replace("hand,", "paw,", 1).replace("tumor", "mass", 1))


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
    ("btxrd", lambda root: (root / "dataset.csv").unlink(), "Expected a file"),
    ("btxrd", _drop_column, "dataset.csv is not the published table.*tumor"),
    ("btxrd", lambda root: (root / "dataset.csv").write_text(""), "not the published table"),
    (
        "btxrd",
        lambda root: (root / "images" / "IMG000003.jpeg").unlink(),
        "1 listed images.*IMG000003.jpeg",
    ),
    (
        "btxrd",
        lambda root: (root / "Annotations" / "IMG000002.json").write_text(json.dumps({"shapes": [{}]})),
        "IMG000002.json is not a LabelMe annotation",
    ),
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
