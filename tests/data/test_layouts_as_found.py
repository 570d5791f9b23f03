"""Published sets as they are found: tables that a spreadsheet has saved, folders renamed or one level deeper."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from keras_fracture import data
from keras_fracture.data import locations
from keras_fracture.data.catalogue import layout
from keras_fracture.errors import DataError


def _saved_by_excel(path, table):
    """Where numbers have decimal commas: with semicolons, and a mark before the first letter."""
    table.to_csv(
        path, index=False, header=path.name == "dataset.csv", sep=";", decimal=",", encoding="utf-8-sig"
    )


@pytest.mark.parametrize("name", ["grazpedwri_dx", "fracatlas", "btxrd"])
def test_a_published_table_that_excel_has_saved_is_the_same(copy, name):
    module, root = copy(name)
    expected = module.read(root)
    table = pd.read_csv(root / "dataset.csv")
    if "age" in table:
        table["age"] += 0.5
        expected["age"] += np.float32(0.5)
    _saved_by_excel(root / "dataset.csv", table)
    pd.testing.assert_frame_equal(module.read(root).drop(columns="boxes"), expected.drop(columns="boxes"))


def test_mura_studies_that_excel_has_saved_are_the_same(copy):
    """Semicolons were a length mismatch, and 1.0 no 0 or 1."""
    module, root = copy("mura")
    csv = root / "valid_labeled_studies.csv"
    csv.write_text(csv.read_text().replace("positive/,1", "positive/,0", 1))
    expected = module.read(root)["conflict"].tolist()
    _saved_by_excel(csv, pd.read_csv(csv, header=None))
    assert module.read(root)["conflict"].tolist() == expected
    csv.write_text(csv.read_text(encoding="utf-8-sig").replace(";1", ",1.0").replace(";0", ",0.0"))
    assert module.read(root)["conflict"].tolist() == expected and any(expected)


@pytest.mark.parametrize("name", ["btxrd", "fracatlas", "grazpedwri_dx", "mura"])
def test_a_folder_unpacked_one_level_deeper_or_renamed_is_found(copy, name):
    module, root = copy(name)
    moved = root.with_name("moved")
    root.rename(moved)
    (moved / root.name).mkdir()  # empty
    assert locations.find(module, moved) == moved
    (moved / root.name).rmdir()
    assert locations.find(module, moved) == moved
    for other in {"btxrd", "fracatlas", "grazpedwri_dx", "mura"} - {name}:
        with pytest.raises(DataError, match=r"is not in .*rename a folder of another name"):
            locations.find(layout(other), moved)
    root.mkdir()
    moved.rename(root / root.name)
    assert locations.find(module, root.parent) == locations.find(module, root) == root / root.name
    shutil.copytree(root / root.name, root, dirs_exist_ok=True)
    assert locations.find(module, root.parent) == root, "which holds the set itself"


def test_grazpedwri_dx_images_may_lie_one_level_deeper_and_a_part_may_be_empty(copy):
    module, root = copy("grazpedwri_dx")
    expected = module.read(root)
    moved = root / "moved"
    (root / "images_part1").rename(moved)
    (root / "images_part1").mkdir()
    moved.rename(root / "images_part1" / "images_part1")
    (root / "images_part3").mkdir()
    structure = root / "folder_structure"
    structure.rename(moved)
    structure.mkdir()
    moved.rename(structure / "folder_structure")
    table = module.read(root)
    assert table["boxes"].map(len).tolist() == expected["boxes"].map(len).tolist() != [0] * len(table)
    assert table["filename"].str.replace("images_part1/images_part1", "images_part1").tolist() == (
        expected["filename"].tolist()
    )
    assert table["source"].tolist() == expected["source"].tolist()


def test_grazpedwri_dx_boxes_of_an_image_without_a_voc_file_are_yolos(copy, caplog):
    """YOLO's files were passed over once there was one of VOC, and the warning named both."""
    module, root = copy("grazpedwri_dx")
    expected = module.read(root)
    hurt = expected[expected["label"] == 1]
    stems = hurt["filename"].str.extract(r"([^/]+)\.png")[0].tolist()
    yolo = root / "folder_structure/yolov5/labels"
    yolo.mkdir(parents=True)
    for stem, boxes in list(zip(stems, hurt["boxes"], strict=True))[10:]:
        (root / "folder_structure/pascalvoc" / f"{stem}.xml").unlink()
        lines = [
            f"3 {(left + right) / 2:.6f} {(top + bottom) / 2:.6f} {right - left:.6f} {bottom - top:.6f}\n"
            for top, left, bottom, right in boxes
        ]
        (yolo / f"{stem}.txt").write_text("".join(lines))
    for boxes, wanted in zip(module.read(root)["boxes"], expected["boxes"], strict=True):
        np.testing.assert_allclose(boxes, wanted, atol=2e-6)
    assert not caplog.records
    (yolo / f"{stems[-1]}.txt").unlink()
    module.read(root)
    (record,) = caplog.records
    words = f"without boxes: 1 of 20 images .*{stems[-1]}.png; .* from pascalvoc, else yolov5/labels in "
    assert re.search(words, record.getMessage())


def test_a_study_of_fracatlas_ends_where_numbers_or_parts_change(copy):
    module, root = copy("fracatlas")
    listing = pd.read_csv(root / "dataset.csv").sort_values("image_id", ignore_index=True)
    listing.loc[4:, ["leg", "hand"]] = 0, 1
    listing.loc[6, ["shoulder", "mixed"]] = 1
    for path in root.glob("images/*/IMG0000002.jpg"):
        path.unlink()
    listing.drop(2).sample(frac=1, random_state=0).to_csv(root / "dataset.csv", index=False)
    table = module.read(root)
    numbers = table["filename"].str.extract(r"(\d+)\.")[0].astype(int)
    studies = table["study"].str.extract(r"(\d+)\.")[0].astype(int)
    assert studies[numbers.argsort()].tolist() == [0, 0, 3, 4, 4, 6, 7, 7, 7, 7]


def test_a_source_of_records_dealt_out_by_study_is_a_study(copy):
    module, root = copy("fracatlas")
    listing = pd.read_csv(root / "dataset.csv").sort_values("image_id", ignore_index=True)
    listing["hand"] = np.maximum(listing.index, 1) % 2  # the first two are one study
    listing["leg"], listing["shoulder"], listing["mixed"] = 1 - listing["hand"], 0, 0
    listing.to_csv(root / "dataset.csv", index=False)
    table = module.read(root).set_index("filename")
    sources = {}
    for policy in ("grouped", "studies"):
        loaded = data.load_all("fracatlas", policy, shares=(0.4, 0.3, 0.3), data_dir=root.parent)
        records = pd.concat([one.table for one in loaded.values()]).set_index("filename")
        sources[policy] = records["source"].groupby(table["study"].reindex(records.index)).nunique()
    assert (sources["studies"] == 1).all() and sources["grouped"].max() == 2
