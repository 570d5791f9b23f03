"""DICOM files among own X-rays: what the folder of PNG files and a column of patients gives, and nobody's name."""

import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli, data
from keras_fracture.data import decoding, splits
from keras_fracture.data.own import find
from keras_fracture.errors import DataError
from tests.data import own

pydicom = pytest.importorskip("pydicom")


@pytest.fixture(scope="module")
def drawn():
    """12 images of six patients of either label, two each."""
    records = pd.Series(own.records(16))
    pairs = records.groupby(records.map(lambda record: record["source"])).filter(lambda pair: len(pair) > 1)
    pairs = pairs.groupby(pairs.map(lambda record: record["source"])).head(2)
    labels = pairs.map(lambda record: record["label"])
    return [*pairs[labels == 0][:6], *pairs[labels == 1][:6]]


@pytest.fixture(autouse=True)
def cache(empty_cache):
    return empty_cache


def _records(root, **told):
    """What is prepared, all splits: a list of filename, label, body part, view, split, patient's number, pixels."""
    builder, rows = data.prepare(str(root), **told), []
    for split in splits.NAMES:
        records = data.Records(builder, split)
        images = [decoding.decode(record["image"]).image for record in records.raw().as_numpy_iterator()]
        rows += [
            (row.filename, row.label, row.body_part, row.view, split, row.source, image.tobytes())
            for row, image in zip(records.table.itertuples(), images, strict=True)
        ]
    frame = pd.DataFrame(rows).sort_values(0, ignore_index=True)
    frame[5] = pd.factorize(frame[5])[0]
    return frame


def _as_png(root, copy):
    """The same as PNG files of the same names beside a table of what the tags say."""
    rows = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        file, name = pydicom.dcmread(path), f"{path.relative_to(root)}.png"
        own.write(copy / name, file.pixel_array)
        row = {"image": name, "label": path.parent.name, "patient": file.PatientID}
        rows.append(row | {"body_part": file.BodyPartExamined.lower(), "view": file.ViewPosition.lower()})
    pd.DataFrame(rows).to_csv(copy / "labels.csv", index=False)


def test_labels_pixels_and_splits_are_those_of_png_files_with_a_column_of_patients(drawn, tmp_path):
    own.dicom_folders(tmp_path / "dicom", drawn)
    _as_png(tmp_path / "dicom", tmp_path / "png")
    tagged, listed = _records(tmp_path / "dicom"), _records(tmp_path / "png")
    listed[0] = listed[0].str.removesuffix(".png")
    pd.testing.assert_frame_equal(tagged, listed.sort_values(0, ignore_index=True))
    assert len(tagged) == 12 and tagged[5].nunique() == 6 and set(tagged[4]) == set(splits.NAMES)
    assert set(tagged[6]) == {record["image"].tobytes() for record in drawn}
    assert tagged.groupby(5)[4].nunique().max() == 1, "a patient is on two sides"


def test_no_name_and_no_number_of_a_patient_is_kept_or_printed(drawn, tmp_path, cache, capsys, caplog):
    own.dicom_folders(tmp_path / "in", drawn)
    assert cli.main(["data", "check", str(tmp_path / "in")]) == 2, "so few patients have no intervals"
    said = capsys.readouterr()
    assert "6 patients, named by the DICOM tag PatientID, hashed." in said.out.splitlines()
    records = data.load(str(tmp_path / "in"))
    records.arrays(data.Preprocess(size=32))
    words = said.out + said.err + caplog.text + records.table.to_csv()
    kept = [path.read_bytes() for path in cache.rglob("*") if path.is_file()]
    assert len(kept) > 4 and sum(b"PNG" in content for content in kept) >= 3, "the records hold PNG files"
    for secret in ("MRN-", own.NAME, "DOE", "JANE"):
        assert secret not in words and not any(secret.encode() in content for content in kept)


def test_burnt_in_words_are_counted(drawn, tmp_path, capsys):
    own.dicom_folders(tmp_path, drawn[:9], BurnedInAnnotation="NO")
    for record, name in zip(drawn[9:], "abc", strict=True):
        content = own.dicom(record["image"][..., 0], 8, PatientID=name, BurnedInAnnotation="YES")
        (tmp_path / "fractured" / f"{name}.dcm").write_bytes(content)
    assert "3 of 12 images say that text is burnt in" in find(str(tmp_path)).notes
    for name in "abc":
        (tmp_path / "fractured" / f"{name}.dcm").unlink()
    assert not any("burnt" in note for note in find(str(tmp_path)).notes)


