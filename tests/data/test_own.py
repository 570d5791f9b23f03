"""Own X-rays in every layout: labels, boxes, splits and pixels are those of the phantoms they were written from."""

import logging
import os
import re
import shutil
import time

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli, data, synthesis
from keras_fracture.data import audit, catalogue, decoding, splits
from keras_fracture.data.own import checking, find, layout, remembered
from keras_fracture.errors import DataError
from keras_fracture.experiment import splits as experiment
from keras_fracture.experiment.config import Config
from tests.data import own

COLUMNS = "image=path,label=dx,patient=pid,body_part=part,view=projection"
# Layout to how it is written, what is told of it, and whether it has boxes.
LAYOUTS = {
    "class folders": (own.class_folders, {"patient": r"phantom_(\d+)_"}, False),
    "split and class folders": (own.split_folders, {"patient": r"phantom_(\d+)_"}, False),
    "a table of boxes": (own.boxed_table, {"columns": COLUMNS}, True),
    "COCO": (own.coco, {"patient": r"phantom_(\d+)_"}, True),
    "PASCAL VOC": (own.voc, {"patient": r"phantom_(\d+)_"}, True),
    "YOLO": (own.yolo, {"patient": r"phantom_(\d+)_"}, True),
}


@pytest.fixture(scope="module")
def drawn():
    # A finding that changed no pixel of so small an image has no box, and boxes are to tell labels here.
    return [record for record in own.records() if len(record["boxes"]) == record["label"]]


@pytest.fixture(autouse=True)
def cache(empty_cache):
    return empty_cache


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_what_was_written(name, drawn, tmp_path):
    write, told, has_boxes = LAYOUTS[name]
    write(tmp_path, drawn)
    builder = data.prepare(str(tmp_path), **told)
    tables = [data.Records(builder, split) for split in splits.NAMES]
    known = {record["filename"]: record for record in drawn}
    found = pd.concat([records.table for records in tables])
    images = [
        decoding.decode(record["image"]).image
        for records in tables
        for record in records.raw().as_numpy_iterator()
    ]
    assert sorted(path.rpartition("/")[2] for path in found["filename"]) == sorted(known)
    for row, image in zip(found.itertuples(), images, strict=True):
        record = known[row.filename.rpartition("/")[2]]
        assert row.label == record["label"]
        np.testing.assert_array_equal(image, record["image"][..., 0])
        np.testing.assert_allclose(row.boxes, record["boxes"] if has_boxes else np.zeros((0, 4)), atol=1e-6)
        if "columns" in told:
            assert (row.source, row.body_part, row.view) == tuple(
                record[k] for k in ("source", "body_part", "view")
            )
    sides = [set(records.table["source"]) for records in tables]
    assert sum(map(len, sides)) == len(set.union(*sides)) == len({record["source"] for record in drawn})


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_a_table_by_its_own_path_and_the_label_that_is_the_finding(suffix, drawn, tmp_path):
    own.table(tmp_path, drawn, f"list.{suffix}")
    kinds = sorted({record["finding"] for record in drawn} - {"none"})
    found = find(str(tmp_path / f"list.{suffix}"), columns=COLUMNS, finding=kinds[0].upper())
    expected = {record["filename"]: record["finding"] for record in drawn}
    assert len(found.table) == len(drawn)
    for row in found.table.itertuples():
        kind = expected[row.filename.rpartition("/")[2]]
        assert (row.label, row.finding) == ((1, kind) if kind == kinds[0] else (0, "none"))


def test_semicolons_a_byte_order_mark_and_usual_names_are_read(drawn, tmp_path):
    frame = own.table(tmp_path, drawn)
    frame = frame.rename(columns={"path": "Image Path", "dx": "Diagnosis", "pid": "Patient ID"})
    frame["Diagnosis"] = [f"{record['label']}.0" for record in drawn]
    frame["Patient ID"] = [f"{number // 2:03d}" for number in range(len(drawn))]
    frame.to_csv(tmp_path / "labels.csv", sep=";", index=False, encoding="utf-8-sig")
    table = find(str(tmp_path)).table
    assert table["label"].sum() == sum(record["label"] for record in drawn)
    assert "000" in set(table["source"]), "a number for a name keeps its zeros"


