"""Own X-rays whose tables and folders would be read as something else without a word."""

import json
import os
import unicodedata

import numpy as np
import pandas as pd
import pytest

from keras_fracture import data
from keras_fracture.data import catalogue, split_files, tables
from keras_fracture.data.own import find, labels
from keras_fracture.errors import DataError
from keras_fracture.evaluation import scorer
from tests.data import own

PLAIN = "image=path,label=dx,patient=pid"


@pytest.fixture(scope="module")
def drawn():
    return own.records(8)


@pytest.fixture(autouse=True)
def cache(empty_cache):
    return empty_cache


@pytest.fixture
def pair(tmp_path):
    """A function that writes a table beside two images of 100 x 100 pixels, and reads it."""
    for name in "ab":
        own.write(tmp_path / f"{name}.png", np.full((100, 100), ord(name), np.uint8))

    def read(text, **options):
        (tmp_path / "labels.csv").write_text(text)
        return find(str(tmp_path), **options)

    return read


@pytest.mark.parametrize("beyond", ["1.0000001", "1.04"])
def test_corners_beyond_1_by_rounding_do_not_turn_all_fractions_into_pixels(pair, beyond):
    found = pair(
        f"image,label,xmin,ymin,xmax,ymax\na.png,1,0.2,0.3,0.4,0.5\na.png,1,0.5,0.5,{beyond},1\nb.png,0,,,,\n"
    )
    np.testing.assert_allclose(found.table["boxes"][0], [[0.3, 0.2, 0.5, 0.4], [0.5, 0.5, 1, 1]], atol=1e-6)


def test_boxes_in_fractions_and_in_pixels_in_one_table_are_refused(pair):
    with pytest.raises(
        DataError, match=r"others in pixels.*Received: 0.2, 0.3, 0.4, 0.5 of 'b.png' and 20, 30, 40, 50"
    ):
        pair("image,label,xmin,ymin,xmax,ymax\na.png,1,20,30,40,50\nb.png,1,0.2,0.3,0.4,0.5\n")
    found = pair("image,label,xmin,ymin,xmax,ymax\na.png,1,0,0,20,10\nb.png,0,0,0,1,1\n")  # of one pixel
    np.testing.assert_allclose(
        np.concatenate(found.table["boxes"]), [[0, 0, 0.1, 0.2], [0, 0, 0.01, 0.01]], atol=1e-6
    )
    with pytest.raises(DataError, match=r"a box that 'b.png' cannot have"):
        pair("image,label,xmin,ymin,xmax,ymax\na.png,1,0,0,20,10\nb.png,0,0,0,0,0\n")


def test_a_comma_at_the_end_of_each_row_does_not_shift_the_columns(pair):
    with pytest.raises(DataError, match=r"not a table that can be read.*saw 5"):
        pair("image,filename,label,target\na.png,a.png,1,0,\nb.png,b.png,0,1,\n")
    found = pair("image,label,\na.png,1,\nb.png,0,\n")
    assert found.table.set_index("filename")["label"].to_dict() == {"a.png": 1, "b.png": 0}


def test_rows_of_more_cells_than_the_header_are_refused_everywhere():
    with pytest.raises(ValueError, match="more cells than the 2 of the header"):
        tables.read_csv(b"a,b\n1,2,\n3,4,\n")
    assert tables.read_csv(b"a,b\n1,2\n", header=None).shape == (2, 2)


def test_columns_without_a_name_and_columns_that_are_not_used_are_left_alone(pair):
    for text, columns in (
        (",label\na.png,1\nb.png,0\n", "image=Unnamed: 0"),
        (",,label\n0,a.png,1\n1,b.png,0\n", "image=Unnamed: 1"),
        ("image,label,note,note\na.png,1,x,y\nb.png,0,x,y\n", None),
    ):
        found = pair(text, columns=columns).table.set_index("filename")["label"]
        assert found.to_dict() == {"a.png": 1, "b.png": 0}


def test_two_columns_of_one_name_are_named(pair):
    with pytest.raises(DataError, match=r"two columns of one name.*Received: 'label'"):
        pair("image,label,label\na.png,0,1\nb.png,1,0\n")


