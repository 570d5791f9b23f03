"""What a data folder holds beside the images that its layout reads is counted, and macOS's copies are no images."""

import logging
import shutil

import cv2
import numpy as np
import pytest

from keras_fracture import data
from keras_fracture.data import audit, decoding, phantom, scan, unread
from keras_fracture.data.catalogue import REAL, catalogue, layout

ENDINGS = "(.jpg, .jpeg, .png)"
ELSEWHERE = "not in a folder, or not of a name, that this layout reads"


@pytest.fixture
def copy(dummy_root, tmp_path, monkeypatch):
    """Function that copies one dummy set, to be added to."""
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "cache"))

    def copied(name):
        folder = layout(name).FOLDER
        return shutil.copytree(dummy_root / folder, tmp_path / "data" / folder)

    return copied


def _add(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\0\5\x16\7 no image")


@pytest.mark.parametrize("name", REAL)
def test_of_a_published_layout_all_is_read(copy, name):
    assert catalogue(name, root=copy(name), progress=False).unread == []


def test_each_kind_is_counted_and_its_first_file_named(copy):
    root = copy("kaggle_fracture")
    _add(
        root, "train/fractured/b.dcm", "train/fractured/a.dcm", "train/fractured/c.DCM", "val/fractured/x.tif"
    )
    _add(
        root,
        "test/fractured/1.jpg",
        "test/fractured/2.jpg",
        "notes",
        "train/fractured/._1.jpg",
        "__MACOSX/1.jpg",
    )
    found = catalogue("kaggle_fracture", root=root, progress=False)
    assert len(found.table) == 24 and (found.table["error"] == "").all()
    assert [tuple(each.values()) for each in found.unread] == [
        (".dcm", 3, f"not an image file this layout reads {ENDINGS}", "train/fractured/a.dcm"),
        (".jpg", 2, "written by macOS beside another file", "__MACOSX/1.jpg"),
        (".jpg", 2, ELSEWHERE, "test/fractured/1.jpg"),
        ("without an ending", 1, ELSEWHERE, "notes"),
        (".tif", 1, f"not an image file this layout reads {ENDINGS}", "val/fractured/x.tif"),
    ]
    report = audit.examine("kaggle_fracture", found)
    assert report["unread"] == found.unread
    lines = audit.as_text(report).splitlines()[-6:]
    assert lines[0] == "not read: 9 files of the data folder"
    first = f"3 .dcm: not an image file this layout reads {ENDINGS}; the first is 'train/fractured/a.dcm'"
    assert lines[1].strip() == first


@pytest.mark.parametrize(
    ("name", "image", "new", "why"),
    [
        ("btxrd", "images/IMG000001.jpeg", "images/new.jpeg", "not in the table"),
        (
            "grazpedwri_dx",
            "images_part1/0001_0354485724_01_WRI-R1_F000.png",
            "images_part1/new.png",
            "not in the table",
        ),
        (
            "mura",
            "train/XR_HAND/patient00001/study1_negative/image1.png",
            "train/XR_HAND/patient00001/study2/image1.png",
            ELSEWHERE,
        ),
    ],
)
def test_an_image_that_the_table_does_not_list_is_said(copy, name, image, new, why):
    root = copy(name)
    (root / new).parent.mkdir(exist_ok=True)
    shutil.copy(root / image, root / new)
    (found,) = catalogue(name, root=root, progress=False).unread
    assert found == {"kind": new[new.index(".") :], "count": 1, "why": why, "first": new}


def test_annotations_in_folders_that_are_not_read_are_said(copy):
    root, folder = copy("grazpedwri_dx"), "folder_structure"
    _add(root, f"{folder}/yolov5/meta.yaml", f"{folder}/yolov5/labels/1.txt")
    _add(root, f"{folder}/supervisely/meta.json", f"{folder}/supervisely/wrist/ann/1.png.json")
    _add(root, f"{folder}/yolov5/labels/train/1.txt", f"{folder}/pascalvoc/more/1.xml")
    table = layout("grazpedwri_dx").read(root)
    found = unread.unread(root, layout("grazpedwri_dx"), table["filename"])
    assert [tuple(each.values()) for each in found] == [
        (".xml", 1, ELSEWHERE, f"{folder}/pascalvoc/more/1.xml"),
        (".txt", 1, ELSEWHERE, f"{folder}/yolov5/labels/train/1.txt"),
    ]


def test_prepare_says_it_in_one_block(copy, caplog):
    root = copy("kaggle_fracture")
    _add(root, *(f"train/fractured/{number}.dcm" for number in range(40)))
    # One image is inverted.
    path = root / "train" / "not fractured" / "1.jpg"
    drawn = phantom.records(sources=2, size=96)[0]["image"][..., 0]
    cv2.imwrite(str(path), 255 - drawn)
    with caplog.at_level(logging.WARNING):
        data.prepare("kaggle_fracture", data_dir=root.parent)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("keras_fracture")]
    assert [line for line in messages if "not read" in line] == [
        "not read: 40 files of the data folder\n       40 .dcm: not an image file this layout reads "
        f"{ENDINGS}; the first is 'train/fractured/0.dcm'"
    ]
    (inverted,) = [line for line in messages if "inverted" in line]
    assert inverted.startswith(
        "look inverted: 1 of 24 images of kaggle_fracture, the first is train/not fractured/1"
    )


@pytest.mark.parametrize("name", REAL)
def test_copies_that_macos_adds_change_nothing(copy, name):
    root = copy(name)
    table, before = layout(name).read(root), scan.folder_fingerprint(root)
    for path in [path for path in root.rglob("*") if path.is_file()]:
        _add(root, path.relative_to(root).with_name(f"._{path.name}"))
    after = layout(name).read(root)
    assert after["filename"].tolist() == table["filename"].tolist()
    assert [len(each) for each in after["boxes"]] == [len(each) for each in table["boxes"]]
    assert scan.folder_fingerprint(root) == before


def test_inverted_images_and_those_of_more_bits_are_findings(copy):
    root = copy("kaggle_fracture")
    drawn = phantom.records(sources=2, size=96)[0]["image"][..., 0]
    folder = root / "train" / "fractured"
    cv2.imwrite(str(folder / "deep.png"), drawn.astype(np.uint16) * 16)
    cv2.imwrite(str(folder / "deeper.png"), drawn.T.astype(np.uint16) * 257)
    (folder / "dark.png").write_bytes(decoding.encode_png(255 - drawn[::-1]))
    report = audit.examine("kaggle_fracture", catalogue("kaggle_fracture", root=root, progress=False))
    found = {finding["kind"]: finding for finding in report["findings"]}
    assert found["looks inverted"]["files"] == ["train/fractured/dark.png"]
    assert found["more than 8 bits"]["files"] == ["train/fractured/deep.png", "train/fractured/deeper.png"]
    assert found["more than 8 bits"]["detail"].endswith("1 of 12 bits, 1 of 16 bits")