def _peer(root):
    """File names and labels as Keras reads them."""
    dataset = keras.utils.image_dataset_from_directory(
        root, labels="inferred", color_mode="grayscale", image_size=(8, 8), shuffle=False, verbose=0
    )
    labels_ = np.concatenate([batch.numpy() for _, batch in dataset])
    return [os.path.relpath(path, root) for path in dataset.file_paths], labels_.tolist(), dataset.class_names


def test_labels_and_order_are_those_of_image_dataset_from_directory(drawn, tmp_path):
    places = ["", "z", "a b", "a", "a/z"]
    for number, record in enumerate(drawn):
        folder = tmp_path / ("positive" if record["label"] else "negative") / places[number % len(places)]
        own.write(folder / record["filename"], record["image"])
    paths, numbers, names = _peer(tmp_path)
    table = find(str(tmp_path)).table
    assert names == ["negative", "positive"]
    assert table["filename"].tolist() == paths and table["label"].tolist() == numbers


def test_two_views_of_80_patients_lie_on_one_side(tmp_path):
    drawn = [record for record in own.records(80) if record["filename"][-13] in "01"]
    shots = pd.Series([record["source"] for record in drawn]).value_counts()
    drawn = [record for record in drawn if shots[record["source"]] >= 2]
    for record in drawn:
        own.write(
            tmp_path / ("tumour" if record["label"] else "healthy") / record["filename"], record["image"]
        )
    table = catalogue.catalogue(str(tmp_path), progress=False, patient=r"phantom_(\d+)_").table
    side = splits.assign(table, "grouped", (0.7, 0.1, 0.2))
    assert table["source"].nunique() == len(shots[shots >= 2]) == 80
    assert pd.Series(side).groupby(table["source"]).nunique().max() == 1 and set(side) == set(splits.NAMES)


def test_without_patients_near_equal_images_share_a_source_and_it_is_said(drawn, tmp_path):
    own.class_folders(tmp_path, drawn)
    first = next(record for record in drawn if record["label"])
    own.write(tmp_path / "fractured" / "again.jpg", first["image"])
    contents = catalogue.catalogue(str(tmp_path), progress=False)
    source = contents.table.set_index("filename")["source"]
    assert source["fractured/again.jpg"] == source[f"fractured/{first['filename']}"]
    assert "No patients are told" in find(str(tmp_path)).told