def test_of_coco_files_images_that_are_not_listed_are_left_out(drawn, tmp_path):
    own.coco(tmp_path, drawn)
    path = tmp_path / "annotations.json"
    content = json.loads(path.read_text())
    kept = {image["id"] for image in content["images"][::2]}
    content["images"] = content["images"][::2]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
    path.write_text(json.dumps(content))
    found = find(str(tmp_path))
    expected = {f"images/{record['filename']}": int(len(record["boxes"]) > 0) for record in drawn[::2]}
    assert found.table.set_index("filename")["label"].to_dict() == expected
    lost = found.left_out[f"images/{drawn[1]['filename']}"]
    assert lost == "not among the images of the COCO files"


def test_a_coco_file_of_findings_alone_says_nothing_of_the_rest(drawn, tmp_path):
    own.coco(tmp_path, drawn)
    path = tmp_path / "annotations.json"
    content = json.loads(path.read_text())
    boxed = {one["image_id"] for one in content["annotations"]}
    content["images"] = [image for image in content["images"] if image["id"] in boxed]
    path.write_text(json.dumps(content))
    found = find(str(tmp_path))
    assert len(found.table) == len(drawn) and found.table["label"].sum() == len(boxed)
    assert any(
        f"{len(drawn) - len(boxed)} of {len(drawn)} images are in no COCO file" in one for one in found.notes
    )


@pytest.mark.parametrize("healthy", ["no displaced fracture", "no information"])
def test_folders_that_speak_of_findings_are_not_passed_over_for_boxes(drawn, tmp_path, healthy):
    own.voc(tmp_path / "fracture", drawn[:3])
    for record in drawn[3:6]:
        own.write(tmp_path / healthy / record["filename"], record["image"])
    with pytest.raises(DataError, match="name it by --finding"):
        find(str(tmp_path))
    told = find(str(tmp_path), finding="fracture").table.set_index("filename")["label"]
    assert told.map(int).to_dict() == {name: int(name.startswith("fracture/")) for name in told.index}


def test_how_many_images_nobody_annotated_is_said(drawn, tmp_path):
    own.voc(tmp_path, drawn)
    healthy = [record for record in drawn if not len(record["boxes"])]
    assert not any("count as healthy: leave out" in note for note in find(str(tmp_path)).notes)
    for record in healthy[:3]:
        (tmp_path / record["filename"]).with_suffix(".xml").unlink()
    (note,) = [note for note in find(str(tmp_path)).notes if "count as healthy" in note]
    assert note.startswith(f"3 of {len(drawn)} images are in no PASCAL VOC file")


@pytest.mark.parametrize(
    ("one", "other"),
    [("P001", "p001"), ("007", "7"), ("12", "12.0"), ("A 3", "a-03"), ("Mu\u0308ller", "M\u00fcller")],
)
def test_spellings_that_may_mean_one_patient_are_named(pair, one, other):
    found = pair(f"image,label,patient\na.png,1,{one}\nb.png,0,{other}\n")
    assert "2 names are 1 where case" in found.told and repr(one) in found.told
    assert found.table["source"].tolist() == [one, other], "named, and not joined"


def test_other_names_are_no_spellings_of_one_patient(pair):
    for one, other in (("1-12", "11-2"), ("P1", "Q1"), ("10", "1"), ("0", "00x")):
        assert "where case" not in pair(f"image,label,patient\na.png,1,{one}\nb.png,0,{other}\n").told


def test_spellings_in_dicom_tags_are_counted_and_not_shown(drawn, tmp_path):
    for number, name in enumerate(("AB007", "ab7", "AB8")):
        folder = tmp_path / ("fractured", "normal")[number % 2]
        folder.mkdir(exist_ok=True)
        content = own.dicom(drawn[number]["image"][..., 0], 8, PatientID=name)
        (folder / f"{number}.dcm").write_bytes(content)
    told = find(str(tmp_path)).told
    assert "3 names are 2 where case" in told and "AB0" not in told and "such as" not in told
    for path in tmp_path.rglob("*.dcm"):
        path.write_bytes(own.dicom(drawn[0]["image"][..., 0] + int(path.stem), 8, PatientID="UNKNOWN"))
    assert "No patients are told" in find(str(tmp_path)).told