def test_a_table_says_more_than_tags_and_a_pattern_more_than_both(drawn, tmp_path):
    own.dicom_folders(tmp_path, drawn)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    frame = pd.DataFrame({"image": names, "label": [name.split("/")[0] for name in names]})
    frame["study"] = range(len(frame))
    told = frame.assign(patient=[f"p{n // 3}" for n in range(12)], view=["oblique", ""] * 6)
    told.to_csv(tmp_path / "labels.csv", index=False)
    tags = {name: pydicom.dcmread(tmp_path / name) for name in names}
    table = find(str(tmp_path)).table
    assert table["source"].tolist() == told["patient"].tolist()
    assert table["view"].tolist() == [
        "oblique" if n % 2 == 0 else tags[name].ViewPosition.lower() for n, name in enumerate(names)
    ]
    assert table["body_part"].tolist() == [tags[name].BodyPartExamined.lower() for name in names]
    assert set(find(str(tmp_path), patient=r"^\w").table["source"]) == {"f", "n"}
    frame.to_csv(tmp_path / "labels.csv", index=False)
    table = find(str(tmp_path)).table
    patients = pd.Series([tags[name].PatientID for name in names])
    assert table["source"].groupby(patients).nunique().max() == 1 and table["source"].nunique() == 6
    assert table["patient_told"].all()


def test_patients_of_some_rows_alone_are_refused_and_body_parts_have_one_name(drawn, tmp_path):
    own.dicom_folders(tmp_path, drawn)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    frame = pd.DataFrame({"image": names, "label": [name.split("/")[0] for name in names]})
    part = find(str(tmp_path)).table["body_part"].iloc[0]
    first = frame.assign(body_part=[part.title(), *[""] * (len(names) - 1)])
    first.to_csv(tmp_path / "labels.csv", index=False)
    assert part.title() in set(find(str(tmp_path)).table["body_part"])
    assert part not in set(find(str(tmp_path)).table["body_part"])
    frame.assign(patient=["p1", *[""] * (len(names) - 1)]).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(DataError, match=f"PatientID of others.*{len(names) - 1} images without one"):
        find(str(tmp_path))


def test_boxes_in_pixels_of_dicom_files(drawn, tmp_path):
    (tmp_path / "a.dcm").write_bytes(own.dicom(drawn[0]["image"][:32, :, 0], 8))
    own.write(tmp_path / "b.png", drawn[1]["image"])
    (tmp_path / "labels.csv").write_text("image,label,xmin,ymin,xmax,ymax\na.dcm,1,16,8,32,24\nb.png,0,,,,\n")
    table = find(str(tmp_path)).table
    np.testing.assert_allclose(table["boxes"][0], [[0.25, 0.25, 0.75, 0.5]])


def test_what_is_no_dicom_image_is_said_and_the_rest_is_read(drawn, tmp_path, capsys):
    own.dicom_folders(tmp_path, drawn)
    (tmp_path / "normal" / "cut.dcm").write_bytes((tmp_path / "normal" / "00.dcm").read_bytes()[:200])
    (tmp_path / "normal" / "words.dcm").write_text("no image")
    (tmp_path / "normal" / "Makefile").write_text("no image")
    shutil.copy(tmp_path / "normal" / "00.dcm", tmp_path / "DICOMDIR")
    assert cli.main(["data", "check", str(tmp_path)]) == 2, "so few patients have no intervals"
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("not used: ") for line in said) == 2
    assert any("2 without an ending: not an image file that is read" in line for line in said)
    assert len(_records(tmp_path)) == 12


def test_without_pydicom_it_is_one_line(drawn, tmp_path, monkeypatch, capsys):
    own.dicom_folders(tmp_path, drawn)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"is a DICOM file: `pip install keras-fracture\[dicom\]`"):
        find(str(tmp_path))
    assert cli.main(["data", "check", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