def test_nearly_equal_images_of_two_patients_on_two_sides_are_counted(drawn, tmp_path, caplog, capsys):
    """They stay two patients, as told; that a split parts them is said wherever it is made."""
    for record in drawn:
        own.write(tmp_path / "images" / record["filename"], record["image"])
    sides = ["train"] * (len(drawn) // 2) + ["val"] * (len(drawn) - len(drawn) // 2)
    rows = [
        (f"images/{r['filename']}", r["label"], r["source"], side)
        for r, side in zip(drawn, sides, strict=True)
    ]
    copied = [next(one for one in drawn if one["label"] == label) for label in (0, 1)]
    for one in copied:  # once as it is, once brighter
        for name, added in (("equal", 0), ("near", 3)):
            name = f"images/{name}_{one['label']}.png"
            own.write(tmp_path / name, np.clip(one["image"].astype(int) + added, 0, 255).astype(np.uint8))
            rows.append((name, one["label"], name, "test"))
    columns = ["image", "label", "patient", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "labels.csv", index=False)
    lines = checking.lines(find(str(tmp_path)), progress=False)[0]
    assert [line for line in lines if "distinct ones once equal images are joined" in line]
    at = next(n for n, line in enumerate(lines) if line.startswith("split policy official"))
    line = "2 of 4 test images are nearly equal to training images of other patients: if these are the same X-rays"
    assert lines[at + 1].startswith(line)
    assert "once equal images are joined" in audit.as_text(audit.audit(str(tmp_path), progress=False))
    data.prepare(str(tmp_path), "official")
    assert line in caplog.text
    contents = catalogue.catalogue(str(tmp_path), progress=False)
    side = pd.Series("train", contents.table.index)
    assert catalogue.near_across(contents, side) == ""
    mixed = contents.table.assign(patient_told=[True] + [False] * (len(side) - 1))
    assert catalogue.joined(mixed) == "equal and nearly equal images, these unless both patients are told,"


def test_a_split_that_comes_along_is_kept_and_its_leaks_are_named(drawn, tmp_path, caplog):
    split = [
        "validation" if number % 4 == 2 else ("test" if number % 4 == 3 else "train")
        for number in range(len(drawn))
    ]
    own.table(tmp_path, drawn, split=split, dx=[record["label"] for record in drawn])
    with caplog.at_level(logging.WARNING):
        builder = data.prepare(str(tmp_path), "official", columns=COLUMNS)
    counts = {name: builder.info.splits[name].num_examples for name in splits.NAMES}
    assert counts == {name: split.count(name) for name in splits.NAMES}
    sides = pd.DataFrame({"split": split, "source": [record["source"] for record in drawn]})
    sides = sides.groupby("source")["split"].nunique()
    (line,) = [record.getMessage() for record in caplog.records if "leak" in record.getMessage()]
    assert line.startswith(f"leak: {(sides > 1).sum()} of {len(sides)} sources") and "\n" not in line
    report = audit.audit(str(tmp_path), progress=False, columns=COLUMNS)
    assert "leak across the published split" in {finding["kind"] for finding in report["findings"]}


def test_an_experiment_reads_own_xrays_as_its_settings_say(drawn, tmp_path):
    own.table(tmp_path, drawn, dx=[record["label"] for record in drawn])
    config = Config(data=str(tmp_path), columns=COLUMNS)
    digest = data.load(str(tmp_path), columns=COLUMNS).digest()
    assert experiment.fingerprints(config)["grouped"]["train"] == digest
    (line,) = experiment.how_told(config)
    assert line == (
        f"{len({record['source'] for record in drawn})} patients, named by the column 'pid'. "
        "Images of two patients that are nearly equal, but not equal, count as two X-rays.\n"
    )
    assert experiment.how_told(Config(data="phantom")) == []
    assert (
        "two views of one patient may lie in two splits" in experiment.how_told(Config(data="fracatlas"))[0]
    )


def test_synthetic_images_are_counted_and_for_training_alone(drawn, tmp_path, capsys, caplog):
    frame = own.table(tmp_path, drawn, dx=[record["label"] for record in drawn], synthetic="")
    before = find(str(tmp_path), columns=COLUMNS)
    frame.loc[0, "synthetic"] = "True"
    frame.to_csv(tmp_path / "labels.csv", index=False)
    for record in drawn[1:4]:  # as `generate` and `synthesis.write` mark them
        image = cv2.imread(str(tmp_path / "images" / record["filename"]))
        (tmp_path / "images" / record["filename"]).write_bytes(synthesis.encode(image, {"seed": 1}, ["seed"]))
    found = find(str(tmp_path), columns=COLUMNS)
    made = set(found.table["filename"][found.table["synthetic"]])
    assert made == {f"images/{record['filename']}" for record in drawn[:4]}
    said = f"4 of {len(drawn)} images are synthetic: these are for training alone"
    assert found.told.endswith(f" 4{said[1:]}.") and "synthetic" not in before.told
    builder = data.prepare(str(tmp_path), columns=COLUMNS)
    names = {split: set(data.Records(builder, split).table["filename"]) for split in splits.NAMES}
    assert made <= names["train"] and said in caplog.messages
    for split, line in {"train": f"4 of {len(names['train'])} images are synthetic: ", "test": ""}.items():
        told = catalogue.synthetic_among(str(tmp_path), sorted(names[split]), columns=COLUMNS)
        assert told.startswith(line) and bool(told) == bool(line)
    cli.main(["data", "check", str(tmp_path), "--columns", COLUMNS])
    assert said in capsys.readouterr().out
    report = audit.audit(str(tmp_path), progress=False, columns=COLUMNS)
    assert [one["files"] for one in report["findings"] if one["kind"] == "synthetic"] == [sorted(made)]
    given = tmp_path.parent / "splits.csv"
    sides = {name: split for split, some in names.items() for name in some} | {min(made): "test"}
    pd.DataFrame(sides.items(), columns=["filename", "split"]).to_csv(given, index=False)
    with pytest.raises(DataError, match=r"splits\.csv must have them in train\. Received: 1 of "):
        data.prepare(str(tmp_path), splits=given, columns=COLUMNS)
    table = pd.DataFrame({"filename": sorted(names["train"])})
    config = Config(data=str(tmp_path), columns=COLUMNS)
    assert set(table["filename"][experiment.synthetic(config, table)]) == made


def test_of_nothing_but_synthetic_images_it_is_said_that_they_tell_nothing(drawn, tmp_path):
    own.table(tmp_path, drawn, synthetic=True)
    assert "nothing of real X-rays" in find(str(tmp_path), columns=COLUMNS, finding="spiral").told
    own.table(tmp_path, drawn, synthetic="perhaps")
    with pytest.raises(
        DataError, match=r"true or false of whether an image is synthetic; rename .*Received: 'perhaps'"
    ):
        find(str(tmp_path), columns=COLUMNS)


def test_a_data_set_is_called_alike_however_its_path_is_written(drawn, tmp_path, monkeypatch):
    own.table(tmp_path / "hands", drawn)
    remembered.add("mine", tmp_path / "hands" / "labels.csv", catalogue.NAMES)
    monkeypatch.chdir(tmp_path / "hands")
    names = [".", "../hands", str(tmp_path / "hands"), "labels.csv", "mine"]
    assert {catalogue.title(name) for name in names} == {"hands"} and catalogue.title("btxrd") == "btxrd"
    assert catalogue.title(tmp_path / "btxrd") == "own_btxrd", "other X-rays, in a folder of that name"


def test_images_of_one_name_in_two_folders_stay_two(drawn, tmp_path):
    hurt, well = ([r for r in drawn if r["label"] == label] for label in (1, 0))
    for number, pair in enumerate(zip(hurt, well, strict=False)):
        for record, folder in zip(pair, ("Läsion frontal", "healthy"), strict=True):
            own.write(tmp_path / folder / f"{number} é.png", record["image"])
    table = find(str(tmp_path), finding="Läsion frontal").table
    assert table["filename"].nunique() == len(table) and table["label"].sum() * 2 == len(table)
    records = data.load(str(tmp_path), finding="Läsion frontal")
    assert set(records.table["filename"]) < set(table["filename"])


def test_of_boxes_of_several_kinds_those_of_the_finding_tell_it(drawn, tmp_path):
    own.coco(tmp_path, drawn, letters=range(0, len(drawn), 3))
    with pytest.raises(
        DataError, match=r"boxes of several kinds.*--finding. Received: fracture \d+, text \d+$"
    ):
        find(str(tmp_path))
    understood = find(str(tmp_path), finding="Fracture")
    table = understood.table.set_index(understood.table["filename"].str.rpartition("/")[2])
    for record in drawn:
        assert table["label"][record["filename"]] == record["label"]
        assert len(table["boxes"][record["filename"]]) == len(record["boxes"])
    assert any(
        re.search(r"boxes: 1 COCO files, fracture \d+, text \d+; of 'Fracture' alone", note)
        for note in understood.notes
    )


def test_where_folders_tell_labels_boxes_of_several_kinds_are_used_once_one_is_named(drawn, tmp_path):
    """Else side letters would count as findings, and healthy images with one as contradicting themselves."""
    own.coco(tmp_path, drawn, letters=range(len(drawn)))
    for record in drawn:
        path = tmp_path / ("fractured" if record["label"] else "normal") / record["filename"]
        path.parent.mkdir(exist_ok=True)
        (tmp_path / "images" / record["filename"]).rename(path)
    boxes = {}
    for finding in (None, "fracture"):
        understood = find(str(tmp_path), finding=finding)
        assert understood.table["label"].sum() == sum(record["label"] for record in drawn)
        assert (understood.table["conflict"] == "").all()
        assert any("none is used" in note for note in understood.notes) == (finding is None)
        boxes[finding] = understood.table["boxes"].map(len).sum()
    assert boxes == {None: 0, "fracture": sum(len(record["boxes"]) for record in drawn)}


@pytest.mark.parametrize(("write", "finding"), [(own.voc, "fracture"), (own.yolo, "0")])
def test_boxes_of_the_finding_are_taken_out_of_each_kind_of_file(write, finding, drawn, tmp_path):
    write(tmp_path, drawn)
    sides = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    letter = f"<object><name>text</name>{sides}</object>"
    for path in tmp_path.rglob("*.xml"):
        text = path.read_text().replace("<bndbox>", "<name>fracture</name><bndbox>")
        path.write_text(text.replace("</annotation>", f"{letter}</annotation>"))
    for path in (tmp_path / "labels").rglob("*.txt"):
        path.write_text("1 0.1 0.1 0.05 0.05\n" + path.read_text())
    with pytest.raises(DataError, match=r"boxes of several kinds"):
        find(str(tmp_path))
    table = find(str(tmp_path), finding=finding).table
    table = table.set_index(table["filename"].str.rpartition("/")[2])
    for record in drawn:
        assert table["label"][record["filename"]] == record["label"]
        np.testing.assert_allclose(table["boxes"][record["filename"]], record["boxes"], atol=0.02)


def test_an_image_without_a_split_beside_test_images_may_leak(drawn, tmp_path):
    """It is dealt to train or validation: a patient whose other image is there to test on lies on two sides."""
    splits = ["test" if number % 2 else "" for number in range(len(drawn))]
    own.table(
        tmp_path,
        drawn,
        dx=[str(r["label"]) for r in drawn],
        split=splits,
        pid=[f"p{n // 2}" for n in range(len(drawn))],
    )
    understood = find(str(tmp_path), columns="image=path,label=dx,patient=pid,split=split")
    assert layout.leaks(understood.table).startswith(f"leak: {len(drawn) // 2} of")


def test_a_healthy_image_with_a_box_contradicts_itself(drawn, tmp_path):
    own.voc(tmp_path, drawn)
    frame = pd.DataFrame({"image": [r["filename"] for r in drawn], "label": [r["label"] for r in drawn]})
    boxed = frame.index[frame["label"] == 1]
    frame.loc[boxed[0], "label"] = 0
    frame.to_csv(tmp_path / "metadata.csv", index=False)
    table = find(str(tmp_path)).table.set_index("filename")
    odd = frame["image"][boxed[0]]
    assert table["conflict"][odd] != "" and (table["conflict"] != "").sum() == 1


def test_a_file_moved_to_the_other_class_is_another_data_set(drawn, tmp_path):
    own.class_folders(tmp_path, drawn)
    before = data.load(str(tmp_path)).facts()
    name = max(path.name for path in (tmp_path / "fractured").iterdir())
    os.rename(tmp_path / "fractured" / name, tmp_path / "normal" / name)
    assert find(str(tmp_path)).table.set_index("filename")["label"][f"normal/{name}"] == 0
    assert data.load(str(tmp_path)).facts() != before


def test_another_folder_of_the_same_names_sizes_and_times_is_another_data_set(tmp_path):
    """As archives give them that keep times, of formats without compression."""
    rng = np.random.default_rng(0)
    for folder in "ab":
        for number in range(12):
            path = tmp_path / folder / "xrays" / ("fractured" if number % 2 else "normal") / f"{number}.bmp"
            own.write(path, rng.integers(0, 256, (24, 24), np.uint8))
            os.utime(path, (1e9, 1e9))
    digests = [set(catalogue.catalogue(str(tmp_path / folder / "xrays")).table["digest"]) for folder in "ab"]
    assert len(digests[0]) == 12 and not digests[0] & digests[1]
    images = [
        data.load(str(tmp_path / folder / "xrays")).arrays(data.Preprocess(size=24))[0] for folder in "ab"
    ]
    assert images[0].shape != images[1].shape or (images[0] != images[1]).any()


def test_nothing_is_written_to_the_folder(drawn, tmp_path):
    own.class_folders(tmp_path / "in", drawn)
    shutil.copy(
        tmp_path / "in" / "normal" / min(os.listdir(tmp_path / "in" / "normal")), tmp_path / "in" / "scan.dcm"
    )
    before = sorted(tmp_path.rglob("*"))
    for path in (tmp_path / "in", *(tmp_path / "in").iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    data.load(str(tmp_path / "in")).arrays(data.Preprocess(size=32))
    assert sorted(tmp_path.rglob("*")) == before
    for path in (tmp_path / "in", *(tmp_path / "in").iterdir()):
        path.chmod(0o755)


def test_a_table_of_100_000_rows_is_read_in_seconds(tmp_path):
    names = [f"{number % 100}/{number}.png" for number in range(100_000)]
    for folder in range(100):
        (tmp_path / str(folder)).mkdir()
    for name in names:
        (tmp_path / name).touch()
    frame = pd.DataFrame(
        {"image": names, "label": [n % 2 for n in range(len(names))], "patient": range(len(names))}
    )
    frame.to_csv(tmp_path / "labels.csv", index=False)
    start = time.perf_counter()
    found = layout.read(tmp_path)
    assert len(found.table) == 100_000 and found.table["source"].nunique() == 100_000
    assert time.perf_counter() - start < 20