@pytest.mark.parametrize("missing", ["nan", "None", "N/A", "unknown", "?"])
def test_what_programs_write_for_no_patient_is_not_one_large_patient(pair, missing):
    found = pair(f"image,label,patient\na.png,1,{missing}\nb.png,0,{missing}\n")
    assert found.table["source"].tolist() == ["a.png", "b.png"] and not found.table["patient_told"].any()
    found = pair(f"image,label,patient\na.png,1,{missing}\nb.png,0,p1\n")
    assert f"and 1 images without one ({missing!r}), each of its own" in found.told


@pytest.mark.parametrize("missing", ["NA", "nan", "?", "Unknown", "NULL"])
def test_what_programs_write_for_no_label_is_not_healthy(pair, tmp_path, missing):
    own.write(tmp_path / "c.png", np.full((9, 9), 9, np.uint8))
    text = f"image,label\na.png,fracture\nb.png,{{}}\nc.png,{missing}\n"
    for finding, healthy in (("fracture", "callus"), (None, "healthy"), (None, "none"), ("fracture", "-")):
        found = pair(text.format(healthy), finding=finding)
        assert found.table.set_index("filename")["label"].to_dict() == {"a.png": 1, "b.png": 0}, healthy
        assert found.left_out == {"c.png": "without a label in labels.csv"}
        assert f"no label, left out: {missing!r}, 1 images" in found.notes
    with pytest.raises(DataError, match=r"one class alone.*NA or the like is neither. Received: 'fracture'"):
        pair(text.format(missing), finding="fracture")
    with pytest.raises(DataError, match="or says NA"):
        pair(f"image,label\na.png,{missing}\n")


def test_a_folder_of_unknown_labels_is_not_healthy(drawn, tmp_path):
    own.class_folders(tmp_path, drawn)
    whole = find(str(tmp_path), finding="fractured")
    own.write(tmp_path / "unknown" / "a.png", drawn[0]["image"])
    found = find(str(tmp_path), finding="fractured")
    assert found.table.equals(whole.table) and found.left_out == {"unknown/a.png": "in no class folder"}
    assert found.notes == [*whole.notes, "no label, left out: 'unknown', 1 images"] and found.key != whole.key


@pytest.mark.parametrize("names", [("a.PNG", "B"), ("A.png", "/x/../b.PnG"), ("./a.Png", "b")])
def test_names_may_differ_in_case_where_one_image_alone_can_be_meant(pair, tmp_path, names):
    where = [name.replace("/x/..", str(tmp_path)) for name in names]
    found = pair(f"image,label\n{where[0]},1\n{where[1]},0\n")
    assert found.table.set_index("filename")["label"].to_dict() == {"a.png": 1, "b.png": 0}


def test_letters_with_accents_may_be_spelt_in_two_ways(drawn, tmp_path):
    """As macOS parts them in its archives, and keyboards do not."""
    composed, parted = (unicodedata.normalize(form, "Hüfte") for form in ("NFC", "NFD"))
    names = [f"{number}.png" for number in range(len(drawn))]
    for name, record in zip(names, drawn, strict=True):
        own.write(tmp_path / "x" / f"{parted}_{name}", record["image"])
    rows = pd.DataFrame({"image": [f"{composed}_{name}" for name in names], "dx": np.arange(len(names)) % 2})
    rows.to_csv(tmp_path / "x" / "labels.csv", index=False)
    table = find(str(tmp_path / "x")).table
    assert sorted(table["filename"]) == sorted(f"{parted}_{name}" for name in names)
    sides = ["test"] * 2 + ["validation"] * 2 + ["train"] * (len(names) - 4)
    split = pd.DataFrame({"filename": rows["image"], "split": sides})
    split.to_csv(tmp_path / "s.csv", index=False)
    test = data.load(str(tmp_path / "x"), "test", splits=tmp_path / "s.csv").table
    assert len(test) == 2
    said = test.assign(filename=test["filename"].map(lambda name: unicodedata.normalize("NFC", name)))
    said.assign(probability=[0.1, 0.9]).to_csv(tmp_path / "p.csv", index=False)
    assert scorer.predictions(tmp_path / "p.csv", "x", test, {}).probabilities.tolist() == [[0.1, 0.9]]


def test_of_names_that_differ_in_case_alone_each_means_itself(pair, tmp_path):
    own.write(tmp_path / "A.png", np.full((9, 9), 9, np.uint8))
    found = pair("image,label\na.png,1\nA.png,0\nb.png,0\n")
    assert found.table.set_index("filename")["label"].to_dict() == {"A.png": 0, "a.png": 1, "b.png": 0}
    with pytest.raises(DataError, match=r"2 images that 'a.PNG' in .* could mean"):
        pair("image,label\na.PNG,1\nb.png,0\n")
    (tmp_path / "A.png").unlink()
    with pytest.raises(DataError, match="rows twice"):  # A.png is missing, and no other name of a.png
        pair("image,label\na.png,1\nA.png,1\nb.png,0\n")


@pytest.mark.parametrize("end", [";;\n", " ; ; \n", ";;\n;;\n\n;;", ""])
def test_blank_rows_at_the_end_of_a_spreadsheet_are_none(pair, end):
    assert len(pair(f"image;label;patient\na.png;1;p\nb.png;0;q\n{end}").table) == 2
    with pytest.raises(DataError, match=r"names no image in a row.*Received: row 3"):
        pair(f"image;label;patient\na.png;1;p\n;;\nb.png;0;q\n{end}")


@pytest.mark.parametrize(
    "name", ["no information", "No-displacement fracture", "without cast", "no AP view", "no bone"]
)
def test_not_all_that_begins_with_no_is_healthy(name):
    with pytest.raises(DataError, match="names do not tell the finding"):
        labels.binary((name, "fracture"), None, "here")


@pytest.mark.parametrize(
    "name", ["no", "No acute fracture", "without any fractures", "no evidence of fracture", "No finding"]
)
def test_what_says_that_there_is_no_finding_is_healthy(name):
    assert labels.binary((name, "fracture"), None, "here") == {name: 0, "fracture": 1}


def test_an_absolute_path_of_an_image_that_is_a_link_is_read(tmp_path):
    own.write(tmp_path / "elsewhere" / "1.png", np.full((9, 9), 7, np.uint8))
    folder = tmp_path / "xrays"
    own.write(folder / "b.png", np.full((9, 9), 9, np.uint8))
    (folder / "a.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (folder / "labels.csv").write_text(f"image,label\n{folder}/a.png,1\n{folder}/b.png,0\n")
    assert find(str(folder)).table.set_index("filename")["label"].to_dict() == {"a.png": 1, "b.png": 0}


def test_a_split_file_of_semicolons_is_read_and_own_data_are_named(drawn, tmp_path):
    root = tmp_path / "clinic"
    own.table(root, drawn, dx=[record["label"] for record in drawn])
    labelled = pd.Series([record["label"] for record in drawn])
    sides = [("train", "validation", "test")[n % 3] for n in labelled.groupby(labelled).cumcount()]
    split = pd.DataFrame({"filename": [f"images/{one['filename']}" for one in drawn], "split": sides})
    path = tmp_path / "splits.csv"
    split.to_csv(path, index=False, sep=";")
    builder = data.prepare(str(root), columns=PLAIN, splits=str(path))
    assert builder.info.splits["test"].num_examples == sides.count("test")
    split.assign(filename="gone.png").iloc[:1].to_csv(path, index=False)
    with pytest.raises(DataError, match=r"among those of clinic that can be used"):
        data.prepare(str(root), columns=PLAIN, splits=str(path))


def test_images_replaced_with_their_names_sizes_and_times_are_other_images(tmp_path):
    """As by an archive without compression, unpacked over that of before."""
    told = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        for number in range(4):
            path = tmp_path / ("fractured" if number % 2 else "normal") / f"{number}.bmp"
            own.write(path, rng.integers(0, 256, (24, 24), np.uint8))
            os.utime(path, (1e9, 1e9))
        table = catalogue.catalogue(str(tmp_path)).table
        hashes = split_files.hashes("own", tmp_path, table["filename"])
        # Records lie in a folder of the layout's key.
        told.append((find(str(tmp_path)).key, table["digest"].tolist(), hashes["pixels_sha256"].tolist()))
    assert all(old != new for old, new in zip(*told, strict=True))
    assert find(str(tmp_path)).key == told[1][0]
